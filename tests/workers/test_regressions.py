"""Faults that were found by attack and by review, each as its scenario."""

import contextlib
import os
import signal
import socket
import struct
import threading

import psutil
import pytest
from harness import (
    LIMIT,
    MASTER,
    FakeNode,
    Program,
    Router,
    connect,
    descriptors,
    in_threads,
    read_all,
    read_request,
    request,
    send_announcement,
    subscription_router,
    wait_for_sweeps,
    wait_until,
)

from fastrouter.client import request_packet
from fastrouter.wire.announcement import Announcement
from fastrouter.wire.packet import encode


def is_idle(pid):
    """Whether a process sleeps: over half a second it uses next to no CPU."""
    process = psutil.Process(pid)
    process.cpu_percent(None)
    return process.cpu_percent(0.5) < 20


def test_a_node_that_closed_while_the_client_does_not_read_spins_nobody(tmp_path):
    closed = threading.Event()

    def behave(connection, number):
        read_request(connection)
        with contextlib.suppress(OSError):
            connection.sendall(bytes(400_000))
        closed.set()

    arguments = ("--fastrouter", tmp_path / "r.sock", "--fastrouter-timeout=1")
    with (
        FakeNode(behave, path=str(tmp_path / "n.sock")) as node,
        Router(*arguments, "--fastrouter-to", node.address) as router,
    ):
        worker = router.pids("fastrouter worker")[0]
        before = descriptors(worker)
        with connect(router.address) as sock:
            sock.sendall(request_packet("GET", "http://foo.com/"))
            assert closed.wait(LIMIT)
            assert is_idle(worker)
            wait_until(lambda: descriptors(worker) == before, "the session to time out")


def test_a_retry_begins_with_the_client_unwatched():
    swept, release = threading.Event(), threading.Event()

    def silent(connection, number):
        read_request(connection)
        swept.wait(LIMIT)

    def slow(connection, number):
        read_request(connection)
        release.wait(LIMIT)
        connection.sendall(b"served")

    with FakeNode(silent) as first, FakeNode(slow) as second, subscription_router() as router:
        router.announce("foo.com", first.address)
        router.announce("foo.com", second.address)
        with connect(router.address) as sock:
            sock.sendall(request_packet("GET", "http://foo.com/"))
            wait_until(lambda: first.connections, "the first node to be tried")
            wait_for_sweeps(
                router.pids("fastrouter worker")[0]
            )  # the client is watched from the second one on
            swept.set()
            wait_until(lambda: second.connections, "the second node to be tried")
            sock.shutdown(socket.SHUT_WR)
            assert is_idle(router.pids("fastrouter worker")[0])
            release.set()
            assert read_all(sock) == b"served"


def test_half_a_request_at_a_graceful_stop_is_served(app_file):
    """The application outlives the router worker that still has a request for it."""
    arguments = ["--socket=127.0.0.1:0", "--wsgi-file", app_file]
    with subscription_router(*arguments) as router:
        where = router.wait_for("app workers bound on (.*)")[1]
        router.announce("foo.com", where)
        packet = request_packet("GET", "http://foo.com/")
        with connect(router.address) as sock:
            sock.sendall(packet[:50])
            wait_until(lambda: descriptors(router.pids("fastrouter worker")[0]) > 14, "the session")
            router.process.send_signal(signal.SIGTERM)
            router.wait_for("stopping gracefully")
            sock.sendall(packet[50:])
            assert b"host=foo.com" in read_all(sock)
        assert router.wait() == 0


def test_the_backlog_is_served_at_a_graceful_stop(node):
    """Also what stands behind a request that is over at once."""
    with subscription_router() as router:
        router.announce("foo.com", node.address)
        worker = router.pids("fastrouter worker")[0]
        os.kill(worker, signal.SIGSTOP)
        sockets = [connect(router.address) for _ in range(3)]
        for sock, host in zip(sockets, ("unknown.com", "foo.com", "foo.com"), strict=True):
            sock.sendall(request_packet("GET", f"http://{host}/"))
        os.kill(worker, signal.SIGTERM)
        os.kill(worker, signal.SIGCONT)
        replies = []
        for sock in sockets:
            with sock:
                replies.append(read_all(sock))
        assert replies[0] == b"" and all(reply.endswith(node.address.encode()) for reply in replies[1:])


def test_a_signal_during_the_start_is_obeyed():
    for _ in range(5):
        with Program(MASTER, "--fastrouter=127.0.0.1:0", "--fastrouter-to=127.0.0.1:1") as program:
            program.wait_for("spawned fastrouter-master")
            assert program.stop() == 0
            assert "in time" not in program.output and "at once" not in program.output


