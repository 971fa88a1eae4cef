"""The cache forwarder, and every way to fill a cache, with real processes and a real uWSGI."""

import contextlib
import os
import signal
import socket

import pytest
from harness import (
    MASTER,
    FakeNode,
    Program,
    Router,
    connect,
    in_threads,
    read_all,
    request,
    wait_until,
)

from fastrouter.wire.packet import HEADER, encode

ROUTER = ("--fastrouter=127.0.0.1:0", "--fastrouter-use-cache")


def served_by(router, key, **variables):
    reply = request(router.address, HTTP_HOST=key, **variables)
    return reply.rpartition(b"\r\n\r\n")[2].decode()


def test_items_of_the_configuration(nodes):
    first, second, third = (node.address for node in nodes)
    items = [
        f"--add-cache-item=foo.com={first}",
        f"--add-cache-item=perl.org:8000={second},5",
        f"--add-cache-item=both.com={first}|{second},9|{third}",
        f"--add-cache-item=trailing.com={third}|",
        "--add-cache-item=bad.com=no.such.host:80",
    ]
    with Router(*ROUTER, "--cache=100", "--fastrouter-processes=2", *items) as router:
        router.wait_for(r'\[cache\] stored "foo.com" in "default"')
        assert served_by(router, "foo.com") == first
        assert served_by(router, "perl.org:8000") == second
        assert nodes[1].packets[-1][0] == 5
        assert [served_by(router, "both.com") for _ in range(6)] == [first, second, third] * 2
        assert nodes[1].packets[-1][0] == 9 and nodes[0].packets[-1][0] == 0
        assert [served_by(router, "trailing.com") for _ in range(4)] == [third] * 4
        assert [served_by(router, key) for key in ("FOO.com", "perl.org", "bad.com", "x" * 255)] == [""] * 4


def test_alternatives_are_tried_when_one_is_dead(node):
    with FakeNode() as gone:
        dead = gone.address
    items = f"--add-cache-item=foo.com={dead}|{node.address}"
    with Router(*ROUTER, "--cache=10", items) as router:
        assert [served_by(router, "foo.com") for _ in range(4)] == [node.address] * 4


def test_the_cache_outlives_every_process_and_is_filled_again_by_the_script_only_if_it_must(node, tmp_path):
    script = tmp_path / "fill.py"
    script.write_text(f"import uwsgi\nuwsgi.cache_set('foo.com', '{node.address}')\nprint('script ran')\n")
    with Router(*ROUTER, "--cache=10", "--file", script) as router:
        for title in ("fastrouter worker", "script"):
            (pid,) = router.pids(title)
            os.kill(pid, signal.SIGKILL)
            router.wait_for(f"respawned {title}")
            wait_until(lambda: router.pids(title) != [pid], "another")  # noqa: B023
            assert served_by(router, "foo.com") == node.address


def test_a_script_that_fails_stops_the_start(tmp_path):
    script = tmp_path / "bad.py"
    script.write_text("1 / 0\n")
    with Program(MASTER, *ROUTER, "--cache=10", "--file", script) as program:
        assert program.wait() == 22
        assert "ZeroDivisionError" in program.output and "bad.py" in program.output


API = """
import uwsgi

def application(environ, start_response):
    start_response('200 OK', [])
    return [repr(eval(environ['QUERY_STRING'])).encode()]
"""

