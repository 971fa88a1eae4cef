"""The local application: what it is told, how it is loaded, and how it announces itself."""

import os
import re
import signal
import socket

import pytest
from harness import (
    LIMIT,
    MASTER,
    Program,
    Router,
    connect,
    in_threads,
    load,
    read_all,
    request,
    subscription_router,
    wait_until,
)

from fastrouter.client import request_packet
from fastrouter.wire.announcement import parse_announcement


def app(*arguments, **extra):
    return Program(MASTER, "--socket=127.0.0.1:0", *arguments, **extra)


def address(program):
    return program.wait_for(r"app workers bound on (.*)")[1]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_environment_and_the_body(tmp_path):
    code = """
def application(environ, start_response):
    stream = environ["wsgi.input"]
    parts = [stream.readline(), stream.read(3), stream.read(), stream.read()]
    start_response("201 Created", [("X-Path", environ["PATH_INFO"]), ("X-Scheme", environ["wsgi.url_scheme"])])
    return [repr((parts, environ["QUERY_STRING"], environ["wsgi.multithread"], "HOME" in environ)).encode()]
"""
    with app("--wsgi-file", write(tmp_path / "a.wsgi", code), "--threads=2") as program:
        reply = request(address(program), "http://h/p%20q?x=1", b"line\nabcdef", HTTPS="on").decode()
    assert reply.startswith("HTTP/1.1 201 Created\r\n")
    assert "X-Path: /p q\r\n" in reply and "X-Scheme: https\r\n" in reply
    assert reply.endswith("([b'line\\n', b'abc', b'def', b''], 'x=1', True, False)")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--module", "mysite.of.mine:make"],
        ["--wsgi", "mysite.of.mine", "--callable", "make"],
        ["-w", "mysite.of.mine:make"],
    ],
)
def test_modules(tmp_path, arguments):
    code = "def make(e, s):\n    s('200 OK', [])\n    return [b'made']\n"
    write(tmp_path / "lib" / "mysite" / "of" / "mine.py", code)
    with app(*arguments, "--pythonpath", tmp_path / "lib") as program:
        assert request(address(program)).endswith(b"made")


def test_chdir_is_where_modules_are_found(tmp_path):
    write(
        tmp_path / "there" / "mine.py", "def application(e, s):\n    s('200 OK', [])\n    return [b'there']\n"
    )
    with app("--module=mine", "--chdir", tmp_path / "there") as program:
        assert request(address(program)).endswith(b"there")


def test_packages_of_the_users_called_like_ours(tmp_path):
    write(tmp_path / "workers" / "__init__.py", "NAME = 'the user\\'s workers'\n")
    write(tmp_path / "workers" / "app.py", "NAME = 'workers.app'\n")
    write(tmp_path / "master.py", "NAME = 'the user\\'s master'\n")
    code = """
import master, workers
def application(environ, start_response):
    import workers.app, master as late
    start_response("200 OK", [])
    return [f"{workers.NAME}, {workers.app.NAME}, {master.NAME}, {late is master}".encode()]
"""
    file = write(tmp_path / "app.py", code)
    with app("--wsgi-file", file, "--chdir", tmp_path, "--max-requests=2") as program:
        for _ in range(5):
            reply = request(address(program))
            assert reply.endswith(b"the user's workers, workers.app, the user's master, True")
        program.wait_for("respawned app worker 1", 2)


def test_an_error_of_the_application_is_logged_and_answered(tmp_path):
    file = write(tmp_path / "app.py", "def application(e, s):\n    raise ValueError('of the application')\n")
    with app("--wsgi-file", file) as program:
        for _ in range(2):
            assert request(address(program)).startswith(b"HTTP/1.1 500")
        program.wait_for("ValueError: of the application", 2)
        assert "died" not in program.output


