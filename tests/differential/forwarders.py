"""Every way to find a node."""

from differential.scenario import SUBSCRIPTION, Group, Scenario, exits


def _asks(name, *hosts, **extra):
    return Scenario(name, lambda stage: [stage.ask(host) for host in hosts], **extra)


TO = Group(
    "to",
    ("--fastrouter-to={A}", "--fastrouter-to={B}", "--fastrouter-to={C}"),
    [_asks("in turn, whatever the key", *["x", "y"] * 4)],
)

BASE = Group(
    "use-base",
    ("--fastrouter-use-base={dir}/sockets/",),
    [
        _asks("the socket named by the key", "foo.com"),
        _asks("nobody there", "bar.com"),
        Scenario("a port in the key", lambda stage: stage.ask("foo.com", HTTP_HOST="foo.com:80"),
                 differs="a path with a colon in it is taken for a TCP address", ours="P 0/0"),
        Scenario("out of the directory", lambda stage: stage.ask("foo.com", HTTP_HOST="../secret"),
                 differs="`fastrouter-use-base` and `-use-pattern` put any key in the path", ours=""),
        Scenario("modifiers are 0", lambda stage: stage.ask_with(("HTTP_HOST", "foo.com"), modifiers=(9, 9))),
    ],
    nodes=[("S", "{dir}/sockets/foo.com"), ("P", "{dir}/sockets/foo.com:80"), ("X", "{dir}/secret")],
)  # fmt: skip

BASE_PREFIX = Group(
    "use-base without a slash",
    ("--fastrouter-use-base={dir}/pre-",),
    [_asks("nothing is put in between", "foo.com", "bar.com")],
    nodes=[("S", "{dir}/pre-foo.com")],
)

BASE_DIRECTORY = Group(
    "use-base, a directory without a slash",
    ("--fastrouter-use-base={dir}/sockets",),
    [
        _asks("in the directory", "foo.com", ours=["S 0/0"],
              differs="`fastrouter-use-base` puts nothing between a directory and the key, and knows no `%s`"),
    ],
    nodes=[("S", "{dir}/sockets/foo.com")],
)  # fmt: skip

BASE_PATTERN = Group(
    "use-base, a pattern",
    ("--fastrouter-use-base={dir}/%s/u.sock",),
    [
        _asks("the key", "foo.com", ours=["S 0/0"],
              differs="`fastrouter-use-base` puts nothing between a directory and the key, and knows no `%s`"),
    ],
    nodes=[("S", "{dir}/foo.com/u.sock")],
)  # fmt: skip

BASE_TCP = Group(
    "use-base for ports",
    ("--fastrouter-use-base=127.0.0.1:",),
    [
        Scenario("the key is the port", lambda stage: stage.ask(stage.places["B"].rpartition(":")[2])),
        _asks("no port", "foo.com"),
    ],
)

PATTERN = Group(
    "use-pattern",
    ("--fastrouter-use-pattern={dir}/%s/u%%x%q.sock",),
    [
        _asks("the key in the middle", "foo.com", "bar.com"),
        Scenario("out of the directory", lambda stage: stage.ask("foo.com", HTTP_HOST="foo.com/../other"),
                 differs="`fastrouter-use-base` and `-use-pattern` put any key in the path", ours=""),
    ],
    nodes=[("S", "{dir}/foo.com/u%x.sock"), ("X", "{dir}/other/u%x.sock")],
)  # fmt: skip

_INI = (
    "[uwsgi]\nmaster = true\nfastrouter = {dir}/router.sock\nfastrouter-use-pattern = {dir}/PATTERN/u.sock\n"
)

PATTERN_FILE = Group(
    "use-pattern in a file, two signs",
    ("--ini", "router.ini"),
    [_asks("the key", "foo.com")],
    files={"router.ini": _INI.replace("PATTERN", "%%s")},
    nodes=[("S", "{dir}/foo.com/u.sock")],
)

PATTERN_FILE_SINGLE = Group(
    "use-pattern in a file, one sign",
    ("--ini", "router.ini"),
    [
        _asks(
            "the key",
            "foo.com",
            differs="`%s` of a pattern in a file has to be written `%%s`",
            ours=["S 0/0"],
        )
    ],
    files={"router.ini": _INI.replace("PATTERN", "%s")},
    nodes=[("S", "{dir}/foo.com/u.sock")],
)

CACHE = Group(
    "use-cache",
    (
        "--fastrouter-use-cache",
        "--cache=100",
        "--add-cache-item=foo.com={A}",
        "--add-cache-item=unbit.it={B},5",
        "--add-cache-item=both.com={A},1|{B},2|{C}",
        "--add-cache-item=large.com={A},300",
        "--add-cache-item=port.com:8000={C}",
        "--add-cache-item=name.com=localhost:80",
    ),
    [
        _asks("items", "foo.com", "unbit.it", "large.com"),
        Scenario("a port in the key", lambda stage: stage.ask(HTTP_HOST="port.com:8000")),
        _asks("alternatives take turns", *["both.com"] * 7),
        _asks("not there", "nobody.com", "FOO.com", "name.com"),
    ],
)

CACHE_CRASH = Group(
    "use-cache, an empty alternative",
    ("--fastrouter-use-cache", "--cache=100", "--add-cache-item=foo.com={A}|"),
    [
        _asks("it has its turn", *["foo.com"] * 4, ours=["A 0/0"] * 4,
              differs="an empty alternative of a cache item (`a\\|`) kills the router process when its turn comes"),
    ],
)  # fmt: skip

