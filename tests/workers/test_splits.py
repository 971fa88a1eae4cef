"""However the bytes of a request arrive, it is the same session."""

import contextlib
import itertools
import random
import socket

import pytest
from harness import Router as RunningRouter
from harness import connect, read_all
from hypothesis import given, settings
from hypothesis import strategies as st

from fastrouter.client import request_packet
from fastrouter.memory.shared import Layout, SharedState
from fastrouter.options import Options
from workers.context import Context, Gateway, Pipe
from workers.gateways.fastrouter import FastrouterExchange
from workers.loop import Loop
from workers.routing.engine import Engine


@pytest.fixture(scope="module")
def engine():
    """A router worker's, without a process of its own."""
    options = Options()
    options.fastrouter.to = ["127.0.0.1:1"]
    state = SharedState(Layout(options.fastrouter.configured_slots, 1))
    gateway = Gateway(Context(options), options.fastrouter, state, deltas=[Pipe(-1, -1)])
    return Engine(gateway, 0, Loop(lambda: None), lambda: None)


def read_in_pieces(engine, pieces):
    """What the session knows once the request is read, and how much of the bytes was taken by then."""
    ours, theirs = socket.socketpair()
    session = FastrouterExchange(engine, ours.detach(), b"", "", lambda session: None)
    with theirs, contextlib.closing(session.client):
        waiting = None
        try:
            for piece in filter(None, pieces):
                theirs.sendall(piece)
                waiting = waiting or session.read()
                if waiting is None:
                    return session
                next(waiting)
            raise AssertionError("it wants more than there is")
        except StopIteration:
            return session
        finally:
            engine.loop.unwatch(session.client_fd)


def known(session):
    return session.key, session.remote, session.body_size, session.idempotent


def cut(data, places):
    edges = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


requests = st.builds(
    lambda method, body, extra: (request_packet(method, "http://foo.com/a", body, extra), body),
    st.sampled_from(["GET", "POST", "OPTIONS"]),
    st.binary(max_size=300),
    st.dictionaries(st.sampled_from(["HTTP_X", "HTTP_LONG"]), st.text("abc", max_size=400), max_size=2),
)


@given(requests, st.lists(st.integers(0, 1500), max_size=12))
@settings(deadline=None)
def test_any_split_of_the_bytes_gives_the_same_session(engine, request, places):
    packet, body = request
    whole = read_in_pieces(engine, [packet + body])
    assert (whole.packet, whole.body_left) == (packet + body, 0)
    session = read_in_pieces(engine, cut(packet + body, [min(place, len(packet + body)) for place in places]))
    assert known(session) == known(whole)
    taken = len(session.packet)
    assert session.packet == (packet + body)[:taken] and taken >= len(packet)
    assert session.body_left == len(packet + body) - taken
    assert session.repeatable == (whole.repeatable and not session.body_left)


def test_byte_by_byte(engine):
    packet = request_packet("POST", "http://foo.com/", b"12345")
    session = read_in_pieces(engine, [packet[at : at + 1] for at in range(len(packet))])
    assert (session.key, session.packet, session.body_left) == (b"foo.com", packet, 5)


@pytest.mark.parametrize("seed", range(8))
def test_the_node_gets_it_whole(node, seed):
    """Through a real router: cut at random places, in as many writes."""
    chance = random.Random(seed)
    body = chance.randbytes(chance.randrange(1, 50_000))
    data = request_packet("POST", "http://foo.com/", body) + body
    arguments = ("--fastrouter=127.0.0.1:0", f"--fastrouter-to={node.address}")
    with RunningRouter(*arguments) as router, connect(router.address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in cut(data, [chance.randrange(len(data)) for _ in range(chance.randrange(1, 30))]):
            sock.sendall(piece)
        assert read_all(sock).endswith(node.address.encode())
    assert node.bodies == [body] and node.packets == [data[: len(data) - len(body)]]