def test_a_body_that_a_node_has_read_is_not_sent_without_it_to_another():
    def closes(connection, number):
        read_request(connection)

    with FakeNode(closes) as bad, FakeNode() as good, subscription_router() as router:
        router.announce("foo.com", bad.address)
        router.announce("foo.com", good.address)
        packet = request_packet("GET", "http://foo.com/", b"12345")
        for request in (1, 2):
            with connect(router.address) as sock:
                sock.sendall(packet)
                wait_until(lambda: bad.connections + good.connections == request, "the node to have it")  # noqa: B023
                sock.sendall(b"12345")
                read_all(sock)
        assert all(body == b"12345" for body in good.bodies)
        assert bad.connections == 1 and good.connections == 1


def test_replacing_an_app_worker_after_its_requests_is_no_crash(app_file):
    with Program(MASTER, "--socket=127.0.0.1:0", "--wsgi-file", app_file, "--max-requests=2") as program:
        address = program.wait_for("app workers bound on (.*)")[1]
        for _ in range(20):
            assert b"200 OK" in request(address)
        assert "died" not in program.output and "in a row" not in program.output


@pytest.mark.root
@pytest.mark.parametrize("option", ["--uid=54321", "--fastrouter-uid=54321"])
def test_a_uid_without_a_name(option, node):
    with Router("--fastrouter=127.0.0.1:0", "--fastrouter-to", node.address, option) as router:
        assert request(router.address)
        assert psutil.Process(router.pids("fastrouter worker")[0]).uids().real == 54321


def test_a_client_that_was_slow_to_ask_is_still_noticed_when_it_leaves(tmp_path):
    def behave(connection, number):
        read_request(connection)
        connection.recv(1)

    with (
        FakeNode(behave) as node,
        Router("--fastrouter", tmp_path / "r.sock", "--fastrouter-to", node.address) as router,
    ):
        worker = router.pids("fastrouter worker")[0]
        before = descriptors(worker)
        packet = request_packet("GET", "http://foo.com/")
        with connect(router.address) as sock:
            sock.sendall(packet[:20])
            wait_for_sweeps(worker)
            sock.sendall(packet[20:])
            wait_until(lambda: node.connections, "the request")
        wait_until(lambda: descriptors(worker) == before, "the session to end")


def test_a_signal_handler_of_the_applications_own_spins_nobody(tmp_path):
    app = tmp_path / "app.py"
    app.write_text(
        "import signal\n"
        "hits = []\n"
        "signal.signal(signal.SIGUSR1, lambda *_: hits.append(1))\n"
        "def application(e, s):\n    s('200 OK', [])\n    return [b'hits=%d' % len(hits)]\n"
    )
    with Program(MASTER, "--socket=127.0.0.1:0", "--wsgi-file", app) as program:
        address = program.wait_for("app workers bound on (.*)")[1]
        assert request(address).endswith(b"hits=0")
        pid = psutil.Process(program.pid).children()[0].pid
        os.kill(pid, signal.SIGUSR1)
        wait_until(lambda: request(address).endswith(b"hits=1"), "the handler")
        assert is_idle(pid)


def test_a_request_without_a_protocol_is_answered(app_file):
    with Program(MASTER, "--socket=127.0.0.1:0", "--wsgi-file", app_file) as program:
        with connect(program.wait_for("app workers bound on (.*)")[1]) as sock:
            sock.sendall(encode([(b"REQUEST_METHOD", b"GET"), (b"PATH_INFO", b"/x")]))
            assert b"path=/x" in read_all(sock)


def test_a_mapping_file_that_cannot_be_read_takes_nothing_back(tmp_path, app_file):
    mapping = tmp_path / "map.txt"
    mapping.write_text("one.com\nbad.com,x\ntwo.com\n")
    with subscription_router() as router:
        arguments = [
            f"--subscribe-to={router.server}:@{mapping}",
            "--subscribe-freq=1",
            "--wsgi-file",
            app_file,
        ]
        with Program(MASTER, "--socket=127.0.0.1:0", *arguments) as program:
            router.wait_for("two.com => new node")
            mapping.unlink()
            program.wait_for("nothing of it is changed")
            assert b"200 OK" in request(router.address, "http://one.com/")
            assert "marking" not in router.output and "has left" not in router.output


