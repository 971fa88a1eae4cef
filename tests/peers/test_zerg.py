"""Zerg mode: listening sockets handed over a UNIX socket, to and from real uWSGI."""

import array
import signal
import socket
from contextlib import contextmanager

import psutil
import pytest
from harness import MASTER, FakeNode, Program, Router, connect, in_threads, read_all, request, wait_until

from fastrouter.client import request_packet
from fastrouter.wire.zerg import ZergError, attach

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"{name}"]
"""


@pytest.fixture
def app(tmp_path):
    def make(name):
        path = tmp_path / f"{name}.py"
        path.write_text(APP.format(name=name))
        return path

    return make


def offered(address):
    """The number of sockets that a server offers."""
    sockets = attach(address)
    for sock in sockets:
        sock.close()
    return len(sockets)


def said(address):
    return request(address).rpartition(b"\r\n\r\n")[2]


def real(uwsgi, *arguments):
    program = Program(uwsgi, "--master", "--die-on-term", *arguments)
    program.wait_for("spawned uWSGI (master|worker)")
    return program


@pytest.mark.parametrize("server", ["{}/zerg", "@zerg-{}"])
def test_a_real_zerg_shares_our_sockets(tmp_path, uwsgi, app, server):
    server = server.format(tmp_path)[:100]
    ours = Program(
        *(MASTER, "--socket=127.0.0.1:0", f"--socket={tmp_path}/second", f"--wsgi-file={app('ours')}"),
        f"--zerg-server={server}",
    )
    with ours:
        ours.wait_for("^ready$")
        address = ours.wait_for(r"app workers bound on (127.*)")[1]
        with real(uwsgi, f"--zerg={server}", f"--wsgi-file={app('theirs')}") as theirs:
            theirs.wait_for("zerg sockets attached")
            for one in (address, f"{tmp_path}/second"):
                seen = set()
                wait_until(
                    lambda one=one, seen=seen: seen.add(said(one)) or len(seen) == 2, "answers of both"
                )
                assert seen == {b"ours", b"theirs"}
            # When ours has gone, the zerg goes on with what it was given.
            assert ours.stop() == 0
            assert said(address) == b"theirs"


def test_zergs_of_a_pool_replace_each_other(tmp_path, uwsgi, app):
    with Program(MASTER, f"--zergpool={tmp_path}/pool:127.0.0.1:0,{tmp_path}/web") as pool:
        bound = pool.wait_for(r"zerg server bound on (.*), for (.*), (.*)")
        pool.wait_for("^ready$")
        assert bound[3] == f"{tmp_path}/web"
        for name in ("first", "second"):
            with real(uwsgi, f"--zerg={tmp_path}/pool", f"--wsgi-file={app(name)}") as zerg:
                zerg.wait_for("zerg sockets attached")
                assert said(bound[2]) == name.encode() and said(f"{tmp_path}/web") == name.encode()
                assert zerg.stop(signal.SIGINT) == 0
        # Between two zergs requests wait in the backlog.
        with connect(bound[2]) as waiting:
            waiting.sendall(request_packet("GET", "http://foo.com/", b"", {}))
            with real(uwsgi, f"--zerg={tmp_path}/pool", f"--wsgi-file={app('third')}"):
                assert read_all(waiting).endswith(b"third")


def test_a_pool_of_twenty_sockets(tmp_path, uwsgi, app):
    """More than a uWSGI expects at first: it asks a second time."""
    paths = [f"{tmp_path}/{number}" for number in range(20)]
    with Program(MASTER, f"--zerg-pool={tmp_path}/pool:{','.join(paths)}") as pool:
        pool.wait_for("^ready$")
        assert offered(f"{tmp_path}/pool") == 20
        with real(uwsgi, f"--zerg={tmp_path}/pool", f"--wsgi-file={app('zerg')}"):
            assert {said(path) for path in paths} == {b"zerg"}


def test_a_router_on_the_sockets_of_a_real_pool(tmp_path, uwsgi, node):
    """Alone, which a router of uWSGI cannot; and over a reload, which kills a zerg of uWSGI."""
    with real(uwsgi, f"--zergpool={tmp_path}/pool:{tmp_path}/first,{tmp_path}/second"):
        wait_until((tmp_path / "pool").exists, "the pool")
        with Router(f"--fastrouter-zerg={tmp_path}/pool", f"--fastrouter-to={node.address}") as router:
            assert router.wait_for("bound on (.*second)")[1] == f"{tmp_path}/second"
            for _ in range(2):
                for path in ("first", "second"):
                    assert said(f"{tmp_path}/{path}") == node.address.encode()
                router.process.send_signal(signal.SIGHUP)
                router.wait_for("^ready$", 2)
            assert router.stop() == 0
        assert {one.name for one in tmp_path.iterdir()} == {"pool", "first", "second"}, "they are not ours"


def test_an_application_on_the_sockets_of_a_real_server(tmp_path, uwsgi, app):
    command = ("--socket=127.0.0.1:0", f"--wsgi-file={app('theirs')}", f"--zerg-server={tmp_path}/zerg")
    with real(uwsgi, *command) as theirs:
        address = theirs.wait_for(r"socket 0 bound to TCP address (\S+)")[1]
        with Program(MASTER, f"--zerg={tmp_path}/zerg", f"--wsgi-file={app('ours')}") as ours:
            ours.wait_for("^ready$")
            seen = set()
            wait_until(lambda: seen.add(said(address)) or len(seen) == 2, "answers of both")
            assert seen == {b"ours", b"theirs"}


def test_a_zerg_is_announced_where_it_listens(tmp_path, uwsgi, app):
    with (
        Router("--fastrouter=127.0.0.1:0", "--fastrouter-subscription-server=127.0.0.1:0") as router,
        real(uwsgi, f"--zergpool={tmp_path}/pool:127.0.0.1:0") as pool,
    ):
        address = pool.wait_for(r"bound to TCP socket (\S+)")[1]
        ours = Program(
            *(MASTER, f"--zerg={tmp_path}/pool", f"--wsgi-file={app('ours')}"),
            f"--subscribe-to={router.server}:foo.com",
        )
        with ours:
            router.wait_for(f"new node: {address}")
            assert said(router.address) == b"ours"


def test_without_a_server(tmp_path, app):
    with Program(MASTER, f"--fastrouter-zerg={tmp_path}/none", "--fastrouter-to=127.0.0.1:9") as program:
        assert program.wait() == 1
        program.wait_for(f"fastrouter-master: zerg server {tmp_path}/none: .*No such file")
    command = (MASTER, f"--zerg={tmp_path}/none", f"--wsgi-file={app('ours')}", "--zerg-fallback")
    with Program(*command) as program:
        assert program.wait() == 1
        program.wait_for("the zerg servers gave no sockets, and there are none besides")
    with Program(*command, "--socket=127.0.0.1:0") as program:
        program.wait_for("going on without")
        program.wait_for("^ready$")


@contextmanager
def server(tmp_path, answer):
    """A server that gives what it should not."""

    def behave(connection, number):
        answer(connection)

    with FakeNode(behave, path=f"{tmp_path}/odd") as node:
        yield node.address


def with_descriptor(data, fd):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
    return lambda connection: connection.sendmsg([data], rights)


def test_odd_servers(tmp_path):
    before = psutil.Process().num_fds()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as idle:
        for answer, problem in (
            (lambda connection: None, "that is no zerg server"),
            (lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n"), "that is no zerg server"),
            (lambda connection: connection.sendall(b"uwsgi-zerg\0\0\0\0"), "it has no sockets to give"),
            (with_descriptor(b"uwsgi-zork\1\0\0\0", listening.fileno()), "that is no zerg server"),
            (with_descriptor(b"uwsgi-zerg\1\0\0\0", idle.fileno()), "not listening sockets"),
            (with_descriptor(b"uwsgi-zerg\1\0\0\0", 0), "not listening sockets"),
        ):
            with server(tmp_path, answer) as address, pytest.raises(ZergError, match=problem):
                attach(address)
            (tmp_path / "odd").unlink()
        # What is said of the number does not count, or may be left out.
        for data in (b"uwsgi-zerg", b"uwsgi-zerg\x07\0\0\0"):
            with server(tmp_path, with_descriptor(data, listening.fileno())) as address:
                (sock,) = attach(address)
                assert sock.getsockname() == listening.getsockname()
                sock.close()
            (tmp_path / "odd").unlink()
    wait_until(lambda: psutil.Process().num_fds() == before, "no descriptor is left behind")


def test_readers_that_do_not_read(tmp_path, app):
    """Who connects and does nothing keeps nobody waiting."""
    with Program(MASTER, f"--zergpool={tmp_path}/pool:127.0.0.1:0") as pool:
        pool.wait_for("^ready$")
        idle = [connect(f"{tmp_path}/pool") for _ in range(100)]
        assert in_threads(8, lambda number: offered(f"{tmp_path}/pool")) == [1] * 8
        for sock in idle:
            sock.close()
        assert pool.stop() == 0


def test_a_dance(tmp_path, app):
    """A new instance ends the one before, once it accepts, and takes its pipe."""
    pool = f"{tmp_path}/pool"

    def instance(name):
        file = tmp_path / f"{name}.ini"
        file.write_text(
            f"[uwsgi]\nzerg = {pool}\nwsgi-file = {app(name)}\nmaster-fifo = {tmp_path}/new\n"
            f"master-fifo = {tmp_path}/running\nif-exists = {tmp_path}/running\n"
            f"hook-accepting1-once = writefifo:{tmp_path}/running q\nendif =\n"
            f"hook-accepting1-once = writefifo:{tmp_path}/new 1\n"
        )
        return Program(MASTER, "--ini", file)

    with Program(MASTER, f"--zergpool={pool}:127.0.0.1:0") as server:
        address = server.wait_for(r"zerg server bound on .*, for (127.*)")[1]
        with instance("first") as first:
            first.wait_for("active master fifo is now .*/running")
            assert said(address) == b"first"
            with instance("second") as second:
                assert first.wait() == 0
                second.wait_for("active master fifo is now .*/running")
                assert {said(address) for _ in range(10)} == {b"second"}
                (tmp_path / "running").write_text("q")
                assert second.wait() == 0
