"""The router worker with real sockets: the session's whole life, and what bad clients and nodes do to it."""

import contextlib
import hashlib
import os
import random
import signal
import socket
import struct
import threading

import pytest
from harness import (
    LIMIT,
    FakeNode,
    HeldNode,
    Router,
    answer,
    connect,
    descriptors,
    in_threads,
    read_all,
    read_request,
    refusing_address,
    request,
    subscription_router,
    wait_until,
)

from fastrouter.client import request_packet
from fastrouter.wire.packet import encode


@pytest.fixture
def router():
    with subscription_router() as router:
        yield router


def test_a_request_is_routed_by_its_key(router, nodes):
    router.announce("a.com", nodes[0].address)
    router.announce("b.com", nodes[1].address)
    assert request(router.address, "http://a.com/").endswith(nodes[0].address.encode())
    assert request(router.address, "http://b.com/").endswith(nodes[1].address.encode())
    assert request(router.address, "http://c.com/") == b""


def test_the_packet_arrives_as_it_was_sent_but_for_the_modifiers(router, node):
    router.announce("foo.com", node.address, modifier1=5, modifier2=3)
    packet = request_packet("GET", "http://foo.com/path?q=1")
    with connect(router.address) as sock:
        sock.sendall(b"\x07" + packet[1:3] + b"\x09" + packet[4:])
        assert read_all(sock)
    assert node.packets == [b"\x05" + packet[1:3] + b"\x03" + packet[4:]]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "unix", "@abstract"])
@pytest.mark.parametrize("kind", ["tcp", "ipv6", "unix"])
def test_every_family_on_both_sides(tmp_path, listen, kind):
    listen = {"unix": str(tmp_path / "r.sock"), "@abstract": f"@fastrouter-{os.getpid()}"}.get(listen, listen)
    node = FakeNode(
        path=str(tmp_path / "n.sock") if kind == "unix" else "", host="::1" if kind == "ipv6" else "127.0.0.1"
    )
    with node, Router("--fastrouter", listen, "--fastrouter-to", node.address) as router:
        if listen.startswith("@"):
            packet = request_packet("GET", "http://foo.com/")
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(LIMIT)
                sock.connect(b"\0" + listen[1:].encode() + b"\0")
                sock.sendall(packet)
                assert read_all(sock).endswith(node.address.encode())
        else:
            assert request(router.address).endswith(node.address.encode())


def test_any_split_of_the_packet_gives_the_same_session(router, node):
    router.announce("foo.com", node.address)
    body = bytes(range(256)) * 40
    packet = request_packet("POST", "http://foo.com/", body)
    data = packet + body
    chance = random.Random(1)
    splits = [
        [1] * 40 + [len(data)],
        [4, len(packet) - 4, len(data)],
        [3, 2, len(data)],
        [len(packet) + 7, len(data)],
    ]
    splits += [[chance.randrange(1, 900) for _ in range(60)] + [len(data)] for _ in range(10)]
    for sizes in splits:
        with connect(router.address) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            rest = data
            for size in sizes:
                sock.sendall(rest[:size])
                rest = rest[size:]
            assert read_all(sock).endswith(node.address.encode())
    assert node.packets == [packet] * len(splits)
    assert node.bodies == [body] * len(splits)


def test_a_packet_of_64_kilobytes(router, node):
    router.announce("foo.com", node.address)
    filler = [(b"X%d" % n, bytes(3000)) for n in range(21)]
    packet = encode([*filler, (b"HTTP_HOST", b"foo.com")])
    packet = encode([*filler, (b"Y", bytes(65535 - len(packet) + 4 - 5)), (b"HTTP_HOST", b"foo.com")])
    assert len(packet) == 65539
    for size in (len(packet), 5000):
        with connect(router.address) as sock:
            for at in range(0, len(packet), size):
                sock.sendall(packet[at : at + size])
            assert read_all(sock).endswith(node.address.encode())
    assert node.packets == [packet, packet]


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 3_000_000])
def test_downloads_arrive_whole_however_slowly_they_are_read(router, size):
    payload = random.Random(size).randbytes(size)

    def behave(connection, number):
        read_request(connection)
        connection.sendall(answer(payload))

    with FakeNode(behave) as node:
        router.announce("foo.com", node.address)
        with connect(router.address) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
            sock.sendall(request_packet("GET", "http://foo.com/"))
            assert read_all(sock) == answer(payload)


def test_uploads_arrive_whole(router, node):
    router.announce("foo.com", node.address)
    body = random.Random(2).randbytes(8_000_000)
    assert request(router.address, body=body).endswith(node.address.encode())
    assert hashlib.sha256(node.bodies[0]).digest() == hashlib.sha256(body).digest()