def test_the_request_log(app_file):
    with app("--wsgi-file", app_file) as program:
        request(address(program), "http://foo.com/x?y", b"abc")
        line = (
            r"127.0.0.1 \(-\) \{\d+ vars in \d+ bytes\} \[.*\] POST /x\?y => generated \d+ bytes in \d+ msecs"
        )
        program.wait_for(rf"^\[pid: \d+\|app: 0\|req: 1/1\] {line} \(HTTP/1.1 200\) \d headers in \d+ bytes")
    form = (
        '%(addr) - %(user) [%(ltime)] "%(method) %(uri) %(proto)" %(status) %(size) "%(referer)" "%(uagent)"'
    )
    with app("--wsgi-file", app_file, "--logformat", form) as program:
        request(address(program), "http://foo.com/x", HTTP_USER_AGENT="me\nyou")
        program.wait_for(r'^127.0.0.1 - - \[.*\] "GET /x HTTP/1.1" 200 \d+ "-" "me\\nyou"$')
    with app("--wsgi-file", app_file, "--disable-logging") as program:
        request(address(program))
        assert program.stop() == 0
        assert "GET" not in program.output


def test_ping_and_what_is_not_for_wsgi(app_file):
    with app("--wsgi-file", app_file) as program:
        with connect(address(program)) as sock:
            sock.sendall(b"\x64\0\0\0")
            assert read_all(sock) == b"\x64\0\0\x01"
        with connect(address(program)) as sock:
            sock.sendall(b"\x05" + request_packet("GET", "http://foo.com/")[1:])
            assert read_all(sock) == b""
        program.wait_for("nothing here for requests with modifier1 5")


@pytest.mark.parametrize("data", [b"", b"\0\x05", b"\0\x05\0\0\xff\xffabc", b"GET / HTTP/1.0\r\n\r\n"])
def test_bad_clients(app_file, data):
    with app("--wsgi-file", app_file) as program:
        with connect(address(program)) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == b""
        assert b"200 OK" in request(address(program))


def test_processes_and_threads_share_the_work(tmp_path):
    code = """
import os, threading
barrier = threading.Barrier(3)
def application(environ, start_response):
    barrier.wait(10)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""
    with app("--wsgi-file", write(tmp_path / "app.py", code), "--threads=3") as program:
        replies = in_threads(3, lambda number: request(address(program)))
    assert len({reply[-8:] for reply in replies}) == 1


def test_a_graceful_stop_serves_the_backlog(tmp_path):
    code = """
import threading
def application(environ, start_response):
    threading.Event().wait(0.3)
    start_response("200 OK", [])
    return [b"served"]
