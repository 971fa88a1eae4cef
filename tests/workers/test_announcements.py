"""The subscription server and cheap mode, with real datagrams."""

import os
import random
import signal
import socket
import struct

import pytest
from harness import (
    LIMIT,
    FakeNode,
    HeldNode,
    Router,
    connect,
    descriptors,
    load,
    read_all,
    refusing_address,
    request,
    send_announcement,
    subscription_router,
    wait_until,
)

from fastrouter.client import request_packet
from fastrouter.wire.announcement import Announcement
from fastrouter.wire.packet import encode


@pytest.fixture
def router():
    with subscription_router("--subscription-tolerance=2") as router:
        yield router


def test_the_log_lines_that_people_know(router, nodes):
    first, second = nodes[0].address, nodes[1].address
    router.announce("foo.com", first)
    router.announce("foo.com", second)
    pid = router.pids("subscription server")[0]
    router.wait_for(rf"^\[uwsgi-subscription for pid {pid}\] new pool: foo.com \(hash key: 11571\)$")
    router.wait_for(rf"^\[uwsgi-subscription for pid {pid}\] foo.com => new node: {second}$")
    router.unsubscribe("foo.com", first)
    router.wait_for(rf"^\[uWSGI fastrouter pid {pid}\] foo.com => {first} has left$")
    line = rf"foo.com => marking {second} as failed \(no announce received in 2 seconds\)$"
    router.wait_for(rf"^\[uwsgi-subscription for pid {pid}\] {line}")
    assert request(router.address) == b""


@pytest.mark.parametrize("kind", ["ipv4", "ipv6", "unix"])
def test_datagrams_of_every_kind(tmp_path, node, kind):
    server = {"ipv4": "127.0.0.1:0", "ipv6": "[::1]:0", "unix": str(tmp_path / "subs.sock")}[kind]
    with Router("--fastrouter=127.0.0.1:0", "--fastrouter-subscription-server", server, "--vacuum") as router:
        router.announce("foo.com", node.address)
        assert request(router.address).endswith(node.address.encode())
        assert router.stop() == 0
    assert not (tmp_path / "subs.sock").exists()


def test_a_port_on_all_addresses_is_dialled_at_its_sender(router, node):
    port = node.address.rpartition(":")[2]
    send_announcement(router.server, Announcement("foo.com", f":{port}"))
    router.wait_for(f"foo.com => new node: 127.0.0.1:{port}")
    assert request(router.address).endswith(node.address.encode())


BAD = [
    b"",
    b"\xe0",
    b"\xe0\0\0\0",
    encode([(b"key", b"foo.com")], 224),
    encode([(b"address", b"127.0.0.1:1")], 224),
    encode([(b"key", b"k" * 256), (b"address", b"127.0.0.1:1")], 224),
    encode([(b"key", b"foo.com"), (b"address", b"no such name:80")], 224),
    encode([(b"key", b"foo.com"), (b"address", b"127.0.0.1:1"), (b"x", bytes(4100))], 224),
    *[random.Random(seed).randbytes(500) for seed in range(20)],
]


def test_bad_datagrams_are_refused_and_nothing_else_happens(router, node):
    server = router.pids("subscription server")[0]
    before = descriptors(server)
    # So many are logged in a second; none of them shall be another one's.
    os.kill(server, signal.SIGSTOP)
    for datagram in BAD:
        send_announcement(router.server, datagram)
    os.kill(server, signal.SIGCONT)
    router.announce("foo.com", node.address)
    router.wait_for("refused an announcement from 127.0.0.1: too short")
    router.wait_for("refused .* more announcements")
    assert sum("refused an announcement" in line for line in router.lines) == 10
    assert request(router.address).endswith(node.address.encode())
    assert router.pids("subscription server") == [server]
    assert descriptors(server) == before
    router.process.send_signal(signal.SIGUSR1)
    router.wait_for(rf"statistics: fastrouter: 1 announcements accepted, {len(BAD)} refused")


def test_names_cannot_write_lines_of_their_own(router, node):
    send_announcement(router.server, Announcement("evil\nSIGTERM received\x1b[2J", node.address))
    router.wait_for(r"refused .* the key has control characters: 'evil\\nSIGTERM received\\x1b\[2J'")


def test_a_full_table_says_so():
    with subscription_router("--subscription-max-nodes=2") as router:
        for number in (1, 2, 3):
            send_announcement(router.server, Announcement("foo.com", f"127.0.0.1:{number}"))
        router.wait_for("the table is full")