def test_both_directions_move_at_once(router):
    """uWSGI moves one way at a time, and locks up when a node answers before it has read the body."""

    def behave(connection, number):
        packet = connection.recv(4)
        connection.recv(packet[1] | packet[2] << 8, socket.MSG_WAITALL)
        sender = threading.Thread(target=connection.sendall, args=(bytes(4_000_000),))
        sender.start()
        left = 4_000_000
        while left:
            left -= len(connection.recv(1 << 16))
        sender.join(LIMIT)

    with FakeNode(behave) as node:
        router.announce("foo.com", node.address)
        assert len(request(router.address, body=bytes(4_000_000))) == 4_000_000


def test_a_websocket_speaks_when_it_likes(router):
    def behave(connection, number):
        read_request(connection)
        connection.sendall(b"101")
        while data := connection.recv(100):
            connection.sendall(data.upper())

    with FakeNode(behave) as node:
        router.announce("foo.com", node.address)
        with connect(router.address) as sock:
            sock.sendall(request_packet("GET", "http://foo.com/", extra={"HTTP_UPGRADE": "websocket"}))
            assert sock.recv(3) == b"101"
            for word in (b"one", b"two", b"three"):
                sock.sendall(word)
                assert sock.recv(100) == word.upper()


def test_a_half_closed_client_still_gets_its_answer(router, node):
    router.announce("foo.com", node.address)
    with connect(router.address) as sock:
        sock.sendall(request_packet("GET", "http://foo.com/"))
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).endswith(node.address.encode())


def test_an_answer_before_the_end_of_the_body_is_not_reset_away(router):
    def behave(connection, number):
        packet = connection.recv(4)
        connection.recv(packet[1] | packet[2] << 8, socket.MSG_WAITALL)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\n\r\n")

    with FakeNode(behave) as node:
        router.announce("foo.com", node.address)
        body = bytes(3_000_000)
        with connect(router.address) as sock:
            sock.sendall(request_packet("POST", "http://foo.com/", body))
            with contextlib.suppress(OSError):
                sock.sendall(body)
            assert read_all(sock).startswith(b"HTTP/1.1 413")


def test_a_node_that_refuses_is_marked_and_the_next_one_tried(router, node):
    dead, address = refusing_address()
    with dead:
        router.announce("foo.com", address)
        router.announce("foo.com", node.address)
        for _ in range(4):
            assert request(router.address).endswith(node.address.encode())
        router.wait_for(rf'unable to connect\(\) to node "{address}" \(0 retries\): Connection refused')
        router.wait_for(rf"\[uwsgi-fastrouter\] foo.com => marking {address} as failed")
        assert sum("unable to connect" in line for line in router.lines) == 1


def test_a_missing_unix_socket_is_a_dead_node_too(router, node):
    router.announce("foo.com", "/tmp/there-is-no-such.sock")
    router.announce("foo.com", node.address)
    assert all(request(router.address).endswith(node.address.encode()) for _ in range(4))
    router.wait_for("marking /tmp/there-is-no-such.sock as failed")


def test_a_node_that_does_not_accept_in_time_is_left(node):
    with socket.socket(socket.AF_INET) as full, contextlib.ExitStack() as fillers:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        for _ in range(3):  # more than the backlog holds: the kernel drops what comes after
            filler = fillers.enter_context(socket.socket(socket.AF_INET))
            filler.setblocking(False)
            filler.connect_ex(address)
        with subscription_router("--fastrouter-connect-timeout=1") as router:
            router.announce("foo.com", f"127.0.0.1:{address[1]}")
            router.announce("foo.com", node.address)
            assert all(request(router.address).endswith(node.address.encode()) for _ in range(2))
            router.wait_for("unable to connect.*Connection timed out")


def test_a_full_unix_backlog_is_waited_out(tmp_path):
    path = str(tmp_path / "n.sock")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
        listener.bind(path)
        listener.listen(0)
        while True:
            filler = stack.enter_context(socket.socket(socket.AF_UNIX))
            filler.setblocking(False)
            if filler.connect_ex(path):
                break
        with (
            Router("--fastrouter=127.0.0.1:0", "--fastrouter-to", path) as router,
            connect(router.address) as sock,
        ):
            sock.sendall(request_packet("GET", "http://foo.com/"))
            wait_until(lambda: descriptors(router.pids("fastrouter worker")[0]) > 15, "the session")
            listener.settimeout(LIMIT)
            while True:
                connection, _ = listener.accept()
                connection.settimeout(0.2)
                try:
                    read_request(connection)
                except OSError:
                    connection.close()
                    continue
                with connection:
                    connection.sendall(b"served")
                break
            assert read_all(sock) == b"served"


