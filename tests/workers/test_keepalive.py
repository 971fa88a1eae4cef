"""Nodes that leave connections open after their answers, and what must not come of that."""

import contextlib
import socket
import threading

import pytest
from harness import (
    LIMIT,
    FakeNode,
    Router,
    answer,
    connect,
    descriptors,
    in_threads,
    read_all,
    read_request,
    request,
    router_to,
    send_announcement,
    subscription_router,
    wait_until,
)

from fastrouter.client import request_packet
from fastrouter.wire.announcement import Announcement


class KeepingNode(FakeNode):
    """Serves one request after the other on a connection, with what reply makes of its number and body."""

    def __init__(self, reply=lambda number, body: answer(b"%d" % number), at_most=10**9):
        self.reply = reply
        self.at_most = at_most
        self.served = 0
        super().__init__(self._keep)

    def _keep(self, connection, number):
        with contextlib.suppress(ConnectionError):
            for _ in range(self.at_most):
                _, body = read_request(connection)
                self.served += 1
                connection.sendall(self.reply(number, body))


def routing_to(node, *more):
    return router_to(node, f"--fastrouter-keepalive={node.address}", *more)


def text(reply):
    return reply.partition(b"\r\n\r\n")[2]


def test_one_connection_for_many_requests():
    with KeepingNode() as node, routing_to(node) as router:
        worker = router.pids("fastrouter worker")[0]
        idle = descriptors(worker)
        for _ in range(20):
            assert text(request(router.address)) == b"0"
        assert (node.connections, node.served) == (1, 20)
        assert descriptors(worker) == idle + 1
        in_threads(8, lambda number: [request(router.address) for _ in range(20)])
        assert node.served == 180 and node.connections <= 9


def test_a_node_that_announces_it_and_takes_it_back():
    with subscription_router() as router, KeepingNode(at_most=3) as node:
        router.announce("foo.com", node.address, keepalive=True)
        assert [text(request(router.address)) for _ in range(3)] == [b"0", b"0", b"0"]
        node.at_most = 1
        send_announcement(router.server, Announcement("foo.com", node.address))
        wait_until(lambda: request(router.address) and node.connections >= 3, "a connection a request")


def test_a_node_with_a_host_name():
    with KeepingNode() as node:
        name = f"localhost:{node.address.rpartition(':')[2]}"
        with Router(
            "--fastrouter=127.0.0.1:0", f"--fastrouter-to={name}", f"--fastrouter-keepalive={name}"
        ) as router:
            router.wait_for(f"{name} is at")
            assert [text(request(router.address)) for _ in range(3)] == [b"0"] * 3
    assert node.connections == 1


def test_nobody_else_is_kept(node):
    with Router("--fastrouter=127.0.0.1:0", f"--fastrouter-to={node.address}") as router:
        for _ in range(3):
            assert request(router.address)
    assert node.connections == 3


def test_requests_that_must_not_be_repeated_go_over_new_connections():
    with KeepingNode() as node, routing_to(node) as router:
        assert text(request(router.address)) == b"0"
        assert text(request(router.address, body=b"abc")) == b"1"
        assert text(request(router.address)) in (b"0", b"1")
        assert node.served == 3


def test_a_connection_that_the_node_has_closed_costs_nothing():
    """Between two requests, or just as the next one comes."""
    with KeepingNode(at_most=2) as node, routing_to(node) as router:
        for _ in range(20):
            assert text(request(router.address))
        assert node.served == 20 and "no answer" not in router.output


def test_a_node_that_closes_as_the_next_request_comes():
    def behave(connection, number):
        read_request(connection)
        connection.sendall(answer(b"served"))
        with contextlib.suppress(ConnectionError):
            read_request(connection)

    with FakeNode(behave) as node, routing_to(node, "--fastrouter-max-retries=0") as router:
        for _ in range(6):
            assert text(request(router.address)) == b"served"
    assert node.connections >= 6


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_comes_after_the_answer_is_nobodys(method):
    """More than Content-Length says, or a body for HEAD: no other client gets to see it."""

    def reply(number, body):
        return b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstolen"

    with KeepingNode(reply) as node, routing_to(node) as router:
        for _ in range(10):
            assert text(request(router.address, method=method)) == (b"abc" if method == "GET" else b"")
        assert node.connections == 10


