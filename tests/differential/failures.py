"""Nodes that cannot be reached, do not answer, or hang; fallbacks and retries."""

import socket
import threading
import time

from harness import FakeNode, in_threads, read_request

from differential.scenario import SUBSCRIPTION, Group, Scenario, exits


def _asks(name, *hosts, **extra):
    return Scenario(name, lambda stage: [stage.ask(host) for host in hosts], **extra)


DEAD_STATIC = Group(
    "to, one refuses",
    ("--fastrouter-to={A}", "--fastrouter-to={dead}", "--fastrouter-to={B}"),
    [
        _asks("it is left out", *["x"] * 6),
        Scenario(
            "it is named",
            lambda stage: stage.logged('unable to connect.. to node ".*" .0 retries.: Connection refused'),
        ),
        Scenario("and marked", lambda stage: stage.logged("x => marking .* as failed")),
        Scenario("once", lambda stage: stage.log_count("as failed")),
    ],
)

ALL_DEAD = Group(
    "to, all refuse",
    ("--fastrouter-to={dead}", "--fastrouter-gracetime=30", "--fastrouter-fallback-on-no-key"),
    [_asks("nobody", "x", "x", "x")],
)


def _comes_back(stage):
    """A node that is started after it was marked: seen again when its grace is over."""
    first = [stage.ask() for _ in range(2)]
    address = stage.places["dead"]
    stage.revive("D", address)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        answer = stage.ask()
        if answer.startswith("D"):
            return first, "back"
    return first, "never"


GRACE = Group(
    "gracetime",
    ("--fastrouter-to={dead}", "--fastrouter-to={A}", "--fastrouter-gracetime=1"),
    [Scenario("it comes back", _comes_back)],
)

QUIET = Group(
    "quiet",
    ("--fastrouter-to={dead}", "--fastrouter-to={A}", "--fastrouter-quiet=1"),
    [
        _asks("the other", "x", "x"),
        Scenario("marked all the same", lambda stage: stage.logged("marking .* as failed")),
        Scenario("but not named", lambda stage: stage.log_count("unable to connect")),
    ],
)

UNIX_DEAD = Group(
    "to, a UNIX socket that is missing",
    ("--fastrouter-to={missing}", "--fastrouter-to={A}"),
    [
        _asks("the other", "x", "x", "x", "x", ours=["A 0/0"] * 4,
              differs="an immediate connect failure (missing UNIX socket, refused) closes the session, "
                      "and the dead node stays in rotation"),
    ],
)  # fmt: skip

RETRIES = Group(
    "retries",
    ("--fastrouter-to={dead}",) * 4 + ("--fastrouter-to={A}",),
    [_asks("three, then it ends", "x")],
)

MORE_RETRIES = Group(
    "more retries",
    ("--ini", "router.ini"),
    [_asks("to the fifth", "x", differs="retries are fixed to 3", ours=["A 0/0"])],
    files={
        "router.ini": "[uwsgi]\nmaster = true\nfastrouter = {dir}/router.sock\nfastrouter-max-retries = 4\n"
        + "fastrouter-to = {dead}\n" * 4
        + "fastrouter-to = {A}\n"
    },
)


def _announce_dead(stage):
    stage.announce("dead.com", "dead")
    stage.announce("foo.com", "A")


FALLBACK = Group(
    "fallback",
    (*SUBSCRIPTION, "--fastrouter-fallback={dead}", "--fastrouter-fallback={B}"),
    [
        _asks("not for the living", "foo.com", "foo.com"),
        Scenario("the second of them", lambda stage: stage.ask("dead.com")),
        _asks("an unknown key", "unknown.com"),
        Scenario("the node is marked", lambda stage: stage.logged("dead.com => marking .* as failed")),
        Scenario("fallbacks are not", lambda stage: stage.log_count("as failed")),
    ],
    setup=_announce_dead,
)

FALLBACK_END = Group(
    "fallback, past the end",
    (*SUBSCRIPTION, "--fastrouter-fallback={dead}"),
    [_asks("nobody", "dead.com", "dead.com")],
    setup=_announce_dead,
)

FALLBACK_NO_KEY = Group(
    "fallback-on-no-key",
    (*SUBSCRIPTION, "--fastrouter-fallback={B}", "--fastrouter-fallback-on-no-key"),
    [
        _asks("an unknown key", "unknown.com"),
        _asks("a known one", "foo.com"),
        Scenario("no key at all", lambda stage: stage.ask_with(("PATH_INFO", "/"))),
    ],
    setup=_announce_dead,
)

FALLBACK_STATIC = Group(
    "fallback for static nodes",
    ("--fastrouter-to={dead}", "--fastrouter-fallback={B}"),
    [
        _asks("the first time", "x"),
        _asks(
            "while all are in grace",
            "x",
            ours=["B 0/0"],
            differs="`fastrouter-fallback` is used the first time only; after that, requests are closed",
        ),
    ],
)

FALLBACK_UNIX = Group(
    "fallback for a UNIX node",
    ("--fastrouter-use-base={dir}/none/", "--fastrouter-fallback={B}"),
    [_asks("it is there for that", "foo.com", ours=["B 0/0"],
           differs="`fastrouter-fallback` is used after some connect failures only")],
)  # fmt: skip