EXPRESSIONS = [
    ("uwsgi.cache_set('a', '1')", "True"),
    ("uwsgi.cache_set('a', '2')", "None"),
    ("uwsgi.cache_get('a')", "b'1'"),
    ("uwsgi.cache_get(b'a')", "b'1'"),
    ("uwsgi.cache_get('nobody')", "None"),
    ("uwsgi.cache_update(b'a', b'3')", "True"),
    ("uwsgi.cache_get('a')", "b'3'"),
    ("uwsgi.cache_set('', 'x')", "None"),
    ("uwsgi.cache_set('x', '')", "None"),
    ("uwsgi.cache_set('t', 'x', 100)", "True"),
    ("uwsgi.cache_exists('t')", "True"),
    ("uwsgi.cache_exists('nobody')", "None"),
    ("sorted(uwsgi.cache_keys())", "[b'a', b't']"),
    ("uwsgi.cache_del('t')", "True"),
    ("uwsgi.cache_del('t')", "None"),
    ("uwsgi.cache_inc('n')", "True"),
    ("uwsgi.cache_inc('n', 9)", "True"),
    ("uwsgi.cache_dec('n', 4)", "True"),
    ("uwsgi.cache_mul('n', 7)", "True"),
    ("uwsgi.cache_div('n', 2)", "True"),
    ("uwsgi.cache_num('n')", "21"),
    ("uwsgi.cache_num('nobody')", "0"),
    ("uwsgi.cache_set('a', 'two', 0, 'two')", "True"),
    ("uwsgi.cache_get('a', 'two')", "b'two'"),
    ("uwsgi.cache_get('a', 'one')", "b'3'"),
    ("uwsgi.cache_get('a', 'three')", "None"),
    ("sorted(uwsgi.cache_keys('two'))", "[b'a']"),
    ("uwsgi.cache_clear('one')", "True"),
    ("uwsgi.cache_keys()", "[]"),
    ("uwsgi.cache_set('r', 'remote', 0, 'two@' + environ['OTHER'])", "True"),
    ("uwsgi.cache_get('r', 'two@' + environ['OTHER'])", "b'remote'"),
    ("uwsgi.cache_exists('r', 'two@' + environ['OTHER'])", "True"),
    ("uwsgi.cache_update('r', 'again', 0, '@' + environ['OTHER'])", "True"),
    ("uwsgi.cache_get('r', '@' + environ['OTHER'])", "b'again'"),
    ("uwsgi.cache_del('r', '@' + environ['OTHER'])", "True"),
    ("uwsgi.cache_get('r', '@' + environ['OTHER'])", "None"),
    ("uwsgi.cache_clear('two@' + environ['OTHER'])", "True"),
    ("uwsgi.cache_get('r', 'two@' + environ['OTHER'])", "None"),
]


def test_the_functions_are_those_of_a_real_uwsgi(uwsgi, tmp_path):
    """Every expression in both, each time with the other's caches as the remote ones."""
    (tmp_path / "api.py").write_text(API)
    caches = ("--cache2=name=one,items=10", "--cache2=name=two,items=10")
    app = (
        "--socket=127.0.0.1:0",
        "--wsgi-file",
        tmp_path / "api.py",
        *caches,
        "--processes=2",
    )
    with Program(uwsgi, "--master", *app) as theirs, Program(MASTER, *app, "--cache-allow=127.0.0.1") as ours:
        their_address = theirs.wait_for(r"bound to TCP address (\S+)")[1]
        theirs.wait_for("spawned uWSGI worker 2")
        our_address = ours.wait_for(r"app workers bound on (.*)")[1]
        ours.wait_for("^ready$")
        for expression, expected in EXPRESSIONS:
            for address, other in ((their_address, our_address), (our_address, their_address)):
                reply = request(address, QUERY_STRING=expression, OTHER=other)
                assert reply.rpartition(b"\r\n\r\n")[2].decode() == expected, (
                    expression,
                    address == our_address,
                )


def test_a_real_uwsgi_fills_the_cache_of_a_router(uwsgi, node, tmp_path):
    script = tmp_path / "fill.py"
    with Router(
        *ROUTER, "--cache2=name=nodes,items=10", "--socket=127.0.0.1:0", "--cache-allow=127.0.0.1"
    ) as router:
        cache = router.wait_for(r"app workers bound on (.*)")[1]
        script.write_text(
            f"import uwsgi\nprint('set', uwsgi.cache_set('foo.com', '{node.address},3', 0, 'nodes@{cache}'))\n"
        )
        with Program(uwsgi, "--socket=127.0.0.1:0", "--wsgi-file", script) as filler:
            filler.wait_for("^set True")
        assert served_by(router, "foo.com") == node.address
        assert node.packets[-1][0] == 3


def call(address, packet):
    with connect(address) as sock:
        sock.sendall(packet)
        with contextlib.suppress(OSError):  # it may have closed already
            sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


def command(value=b"", **variables):
    return encode([(name.encode(), text.encode()) for name, text in variables.items()], 111, 17) + value


OK = encode([(b"status", b"ok")], 111, 17)