def closes(connection, number):
    read_request(connection)


def resets(connection, number):
    read_request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("behave", [closes, resets])
def test_a_node_that_closes_without_a_word_costs_no_repeatable_request(node, behave):
    with FakeNode(behave) as bad, subscription_router("--fastrouter-max-fails=0") as router:
        router.announce("foo.com", bad.address)
        router.announce("foo.com", node.address)
        assert all(request(router.address).endswith(node.address.encode()) for _ in range(6))
        assert bad.connections
        assert any(request(router.address, body=b"x") == b"" for _ in range(4))


def test_a_node_that_resets_in_mid_answer_ends_that_session(router):
    def behave(connection, number):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with FakeNode(behave) as node:
        router.announce("foo.com", node.address)
        with connect(router.address) as sock:
            sock.sendall(request_packet("POST", "http://foo.com/", extra={"CONTENT_LENGTH": ""}))
            assert sock.recv(1000).endswith(b"half")
            sock.sendall(b"x" * 10)
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == b""


def test_a_node_that_hangs_costs_only_its_own_session():
    def behave(connection, number):
        read_request(connection)
        connection.recv(1)

    with FakeNode(behave) as bad, FakeNode() as good, subscription_router("--fastrouter-timeout=1") as router:
        router.announce("bad.com", bad.address)
        router.announce("good.com", good.address)
        with connect(router.address) as sock:
            sock.sendall(request_packet("GET", "http://bad.com/"))
            assert request(router.address, "http://good.com/").endswith(good.address.encode())
            assert read_all(sock) == b""


def record(name, value):
    return struct.pack("<H", len(name)) + name + struct.pack("<H", len(value)) + value