def test_chunks_in_pieces():
    pieces = [
        b"HTTP/1.1 200 OK\r\nTransfer-",
        b"Encoding: chunked\r",
        b"\n\r\n3\r\nab",
        b"c\r",
        b"\n",
        b"0\r\n",
        b"\r\n",
    ]

    def behave(connection, number):
        with contextlib.suppress(ConnectionError):
            while True:
                read_request(connection)
                for piece in pieces:
                    connection.sendall(piece)

    with FakeNode(behave) as node, routing_to(node) as router:
        for _ in range(5):
            assert request(router.address) == b"".join(pieces)
    assert node.connections == 1


def test_a_large_answer_to_a_slow_client():
    size = 20_000_000
    with KeepingNode(lambda number, body: answer(b"x" * size)) as node, routing_to(node) as router:
        for _ in range(2):
            with connect(router.address) as sock:
                sock.sendall(request_packet("GET", "http://foo.com/"))
                assert sock.recv(10)
                wait_until(lambda: node.served, "the node to be asked")
                assert len(text(b"HTTP/1.1 20" + read_all(sock))) == size


def test_an_answer_that_only_the_end_tells():
    def reply(number, body):
        return b"HTTP/1.1 200 OK\r\n\r\nand so on"

    with KeepingNode(reply, at_most=1) as node, routing_to(node) as router:
        assert [text(request(router.address)) for _ in range(3)] == [b"and so on"] * 3
    assert node.connections == 3


def test_a_body_that_the_node_does_not_wait_for():
    """The answer is over before the body: the rest of it must not become somebody's request."""
    release = threading.Event()

    def behave(connection, number):
        packet = connection.recv(65536)
        connection.sendall(answer(b"no, thanks"))
        if b"POST" in packet:
            release.wait(LIMIT)
            with contextlib.suppress(ConnectionError):
                while connection.recv(65536):
                    pass

    with FakeNode(behave) as node, routing_to(node) as router:
        body = b"x" * 3_000_000
        with connect(router.address) as sock:
            sock.sendall(request_packet("POST", "http://foo.com/", body) + body[:100])
            assert text(read_all(sock)) == b"no, thanks"
        release.set()
        assert text(request(router.address)) == b"no, thanks"
        assert node.connections == 2


@pytest.mark.parametrize("body", [b"", b"abc"])
def test_a_request_that_hides_behind_another_is_nobody_elses(body):
    """Its answer must not become that of the next client's request."""
    data = request_packet("POST" if body else "GET", "http://foo.com/", body) + body
    data += request_packet("GET", "http://foo.com/evil")
    replies = {True: answer(b"evil"), False: answer(b"good")}

    def behave(connection, number):
        with contextlib.suppress(ConnectionError):
            while True:
                packet, _ = read_request(connection)
                runs.append(b"/evil" in packet)
                connection.sendall(replies[b"/evil" in packet])

    runs = []
    with FakeNode(behave) as node, routing_to(node) as router:
        for _ in range(20):
            with connect(router.address) as sock:
                sock.sendall(data)
                assert text(read_all(sock)) == b"good"
            assert text(request(router.address)) == b"good"
        assert node.connections >= 20
    assert not any(runs), "nor does the node run it"


def test_a_stale_connection_to_a_node_whose_backlog_is_full(tmp_path):
    """A new one takes a moment; that is no failure."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with Router(
            "--fastrouter=127.0.0.1:0", f"--fastrouter-to={address}", f"--fastrouter-keepalive={address}",
            "--fastrouter-connect-timeout=20",
        ) as router, connect(router.address) as first, connect(router.address) as second:  # fmt: skip
            first.sendall(request_packet("GET", "http://foo.com/"))
            kept, _ = listener.accept()
            read_request(kept)
            kept.sendall(answer(b"first"))
            assert text(read_all(first)) == b"first"
            fillers = [connect(address) for _ in range(1)]
            second.sendall(request_packet("GET", "http://foo.com/"))
            kept.recv(1)
            kept.close()
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(0.2)
                    try:
                        read_request(connection)
                    except (TimeoutError, ConnectionError):
                        continue
                    connection.sendall(answer(b"second"))
                    break
            assert text(read_all(second)) == b"second"
            for filler in fillers:
                filler.close()