def test_the_packets():
    with Program(
        MASTER,
        "--socket=127.0.0.1:0",
        "--cache=10",
        "--cache2=name=two,items=10,blocksize=100",
        "--cache-allow=127.0.0.1",
    ) as program:
        address = program.wait_for(r"app workers bound on (.*)")[1]
        assert call(address, command(b"bar", cmd="set", key="foo", size="3")) == OK
        expected = encode([(b"status", b"ok"), (b"size", b"3")], 111, 17) + b"bar"
        assert call(address, command(cmd="get", key="foo")) == expected
        assert call(address, command(b"bar", cmd="set", key="foo", size="3")) == b""
        assert call(address, command(b"abcd", cmd="update", key="foo", size="4", expires="100")) == OK
        assert b"expires" in call(address, command(cmd="get", key="foo"))
        assert call(address, command(cmd="exists", key="foo")) == OK
        assert call(address, command(cmd="get", key="foo", cache="two")) == b""
        assert call(address, command(cmd="get", key="foo", cache="three")) == b""
        assert call(address, command(b"x" * 101, cmd="set", key="k", size="101", cache="two")) == b""
        assert call(address, command(cmd="sing")) == b""
        assert call(address, HEADER.pack(111, 3, 0) + b"foo") == HEADER.pack(111, 4, 0) + b"abcd"
        assert call(address, HEADER.pack(111, 3, 5) + b"foo") == HEADER.pack(111, 0, 1) + b"abcd"
        assert call(address, HEADER.pack(111, 3, 5) + b"bar") == HEADER.pack(111, 0, 0)
        assert call(address, HEADER.pack(111, 3, 2) + b"foo") == b""
        assert call(address, HEADER.pack(111, 3, 0) + b"foo") == b""
        assert call(address, HEADER.pack(111, 8, 1) + b"\1\0k\3\0val") == b""
        assert call(address, HEADER.pack(111, 1, 0) + b"k").endswith(b"val")
        assert call(address, command(cmd="clear")) == OK
        assert call(address, HEADER.pack(111, 1, 0) + b"k") == b""


@pytest.mark.parametrize(
    "packet",
    [
        command(b"", cmd="set", key="k", size="999999999999"),
        command(b"x", cmd="set", key="k", size="3"),
        HEADER.pack(111, 5, 17) + b"\xff\xff\xff\xff\xff",
        HEADER.pack(111, 5, 1) + b"\xff\xff\xff\xff\xff",
        HEADER.pack(111, 0, 200),
        HEADER.pack(111, 60000, 17),
    ],
)
def test_rubbish_ends_its_own_connection_only(packet):
    with Program(MASTER, "--socket=127.0.0.1:0", "--cache=10", "--cache-allow=127.0.0.1") as program:
        address = program.wait_for(r"app workers bound on (.*)")[1]
        assert call(address, packet) == b""
        assert call(address, command(b"x", cmd="set", key="k", size="1")) == OK
        assert "Traceback" not in program.output


def test_an_app_fills_the_cache_under_load(nodes, tmp_path):
    """Routing never shows anything but one of the values, while two processes write them all the time."""
    addresses = [node.address for node in nodes]
    (tmp_path / "app.py").write_text(
        "import uwsgi\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        f"    for address in {addresses!r} * 20:\n"
        "        uwsgi.cache_update('foo.com', address)\n"
        "    return [b'done']\n"
    )
    app = ("--socket=127.0.0.1:0", "--wsgi-file", tmp_path / "app.py", "--processes=2")
    with Router(*ROUTER, "--cache=10", "--fastrouter-processes=2", *app) as router:
        address = router.wait_for(r"app workers bound on (.*)")[1]
        assert request(address).endswith(b"done")

        def work(number):
            if number < 2:
                return [request(address).endswith(b"done") for _ in range(10)]
            return [served_by(router, "foo.com") in addresses for _ in range(40)]

        assert all(all(results) for results in in_threads(6, work))


def test_configurations_that_cannot_work(tmp_path):
    for arguments, problem in (
        (["--fastrouter-use-cache"], "there is no cache; add cache = N"),
        (["--fastrouter-use-cache=true", "--cache=10"], "there is no such cache, only default"),
        (["--cache2=name=a"], "expected items=N"),
        (["--cache2=name=a,items=5", "--cache2=name=a,items=6"], "called 'a' already"),
        (["--cache=5", "--add-cache-item=x"], "expected KEY=VALUE"),
        (["--cache=5", "--add-cache-item=two x=y"], "no such cache, only default"),
        (["--cache-sync=1.2.3.4:5"], "not supported, because caches are not replicated here"),
        (["--wsgi-file", __file__], "needs a socket to accept requests on, or a cache to fill"),
    ):
        with Program(MASTER, "--fastrouter=127.0.0.1:0", *arguments) as program:
            assert program.wait() == 1
            assert problem in program.output
