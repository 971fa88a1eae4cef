"""The node's side of passed clients: what take() makes of every way in which the bytes may come."""

import array
import contextlib
import errno
import itertools
import os
import random
import resource
import socket
import subprocess
import sys
import threading

import pytest

from fastrouter.client import request_packet
from fastrouter.passing import REPORT, Taken, take

LIMIT = 10.0


@contextlib.contextmanager
def pairs():
    """A router's connection to a node, and a client's to the router: (router, node), (client, ours)."""
    sockets = [*socket.socketpair(), *socket.socketpair()]
    for one in sockets:
        one.settimeout(LIMIT)
    try:
        yield sockets[:2], sockets[2:]
    finally:
        for one in sockets:
            one.close()


def send(router, descriptors, pieces, ends):
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    router.sendmsg([pieces[0]], [rights])
    for piece in pieces[1:]:
        router.sendall(piece)
    if ends:
        router.shutdown(socket.SHUT_WR)


def cut(data, places):
    edges = [0, *sorted({place for place in places if 0 < place < len(data)}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def ways(data):
    chance = random.Random(len(data))
    yield [data]
    yield cut(data, range(len(data)))
    for _ in range(10):
        yield cut(data, [chance.randrange(len(data)) for _ in range(5)])


@pytest.mark.parametrize("body", [b"", b"abc", b"x" * 20_000])
@pytest.mark.parametrize("ahead", [0, 2])
def test_the_request_comes_out_as_it_was_sent(body, ahead):
    """However its bytes arrive, and whatever part of the body was read ahead."""
    packet = request_packet("POST", "http://foo.com/", body)
    for pieces in ways(packet + body[:ahead]):
        with pairs() as ((router, node), (client, ours)):
            sending = threading.Thread(target=send, args=(router, [ours.fileno()], pieces, bool(body)))
            sending.start()
            with take(node) as taken:
                sending.join()
                assert isinstance(taken, Taken)
                client.sendall(body[ahead:])
                client.shutdown(socket.SHUT_WR)
                data = bytearray()
                while more := taken.recv(3000):
                    data += more
                assert bytes(data) == packet + body
                taken.sendall(b"HTTP/1.1 404 Not Found\r\n")
                taken.send(b"\r\n")
            assert client.recv(100) == b"HTTP/1.1 404 Not Found\r\n\r\n" and client.recv(1) == b""
            assert router.recv(100) == REPORT + b"404 26" and router.recv(1) == b""


def test_what_is_no_passed_client_is_left_alone():
    with pairs() as ((router, node), _):
        router.sendall(b"anything")
        assert take(node) is node
        assert node.recv(100) == b"anything"


def test_several_requests_on_one_connection():
    packet = request_packet("GET", "http://foo.com/")
    with pairs() as ((router, node), _):
        for _ in range(3):
            with pairs() as (_, (client, ours)):
                send(router, [ours.fileno()], [packet], False)
                with take(node) as taken:
                    assert taken.recv_into(bytearray(10)) == 10 and taken.recv(9999) == packet[10:]
                    taken.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    assert taken.release() is node
                assert router.recv(100) == REPORT + b"200 19"
                assert client.recv(100) == b"HTTP/1.1 200 OK\r\n\r\n" and client.recv(1) == b""


def test_no_other_request_after_one_with_a_body():
    packet = request_packet("POST", "http://foo.com/", b"abc") + b"abc"
    with pairs() as ((router, node), (_, ours)):
        send(router, [ours.fileno()], [packet], True)
        assert take(node).release() is None
        assert node.fileno() == -1


@pytest.mark.parametrize("size", [0, 3, 50])
def test_a_router_that_goes_in_the_middle(size):
    packet = request_packet("GET", "http://foo.com/")
    with pairs() as ((router, node), (_, ours)):
        before = len(os.listdir("/proc/self/fd"))
        if size:
            send(router, [ours.fileno()], [packet[:size]], True)
        router.close()
        with pytest.raises(EOFError):
            take(node)
        assert len(os.listdir("/proc/self/fd")) == before - 1


def test_only_the_first_descriptor_is_kept():
    packet = request_packet("GET", "http://foo.com/")
    with pairs() as ((router, node), (_, ours)):
        before = len(os.listdir("/proc/self/fd"))
        send(router, [ours.fileno()], [packet], False)
        with take(node):
            assert len(os.listdir("/proc/self/fd")) == before + 1


NO_ROOM = """
import os, resource, socket, sys
from fastrouter.passing import take
node = socket.socket(fileno=int(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_NOFILE, (node.fileno() + 1, node.fileno() + 1))
while True:
    try:
        os.dup(0)
    except OSError:
        break
try:
    take(node)
except OSError as error:
    print(error.errno)
"""


def test_no_room_for_the_descriptor():
    """The server is to close the connection, with the request unread in it: the router then asks another."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64
    packet = request_packet("GET", "http://foo.com/")
    with pairs() as ((router, node), (_, ours)):
        send(router, [ours.fileno()], [packet], False)
        done = subprocess.run(
            [sys.executable, "-c", NO_ROOM, str(node.fileno())],
            pass_fds=[node.fileno()], capture_output=True, text=True, check=True, timeout=LIMIT,
        )  # fmt: skip
        assert done.stdout == f"{errno.EMFILE}\n"
        node.close()
        with pytest.raises(ConnectionResetError):
            router.recv(1)
