"""The raw router with real sockets: any protocol, whoever speaks first, whoever ends first."""

import contextlib
import os
import re
import signal
import socket
import struct
import threading

import pytest
from harness import (
    LIMIT,
    FakeNode,
    RawRouter,
    announcement,
    connect,
    in_threads,
    read_all,
    request,
    send_announcement,
    wait_until,
)

from fastrouter.wire.announcement import Announcement


def echo(connection, number):
    while data := connection.recv(65536):
        connection.sendall(data)


def ask(router, data):
    """What comes back for data, read while it is sent."""
    with connect(router.address) as sock:

        def say():
            with contextlib.suppress(OSError):  # it may be closed before it has heard anything
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)

        speaker = threading.Thread(target=say)
        speaker.start()
        answer = read_all(sock)
        speaker.join(LIMIT)
        return answer


@pytest.fixture(params=["tcp", "unix"])
def echoing(request, tmp_path):
    path = str(tmp_path / "node.sock") if request.param == "unix" else ""
    with FakeNode(echo, path=path) as node:
        yield node


def test_anything_goes_both_ways(echoing):
    with RawRouter("--rawrouter-to", echoing.address) as router:
        data = bytes(range(256)) * 20_000
        assert in_threads(8, lambda number: ask(router, data) == data) == [True] * 8
        assert ask(router, b"") == b""


def test_over_a_unix_socket(echoing, tmp_path):
    path = str(tmp_path / "raw.sock")
    with RawRouter("--rawrouter-to", echoing.address, listener=path) as router:
        assert ask(router, b"hello") == b"hello"


def test_the_node_may_speak_first():
    def greet(connection, number):
        connection.sendall(b"220 hello\r\n")
        assert connection.recv(100) == b"QUIT\r\n"
        connection.sendall(b"221 bye\r\n")

    with FakeNode(greet) as node, RawRouter("--rawrouter-to", node.address) as router:
        with connect(router.address) as sock:
            assert sock.recv(100) == b"220 hello\r\n"
            sock.sendall(b"QUIT\r\n")
            assert read_all(sock) == b"221 bye\r\n"


def test_what_the_node_says_after_the_client_has_ended_arrives():
    def count(connection, number):
        size = 0
        while data := connection.recv(65536):
            size += len(data)
        connection.sendall(f"{size} bytes".encode())

    with FakeNode(count) as node, RawRouter("--rawrouter-to", node.address) as router:
        assert ask(router, bytes(3_000_000)) == b"3000000 bytes"


def test_what_the_client_says_after_the_node_has_ended_arrives():
    got, told = bytearray(), threading.Event()

    def say_and_listen(connection, number):
        connection.sendall(b"that is all")
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            got.extend(data)
        told.set()

    with FakeNode(say_and_listen) as node, RawRouter("--rawrouter-to", node.address) as router:
        with connect(router.address) as sock:
            assert read_all(sock) == b"that is all"
            sock.sendall(bytes(1_000_000))
        assert told.wait(LIMIT) and len(got) == 1_000_000


def test_a_client_that_is_gone_ends_the_connection_to_the_node():
    ended = threading.Event()

    def wait(connection, number):
        connection.sendall(b"hello")
        assert connection.recv(100) == b""
        ended.set()

    with FakeNode(wait) as node, RawRouter("--rawrouter-to", node.address) as router:
        with connect(router.address) as sock:
            assert sock.recv(100) == b"hello"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        assert ended.wait(LIMIT)


def test_silence_ends_it():
    with FakeNode(lambda connection, number: connection.recv(1)) as node:
        with RawRouter("--rawrouter-to", node.address, "--rawrouter-timeout=1") as router:
            with connect(router.address) as sock:
                assert read_all(sock) == b""


def test_a_node_that_cannot_be_reached_costs_nobody_a_byte(echoing):
    nowhere = "127.0.0.1:1"
    with RawRouter("--rawrouter-to", nowhere, "--rawrouter-to", echoing.address) as router:
        assert [ask(router, b"%d" % n) for n in range(4)] == [b"%d" % n for n in range(4)]
        router.wait_for(f'unable to connect\\(\\) to node "{nowhere}"')


def test_fallback(echoing, tmp_path):
    """uWSGI's crashes when a UNIX node is not there."""
    missing = tmp_path / "missing.sock"
    with RawRouter("--rawrouter-to", missing, "--rawrouter-fallback", echoing.address) as router:
        assert ask(router, b"hello") == b"hello"


def test_without_a_node_the_client_is_closed():
    """uWSGI's crashes."""
    with RawRouter("--rawrouter-subscription-server=127.0.0.1:0") as router:
        assert ask(router, b"hello") == b""
        router.wait_for(f"no node for {router.address}: nobody has announced it")