def test_the_table_survives_the_subscription_server(router, node):
    """The successor tolerates what its predecessor knew, goes on with the datagrams that waited, and expires."""
    router.announce("foo.com", node.address)
    pid = router.pids("subscription server")[0]
    os.kill(pid, signal.SIGSTOP)
    send_announcement(router.server, Announcement("late.com", node.address))
    os.kill(pid, signal.SIGKILL)
    with load(lambda: request(router.address)) as outcomes:
        router.wait_for("respawned fastrouter subscription server")
        router.wait_for("late.com => new node")
    assert outcomes and all(isinstance(one, bytes) and one for one in outcomes)
    router.wait_for("foo.com => marking .* as failed .no announce received in 2 seconds")


def test_a_full_pipe_means_reading_the_whole_table(node):
    with subscription_router() as router:
        worker = router.pids("fastrouter worker")[0]
        os.kill(worker, signal.SIGSTOP)
        for number in range(6000):  # more deltas than the pipe holds
            send_announcement(router.server, Announcement(f"key-{number}.com", node.address))
            if number % 50 == 49:
                router.wait_for(f"key-{number}.com => new node")
        os.kill(worker, signal.SIGCONT)
        wait_until(lambda: request(router.address, "http://key-5999.com/"), "the last key to be routed")
        assert all(request(router.address, f"http://key-{number}.com/") for number in range(0, 6000, 500))


def test_cheap_mode_from_the_first_node_to_the_last(node):
    with subscription_router("--fastrouter-processes=3", cheap=True) as router:
        router.wait_for("starting fastrouter in cheap mode")
        with connect(router.address) as waiting:
            waiting.sendall(request_packet("GET", "http://foo.com/"))
            router.announce("foo.com", node.address)
            assert read_all(waiting).endswith(node.address.encode())
        router.wait_for(r"^\[uWSGI fastrouter pid \d+\] leaving cheap mode\.\.\.$", 3)
        router.unsubscribe("foo.com", node.address)
        router.wait_for(r"^\[uWSGI fastrouter pid \d+\] no more nodes available. Going cheap\.\.\.$", 3)
        with connect(router.address) as waiting:
            waiting.sendall(request_packet("GET", "http://foo.com/"))
            router.announce("foo.com", node.address)
            assert read_all(waiting).endswith(node.address.encode())


def test_the_loss_of_the_last_node_by_failure_or_silence_is_cheap_too():
    dead, address = refusing_address()
    with dead, subscription_router("--subscription-tolerance=1", cheap=True) as router:
        router.announce("foo.com", address)
        assert request(router.address) == b""
        router.wait_for("Going cheap")
        router.announce("foo.com", address)
        router.wait_for("leaving cheap mode", 2)
        router.wait_for("no announce received in 1 seconds")
        router.wait_for("Going cheap", 2)


def test_a_respawned_worker_is_not_cheap_while_there_are_nodes(node):
    with subscription_router(cheap=True) as router:
        router.announce("foo.com", node.address)
        router.wait_for("leaving cheap mode")
        os.kill(router.pids("fastrouter worker")[0], signal.SIGKILL)
        router.wait_for("respawned fastrouter worker 1")
        assert request(router.address).endswith(node.address.encode())


def test_an_unsubscribed_node_finishes_what_it_has(router):
    with HeldNode() as node:
        router.announce("foo.com", node.address)
        with connect(router.address) as sock:
            sock.sendall(request_packet("GET", "http://foo.com/"))
            assert node.entered.wait(LIMIT)
            router.unsubscribe("foo.com", node.address)
            node.release.set()
            assert read_all(sock).endswith(b"served")


def test_failures_reach_every_worker(node):
    """One worker finds a node dead; no other sends it a request afterwards."""
    tries = []

    def behave(connection, number):
        tries.append(number)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with subscription_router("--fastrouter-processes=4") as router:
        bad = FakeNode(behave)
        router.announce("foo.com", bad.address)
        router.announce("foo.com", node.address)
        bad.close()
        with load(lambda: request(router.address)) as outcomes:
            wait_until(lambda: len(outcomes) > 100, "100 requests")
        assert all(isinstance(one, bytes) and one for one in outcomes)
        assert sum("marking" in line for line in router.lines) == 1
