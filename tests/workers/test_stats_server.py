"""How long the stats server waits for who reads what it tells."""

import contextlib
import socket
from types import SimpleNamespace

import pytest

import workers.stats_server
from fastrouter.memory.shared import Layout, SharedState
from fastrouter.options import Options
from workers.context import Context, Gateway
from workers.stats_server import StatsServer, _Reader

SIZE = 1_000_000


@pytest.fixture
def clock(monkeypatch):
    """Seconds that have gone by."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(workers.stats_server, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def server(clock):
    context = Context(Options())
    context.options.sockets.socket_timeout = 1
    return StatsServer(Gateway(context, context.options.fastrouter, SharedState(Layout(2, 1))))


def telling(server, clock):
    """The other end of a connection of somebody who is being told much."""
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    reader = _Reader(ours, clock.now + 1, pieces=iter([]), rest=bytes(SIZE))
    server._readers[ours.fileno()] = reader
    server._send((ours.fileno(), 0))
    return theirs


def test_who_reads_is_not_cut_off_because_the_server_was_held_up(server, clock):
    with telling(server, clock) as theirs:
        received = 0
        while received < SIZE:
            with contextlib.suppress(BlockingIOError):
                while data := theirs.recv(100_000):
                    received += len(data)
            assert server._readers, f"cut off after {received} bytes"
            clock.now += 5
            server._tick()
    for _ in range(2):
        clock.now += 5
        server._tick()
    assert not server._readers


def test_who_reads_nothing_is_let_go(server, clock):
    with telling(server, clock):
        clock.now += 5
        server._tick()
        assert not server._readers