def test_a_node_whose_failure_message_was_lost_comes_back(node):
    """The mark is there, the subscription server was not: the next announcement must undo it."""
    with subscription_router() as router:
        gone = FakeNode()
        address = gone.address
        gone.close()
        router.announce("foo.com", address)
        server = router.pids("subscription server")[0]
        os.kill(server, signal.SIGSTOP)
        assert request(router.address) == b""
        os.kill(server, signal.SIGKILL)
        router.wait_for("respawned fastrouter subscription server")
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", int(address.rpartition(":")[2])))
            listener.listen()
            listener.settimeout(LIMIT)

            def serve():
                connection, _ = listener.accept()
                with connection:
                    read_request(connection)
                    connection.sendall(b"back")

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            wait_until(
                lambda: (
                    send_announcement(router.server, Announcement("foo.com", address))
                    or request(router.address) == b"back"
                ),
                "the node to be routed to again",
            )
            thread.join(LIMIT)


def test_resetting_clients_are_not_their_nodes_failures(node):
    with subscription_router() as router:
        router.announce("foo.com", node.address)
        for _ in range(5):
            sock = connect(router.address)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(request_packet("POST", "http://foo.com/", bytes(10)))
            sock.close()
        assert request(router.address).endswith(node.address.encode())
        assert "marking" not in router.output


def test_a_crowd_before_a_busy_node_keeps_nobody_else_waiting(tmp_path, node):
    """Four hundred sessions wait for room in one node's backlog; the worker is mostly idle meanwhile."""
    path = str(tmp_path / "busy.sock")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
        listener.bind(path)
        listener.listen(0)
        router = stack.enter_context(subscription_router("--fastrouter-connect-timeout=60"))
        router.announce("busy.com", path)
        router.announce("foo.com", node.address)
        packet = request_packet("GET", "http://busy.com/")
        for _ in range(400):  # as many as 1,024 descriptors allow, and room for others
            sock = stack.enter_context(connect(router.address))
            sock.sendall(packet)
        assert request(router.address).endswith(node.address.encode())
        process = psutil.Process(router.pids("fastrouter worker")[0])
        process.cpu_percent(None)
        assert process.cpu_percent(0.5) < 50


def test_a_subscription_server_that_was_held_up_drops_nobody_who_announced(node):
    with subscription_router("--subscription-tolerance=1") as router:
        router.announce("foo.com", node.address)
        server = router.pids("subscription server")[0]
        worker = router.pids("fastrouter worker")[0]
        os.kill(server, signal.SIGSTOP)
        wait_for_sweeps(worker)  # longer than the tolerance
        for number in range(100):  # more than it takes at a time
            send_announcement(router.server, Announcement(f"key-{number}.com", node.address))
        send_announcement(router.server, Announcement("foo.com", node.address))
        os.kill(server, signal.SIGCONT)
        router.wait_for("key-99.com => new node")
        assert request(router.address).endswith(node.address.encode())
        first = next(
            line for line in router.lines if "no announce received" in line or "key-99.com =>" in line
        )
        assert "key-99.com" in first


def test_the_router_is_no_node_of_its_own():
    with subscription_router() as router:
        send_announcement(router.server, Announcement("foo.com", router.address))
        router.wait_for(f"refused an announcement from 127.0.0.1: {router.address} is this router itself")


def test_the_limit_on_sessions_holds_while_they_come_and_go():
    release = threading.Event()

    def behave(connection, number):
        packet, _ = read_request(connection)
        if b"/stay" in packet:
            release.wait(LIMIT)
        connection.sendall(b"served")

    with FakeNode(behave) as node:
        arguments = ("--fastrouter=127.0.0.1:0", "--fastrouter-to", node.address)
        with (
            Router(*arguments, prefix=("prlimit", "--nofile=80:80")) as router,
            contextlib.ExitStack() as stack,
        ):
            worker = router.pids("fastrouter worker")[0]
            staying = [stack.enter_context(connect(router.address)) for _ in range(6)]
            for sock in staying:
                sock.sendall(request_packet("GET", "http://foo.com/stay"))
            replies = in_threads(12, lambda number: [request(router.address) for _ in range(20)])
            assert descriptors(worker) < 60
            release.set()
            assert [read_all(sock) for sock in staying] == [b"served"] * 6
            assert all(reply == b"served" for some in replies for reply in some)


def test_a_client_that_sends_nothing_is_no_request_that_takes_too_long(app_file):
    with Program(
        MASTER, "--socket=127.0.0.1:0", "--wsgi-file", app_file, "--threads=2", "--harakiri=1"
    ) as program:
        address = program.wait_for("app workers bound on (.*)")[1]
        with connect(address) as sock:
            sock.sendall(b"\0")
            assert read_all(sock) == b""  # after socket-timeout
        assert b"200 OK" in request(address)
        assert "HARAKIRI" not in program.output