GOOD = record(b"HTTP_HOST", b"foo.com")
BAD_REQUESTS = {
    "nothing": b"",
    "one byte": b"\0",
    "half a header": b"\0\x10",
    "size 0": b"\0\0\0\0",
    "ping": b"\x64\0\0\0",
    "truncated": struct.pack("<BHB", 0, 100, 0) + GOOD,
    "name runs over": struct.pack("<BHB", 0, 4, 0) + b"\xff\xffab",
    "value runs over": struct.pack("<BHB", 0, 7, 0) + b"\x01\0a\xff\0bc",
    "empty name": struct.pack("<BHB", 0, len(GOOD) + 5, 0) + GOOD + b"\0\0\x01\0x",
    "stray byte": struct.pack("<BHB", 0, len(GOOD) + 1, 0) + GOOD + b"\0",
    "no key": encode([(b"PATH_INFO", b"/")]),
    "empty key": encode([(b"HTTP_HOST", b"")]),
    "long key": encode([(b"HTTP_HOST", b"x" * 256)]),
    "http": b"GET / HTTP/1.1\r\nHost: foo.com\r\n\r\n",
    "rubbish": random.Random(3).randbytes(3000),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_bad_packets_end_their_own_session_only(router, node, name):
    router.announce("foo.com", node.address)
    with connect(router.address) as sock:
        sock.sendall(BAD_REQUESTS[name])
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b""
    assert request(router.address).endswith(node.address.encode())
    assert node.connections == 1


def test_what_follows_the_packet_is_passed_on(router):
    def behave(connection, number):
        read_request(connection)
        connection.sendall(connection.recv(7, socket.MSG_WAITALL))

    with FakeNode(behave) as node:
        router.announce("foo.com", node.address)
        with connect(router.address) as sock:
            sock.sendall(request_packet("GET", "http://foo.com/") + b"garbage")
            assert read_all(sock) == b"garbage"


def test_clients_that_vanish_at_every_stage_leave_nothing_behind(router):
    waiting = threading.Semaphore(0)

    def behave(connection, number):
        waiting.release()
        read_request(connection)
        connection.sendall(bytes(200_000))
        connection.recv(1)

    with FakeNode(behave) as node:
        router.announce("foo.com", node.address)
        worker = router.pids("fastrouter worker")[0]
        before = descriptors(worker)
        packet = request_packet("POST", "http://foo.com/", bytes(1000))
        for reset in (False, True):
            for sent in (0, 2, 4, 50, len(packet), len(packet) + 500):
                sock = connect(router.address)
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.sendall((packet + bytes(1000))[:sent])
                if sent >= len(packet):
                    assert waiting.acquire(timeout=LIMIT)
                sock.close()
        wait_until(lambda: descriptors(worker) == before, "all descriptors to be closed")
        assert router.pids("fastrouter worker") == [worker]


def test_a_client_that_leaves_while_the_node_thinks_is_noticed(router):
    left = threading.Event()

    def behave(connection, number):
        read_request(connection)
        if connection.recv(1) == b"":
            left.set()

    with FakeNode(behave) as node:
        router.announce("foo.com", node.address)
        sock = connect(router.address)
        sock.sendall(request_packet("GET", "http://foo.com/"))
        wait_until(lambda: node.connections, "the request")
        sock.close()
        assert left.wait(LIMIT)


def test_without_descriptors_left_it_waits_and_goes_on(node):
    """Forty sessions at a time where there is room for a few: none is lost, and nothing spins or crashes."""
    release = threading.Event()

    def behave(connection, number):
        read_request(connection)
        release.wait(LIMIT)
        connection.sendall(b"served")

    with FakeNode(behave) as slow:
        arguments = ("--fastrouter=127.0.0.1:0", "--fastrouter-to", slow.address)
        with Router(*arguments, prefix=("prlimit", "--nofile=80:80")) as router:
            worker = router.pids("fastrouter worker")[0]
            with contextlib.ExitStack() as stack:
                sockets = [stack.enter_context(connect(router.address)) for _ in range(40)]
                for sock in sockets:
                    sock.sendall(request_packet("GET", "http://foo.com/"))
                router.wait_for("as many as it may have")
                release.set()
                assert [read_all(sock) for sock in sockets] == [b"served"] * 40
            assert router.pids("fastrouter worker") == [worker]


def test_a_graceful_stop_finishes_what_is_open(router):
    with HeldNode() as node:
        router.announce("foo.com", node.address)
        with connect(router.address) as sock:
            sock.sendall(request_packet("GET", "http://foo.com/"))
            assert node.entered.wait(LIMIT)
            router.process.send_signal(signal.SIGTERM)
            router.wait_for("stopping gracefully")
            wait_until(lambda: refuses(router.address), "new connections to be refused")
            node.release.set()
            assert read_all(sock).endswith(b"served")
        assert router.wait() == 0


def refuses(address):
    try:
        connect(address).close()
    except ConnectionRefusedError:
        return True
    return False


def test_shares_are_exact(router, nodes):
    router.announce("foo.com", nodes[0].address, weight=1)
    router.announce("foo.com", nodes[1].address, weight=2)
    router.announce("foo.com", nodes[2].address, weight=3)
    answers = in_threads(6, lambda number: [request(router.address) for _ in range(10)])
    assert sum(map(len, answers)) == 60
    assert [node.connections for node in nodes] == [10, 20, 30]


def test_four_workers_share_one_socket_and_one_table(nodes):
    with subscription_router("--fastrouter-processes=4") as router:
        for node in nodes:
            router.announce("foo.com", node.address)
        answers = in_threads(8, lambda number: [request(router.address) for _ in range(50)])
        assert all(text for some in answers for text in some)
        shares = [node.connections / 400 for node in nodes]
        assert all(abs(share - 1 / 3) < 0.1 for share in shares)


def test_static_nodes_rest_for_their_gracetime(node):
    dead, address = refusing_address()
    arguments = ("--fastrouter=127.0.0.1:0", "--fastrouter-to", address, "--fastrouter-to", node.address)
    with dead, Router(*arguments) as router:
        assert all(request(router.address).endswith(node.address.encode()) for _ in range(5))
        assert sum("unable to connect" in line for line in router.lines) == 1


def test_quiet_says_nothing_of_the_connection():
    dead, address = refusing_address()
    with dead, subscription_router("--fastrouter-quiet", "1") as router:
        router.announce("foo.com", address)
        assert request(router.address) == b""
        router.wait_for(f"foo.com => marking {address} as failed")
        assert "unable to connect" not in router.output


def test_a_fallback_serves_whenever_no_other_node_can(node):
    """Also while the only configured node is left out after a failure, and while all have enough to do."""
    bound, refusing = refusing_address()
    with (
        bound,
        Router(
            "--fastrouter=127.0.0.1:0", f"--fastrouter-to={refusing}", f"--fastrouter-fallback={node.address}"
        ) as router,
    ):
        for _ in range(5):
            assert request(router.address).endswith(node.address.encode())


def test_a_fallback_serves_when_there_is_no_room(node):
    with (
        HeldNode() as held,
        Router(
            "--fastrouter=127.0.0.1:0", "--fastrouter-max-conns=1", "--fastrouter-queue-timeout=1",
            f"--fastrouter-to={held.address}", f"--fastrouter-fallback={node.address}",
        ) as router,
        connect(router.address) as first,
    ):  # fmt: skip
        first.sendall(request_packet("GET", "http://foo.com/"))
        assert held.entered.wait(LIMIT)
        assert request(router.address).endswith(node.address.encode())
        held.release.set()
        assert read_all(first).endswith(b"served")