def _with_node(behave, *more):
    """Set up: a node of that behaviour under foo.com, then the others."""

    def setup(stage):
        node = stage.keep(FakeNode(behave))
        stage.announce("foo.com", node.address)
        for name in more:
            stage.announce("foo.com", name)

    return setup


def _closes(connection, number):
    read_request(connection)


def _hangs(connection, number):
    read_request(connection)
    connection.recv(1)


EMPTY = Group(
    "a node that closes without a word",
    SUBSCRIPTION,
    [
        Scenario("a repeatable request", lambda stage: [stage.ask() for _ in range(2)].count(""), ours=0,
                 differs="a node that closes without a byte ends the session"),
        Scenario("for ever", lambda stage: [stage.ask(body=b"x") for _ in range(30)].count("") > 4, ours=False,
                 differs="a node that closes without an answer, or lets `fastrouter-timeout` pass, is chosen "
                         "again and again"),
    ],
    setup=_with_node(_closes, "A"),
)  # fmt: skip

EMPTY_POST = Group(
    "one that closes, and a request that is not repeatable",
    SUBSCRIPTION,
    [Scenario("it ends", lambda stage: stage.ask(body=b"x"))],
    setup=_with_node(_closes),
)

SILENT = Group(
    "a node that does not answer",
    (*SUBSCRIPTION, "--fastrouter-timeout=1"),
    [Scenario("closed after the timeout", lambda stage: stage.ask())],
    setup=_with_node(_hangs),
)

TOLD = Group(
    "answer-errors",
    (*SUBSCRIPTION, "--fastrouter-answer-errors"),
    [
        Scenario("an unknown key", lambda stage: stage.outcome() == "runs" and stage.ask("unknown.com"),
                 ours="Not Found\n", differs="an answerless session is closed"),
    ],
    starts=False,
)  # fmt: skip


def _two_at_once(stage):
    if stage.outcome() != "runs":
        return "does not start"
    most, now, lock = [0], [0], threading.Lock()

    def behave(connection, number):
        read_request(connection)
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.1)
        with lock:
            now[0] -= 1
        connection.sendall(b"\r\n\r\nserved")

    node = stage.keep(FakeNode(behave))
    stage.announce("foo.com", node.address)
    threads = [threading.Thread(target=stage.ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return most[0]


LIMITED = Group(
    "max-conns",
    (*SUBSCRIPTION, "--fastrouter-max-conns=2", "--fastrouter-max-fails=3"),
    [Scenario("so many at a time", _two_at_once, differs="no limit on a node's requests", ours=2)],
    starts=False,
)

DEAF = Group(
    "a node that does not accept",
    ("--ini", "router.ini"),
    [
        _asks("the other", "x", ours=["A 0/0"],
              differs="a node that does not accept is waited for until `fastrouter-timeout`, then the session is closed"),
    ],
    files={
        "router.ini": "[uwsgi]\nmaster = true\nfastrouter = {dir}/router.sock\nfastrouter-to = {deaf}\n"
        "fastrouter-to = {A}\nfastrouter-timeout = 3\nfastrouter-connect-timeout = 1\n"
    },
)  # fmt: skip


def _full_backlog(stage):
    """A UNIX node whose backlog is full for the moment."""
    listener = stage.keep(socket.socket(socket.AF_UNIX))
    listener.bind(stage.place("{dir}/full.sock"))
    listener.listen(0)
    caller = stage.keep(socket.socket(socket.AF_UNIX))
    caller.connect(stage.place("{dir}/full.sock"))

    def talk(number):
        if not number:
            return stage.ask(limit=6)
        stage.pause(0.5)
        listener.settimeout(3)
        try:
            while True:
                connection = stage.keep(listener.accept()[0])
                if connection.recv(100):
                    connection.sendall(b"\r\n\r\nserved")
                    connection.close()
                    return None
        except TimeoutError:
            return None

    caller.close()
    return in_threads(2, talk)[0]


BACKLOG = Group(
    "a full backlog",
    ("--fastrouter-to={dir}/full.sock",),
    [
        Scenario(
            "waited for",
            _full_backlog,
            ours="served",
            differs="a full backlog of a UNIX node closes the session",
        )
    ],
)


def _marked(stage):
    """Whether a dead node that one of four processes has marked is marked again by others that are asked."""
    stage.ask()
    for _ in range(6):
        in_threads(16, lambda _: stage.ask())
    return stage.log_count("as failed") > 1


MANY = Group(
    "several processes and a dead node",
    ("--fastrouter-to={dead}", "--fastrouter-to={A}", "--fastrouter-processes=4"),
    [
        Scenario(
            "each finds out",
            _marked,
            ours=False,
            differs="a failed `fastrouter-to` node is left out by one process only",
        )
    ],
)

GROUPS = [
    DEAD_STATIC, ALL_DEAD, GRACE, QUIET, UNIX_DEAD, RETRIES, MORE_RETRIES, FALLBACK, FALLBACK_END,
    DEAF, BACKLOG, MANY, FALLBACK_NO_KEY, FALLBACK_STATIC, FALLBACK_UNIX, EMPTY, EMPTY_POST, SILENT, TOLD, LIMITED,
    exits("to half an address", "--fastrouter-to=1.2.3:3031", ours=1,
          differs="a configured node that can never be dialled is accepted, and every request closed"),
]  # fmt: skip