def test_the_listener_is_the_key(tmp_path):
    one, other = tmp_path / "one.sock", tmp_path / "other.sock"
    arguments = ("--rawrouter", other, "--rawrouter-subscription-server=127.0.0.1:0")
    with (
        RawRouter(*arguments, listener=str(one)) as router,
        FakeNode(echo) as first,
        FakeNode(echo) as second,
    ):
        router.announce(str(one), first.address)
        router.announce(str(other), second.address)
        for _ in range(3):
            for path in (one, other):
                router.address = str(path)
                assert ask(router, b"x") == b"x"
        assert (first.connections, second.connections) == (3, 3)


def test_cheap(echoing):
    with RawRouter("--rawrouter-cheap", "--rawrouter-subscription-server=127.0.0.1:0") as router:
        with connect(router.address) as sock:
            sock.sendall(b"hello")
            sock.shutdown(socket.SHUT_WR)
            router.announce(router.address, echoing.address)
            assert read_all(sock) == b"hello"
        send_announcement(router.server, Announcement(router.address, echoing.address, unsubscribe=True))
        router.wait_for("Going cheap")


def test_proxy_headers():
    lines = []

    def hear(connection, number):
        data = b""
        while more := connection.recv(65536):
            data += more
        lines.append(data)
        connection.sendall(b"heard")

    with FakeNode(hear) as node:
        for version in (1, 2):
            arguments = ("--rawrouter-to", node.address, f"--rawrouter-send-proxy={version}")
            with RawRouter(*arguments) as router, connect(router.address) as sock:
                host, port = sock.getsockname()
                sock.sendall(b"hello")
                sock.shutdown(socket.SHUT_WR)
                assert read_all(sock) == b"heard"
                here = int(router.address.rpartition(":")[2])
                if version == 1:
                    expected = f"PROXY TCP4 {host} {host} {port} {here}\r\n".encode()
                else:
                    addresses = socket.inet_aton(host) * 2 + struct.pack("!HH", port, here)
                    expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + addresses
                assert lines[-1] == expected + b"hello"


def test_xclient():
    heard = []

    def postfix(connection, number):
        for piece in (b"220 one", b"\r", b"\n"):
            connection.sendall(piece)
        with connection.makefile("rb") as lines:
            for answer in (b"220 two\r\n", b"221 bye\r\n"):
                heard.append(next(lines))
                connection.sendall(answer)

    with FakeNode(postfix) as node:
        with RawRouter("--rawrouter-to", node.address, "--rawrouter-xclient") as router:
            with connect(router.address) as sock:
                sock.sendall(b"QUIT\r\n")  # too early, and yet not before XCLIENT
                assert read_all(sock) == b"220 two\r\n221 bye\r\n"
    assert heard == [b"XCLIENT ADDR=127.0.0.1\r\n", b"QUIT\r\n"]


def test_beside_a_fastrouter(node, echoing, tmp_path):
    """Each has its own workers, subscription server, statistics and log, and minds nothing of the other's."""
    for name in ("fastrouter", "rawrouter"):
        (tmp_path / f"{name}.log").touch()
    options = [
        f"--{prefix}-{option}"
        for prefix in ("fastrouter", "rawrouter")
        for option in (
            "subscription-server=127.0.0.1:0",
            "processes=2",
            "stats=127.0.0.1:0",
            f"log={tmp_path / prefix}.log",
        )
    ]
    with RawRouter("--fastrouter=127.0.0.1:0", *options) as router:
        fastrouter = router.wait_for("^fastrouter bound on (.*)")[1]
        server = router.wait_for("^fastrouter subscription server bound on (.*)")[1]
        send_announcement(server, announcement("foo.com", node.address))
        router.wait_for("foo.com => new node")
        router.announce(router.address, echoing.address)

        def both():
            return request(fastrouter).endswith(node.address.encode()), ask(router, b"hello") == b"hello"

        assert both() == (True, True)
        for victim in ("fastrouter worker", "fastrouter subscription server", "rawrouter worker"):
            other = (lambda: ask(router, b"x") == b"x") if victim.startswith("fast") else (lambda: both()[0])
            for line in [line for line in router.lines if re.search(f"spawned {victim}", line)][-2:]:
                os.kill(int(re.search(r"pid: (\d+)", line)[1]), signal.SIGKILL)
                assert other()
            router.wait_for(f"respawned {victim}")
        wait_until(lambda: both() == (True, True), "both to serve again")
        assert (tmp_path / "rawrouter.log").read_text().count(router.address) >= 2