"""
    with app("--wsgi-file", write(tmp_path / "app.py", code)) as program:
        where = address(program)
        program.wait_for("spawned app worker 1")
        sockets = [connect(where) for _ in range(4)]
        for sock in sockets:
            sock.sendall(request_packet("GET", "http://foo.com/"))
        program.wait_for("GET /")
        program.process.send_signal(signal.SIGTERM)
        for sock in sockets:
            with sock:
                assert read_all(sock).endswith(b"served")
        assert program.wait() == 0


def test_announcing_from_start_to_stop(tmp_path, app_file):
    """Every form of subscription, and a mapping file that changes while we announce."""
    mapping = write(tmp_path / "map.txt", "one.com\ntwo.com,5\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(LIMIT)
        server = f"127.0.0.1:{sock.getsockname()[1]}"
        arguments = [
            f"--subscribe-to={server}:foo.com:80,7",
            f"--subscribe-to=10.1.1.1:5={server}:far.com",
            f"--subscribe-to={server}:@{mapping}",
            f"--subscribe2=server={server},key=b.com,weight=3,modifier2=2",
            f"--subscribe2=server={server},key=absent.com,check={tmp_path}/no",
            "--subscribe-freq=1",
            "--weight=2",
            "--processes=2",
        ]
        with app("--wsgi-file", app_file, *arguments) as program:
            where = address(program)
            first = [parse_announcement(sock.recv(5000)) for _ in range(5)]
            assert [
                (a.key, a.address, a.traits.modifier1, a.traits.modifier2, a.traits.weight, a.cores)
                for a in first
            ] == [
                ("foo.com:80", where, 7, 0, 2, 2),
                ("far.com", "10.1.1.1:5", 0, 0, 2, 2),
                ("one.com", where, 0, 0, 2, 2),
                ("two.com", where, 5, 0, 2, 2),
                ("b.com", where, 0, 2, 3, 2),
            ]
            mapping.write_text("one.com\n")
            while not (gone := parse_announcement(sock.recv(5000))).unsubscribe:
                pass
            assert gone.key == "two.com"
            program.process.send_signal(signal.SIGTERM)
            left = set()
            while len(left) < 4:
                last = parse_announcement(sock.recv(5000))
                if last.unsubscribe:
                    left.add(last.key)
            assert left == {"foo.com:80", "far.com", "one.com", "b.com"}
            assert program.wait() == 0


def test_router_and_application_on_one_socket(tmp_path, app_file, node):
    """The chapter on cheap mode and shared sockets, with a remote node that comes and goes."""
    arguments = ["--shared-socket=127.0.0.1:0", "--socket==0", "--wsgi-file", app_file, "--processes=4"]
    with Router(
        *arguments, "--fastrouter==0", "--fastrouter-subscription-server=127.0.0.1:0", "--fastrouter-cheap"
    ) as router:
        # One request at a time may go to the same worker again and again; a crowd goes to several.
        with load(lambda: request(router.address), threads=8) as outcomes:
            wait_until(
                lambda: len({re.search(rb"pid=(\d+)", one)[1] for one in outcomes}) > 1, "a second app worker"
            )
        router.announce("foo.com", node.address)
        router.wait_for("leaving cheap mode")
        wait_until(
            lambda: request(router.address).endswith(node.address.encode()), "the node's share of a trickle"
        )
        with load(lambda: request(router.address)) as outcomes:
            wait_until(lambda: node.connections > 20, "the node to get its share")
            wait_until(
                lambda: sum(b"pid=" in one for one in outcomes) > 20, "the application to get its share"
            )
            router.unsubscribe("foo.com", node.address)
            router.wait_for("Going cheap")
        assert all(isinstance(one, bytes) and one for one in outcomes)
        before = node.connections
        assert all(b"pid=" in request(router.address) for _ in range(10))
        assert node.connections == before


def test_a_node_of_ours_leaves_without_losing_a_request(app_file, node):
    with subscription_router() as router:
        router.announce("foo.com", node.address)
        arguments = [f"--subscribe-to={router.server}:foo.com", "--wsgi-file", app_file, "--processes=2"]
        with app(*arguments) as program:
            router.wait_for(f"foo.com => new node: {address(program)}")
            with load(lambda: request(router.address)) as outcomes:
                wait_until(lambda: sum(b"pid=" in one for one in outcomes) > 20, "its share")
                assert program.stop() == 0
                enough = len(outcomes) + 20
                wait_until(lambda: len(outcomes) > enough, "more requests")
        assert all(isinstance(one, bytes) and one for one in outcomes)


def test_sigint_leaves_at_once_but_not_without_a_word(app_file):
    with subscription_router() as router:
        with app(f"--subscribe-to={router.server}:foo.com", "--wsgi-file", app_file) as program:
            router.wait_for("foo.com => new node")
            assert program.stop(signal.SIGINT) == 0
        router.wait_for("foo.com => .* has left")


def test_a_killed_app_worker_is_replaced(app_file):
    with app("--wsgi-file", app_file, "--processes=2") as program:
        where = address(program)
        pid = int(re.search(rb"pid=(\d+)", request(where))[1])
        os.kill(pid, signal.SIGKILL)
        program.wait_for(rf"app worker \d died of SIGKILL \(pid: {pid}\)")
        assert all(b"200 OK" in request(where) for _ in range(10))


def test_sockets_without_an_application_are_not_announced(tmp_path):
    with subscription_router() as router:
        arguments = ("--subscribe2", f"server={router.server},key=foo.com")
        with app(*arguments) as program:
            program.wait_for("without an application .* its sockets are not announced")
            program.wait_for("^ready$")
            assert program.stop() == 0
        elsewhere = ("--subscribe2", f"server={router.server},key=bar.com,addr=127.0.0.1:9")
        with app(*arguments, *elsewhere):
            router.wait_for("bar.com => new node: 127.0.0.1:9")
        assert "foo.com" not in router.output