CACHE_SCRIPT = Group(
    "use-cache, a script",
    ("--fastrouter-use-cache", "--cache=100", "--file=foobar.py"),
    [_asks("what it stored", "example.com", "unbit.it", "else.com")],
    files={
        "foobar.py": "import uwsgi\n"
        "uwsgi.cache_set('example.com', '{A}')\n"
        "uwsgi.cache_set('unbit.it', '{A},5')\n"
    },
)

CACHE_NAMED = Group(
    "use-cache, by name",
    (
        "--fastrouter-use-cache=two",
        "--cache2=name=one,items=10",
        "--cache2=name=two,items=10",
        "--add-cache-item=foo.com={A}",
        "--add-cache-item=two bar.com={B}",
    ),
    [_asks("that cache", "foo.com", "bar.com")],
)

_MAPPER = """
def named(key):
    key = key.decode()
    if key == 'raise.com':
        raise RuntimeError
    return {'foo.com': b'{A}', 'unbit.it': b'{B},5', 'none.com': None, 'empty.com': b'', 'int.com': 1}.get(key)

def text(key):
    return '{A}' if key == 'foo.com' else None
"""

CODE = Group(
    "use-code-string",
    ("--fastrouter-use-code-string=0:mapper.py:named",),
    [
        _asks("its answers", "foo.com", "unbit.it", "foo.com"),
        _asks("no answer", "none.com", "empty.com", "int.com", "else.com"),
        Scenario("it raises", lambda stage: (stage.ask("raise.com"), stage.logged("RuntimeError"))),
        _asks("and goes on", "foo.com"),
    ],
    files={"mapper.py": _MAPPER},
)

CODE_TEXT = Group(
    "use-code-string, text",
    ("--fastrouter-use-code-string=0:mapper.py:text",),
    [
        _asks("the documented form", "foo.com", "bar.com", ours=["A 0/0", ""],
              differs="a mapping function gets bytes and has to return bytes"),
    ],
    files={"mapper.py": _MAPPER},
)  # fmt: skip

CODE_MISSING = exits(
    "use-code-string, no such file",
    "--fastrouter-use-code-string=0:missing.py:get",
    differs="a mapping function that is not there is looked for at every request",
    ours=1,
)

SOCKET = Group(
    "use-socket",
    ("--fastrouter-use-socket", "--socket={dir}/app.sock", "--wsgi-file=app.py"),
    [_asks("the local application", "foo.com", "bar.com")],
    files={
        "app.py": "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [environ['HTTP_HOST'].encode()]\n"
    },
)

MULTIPLE = Group(
    "two ways at once",
    ("--fastrouter-to={A}", "--fastrouter-use-base={dir}/sockets/"),
    [
        _asks("the first in the table counts", "foo.com", "bar.com"),
        Scenario("and the other is named", lambda stage: stage.log_count("has no effect") > 0,
                 differs="a way to find a node that another one shadows is ignored silently", ours=True),
    ],
    nodes=[("S", "{dir}/sockets/foo.com")],
)  # fmt: skip

NONE = Group("no way at all", (), [_asks("every request is closed", "foo.com", "bar.com")])


def _announce_dots(stage):
    stage.announce("c.org", "A")
    stage.announce(".c.org", "B")


DOTSPLIT = Group(
    "subscription-dotsplit",
    (*SUBSCRIPTION, "--subscription-dotsplit"),
    [
        _asks(host, host)
        for host in ("c.org", "x.c.org", "y.x.c.org", "1.2.3.4.c.org", "1.2.3.4.5.c.org", "d.org")
    ],
    setup=_announce_dots,
)

FALLBACK_KEY = Group(
    "subscription-fallback-key",
    (*SUBSCRIPTION, "--fastrouter-subscription-fallback-key=default"),
    [
        _asks("before it is announced", "foo.com"),
        Scenario(
            "for what nobody has",
            lambda stage: (stage.announce("default", "B"), stage.ask("x"), stage.ask("y")),
        ),
        Scenario(
            "not for what somebody has", lambda stage: (stage.announce("foo.com", "A"), stage.ask("foo.com"))
        ),
    ],
)

SLOT = Group(
    "subscription-slot",
    (*SUBSCRIPTION, "--fastrouter-subscription-slot=5", "--subscription-tolerance=17"),
    [
        Scenario("no effect but a warning", lambda stage: stage.logged("fastrouter-subscription-slot")),
        Scenario("announcements work", lambda stage: (stage.announce("foo.com", "A"), stage.ask())),
    ],
)

GROUPS = [
    TO, BASE, BASE_PREFIX, BASE_DIRECTORY, BASE_PATTERN, BASE_TCP, PATTERN, PATTERN_FILE, PATTERN_FILE_SINGLE, CACHE, CACHE_CRASH,
    CACHE_SCRIPT, CACHE_NAMED, CODE, CODE_TEXT, CODE_MISSING, SOCKET, MULTIPLE, NONE, DOTSPLIT, FALLBACK_KEY,
    SLOT,
    exits("use-cache without a cache", "--fastrouter-use-cache"),
    exits("a code string without a colon", "--fastrouter-use-code-string=mapper.py"),
]  # fmt: skip
