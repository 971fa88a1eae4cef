"""How old what the stats server tells may be, and how long it waits for who reads it."""

import contextlib
import socket
from types import SimpleNamespace

import pytest

import workers.stats_server
from workers.stats_server import StatsServer


@pytest.fixture
def clock(monkeypatch):
    """Seconds that have gone by, and that this process has had the processor."""
    clock = SimpleNamespace(now=100.0, used=1.0)
    times = SimpleNamespace(monotonic=lambda: clock.now, process_time=lambda: clock.used)
    monkeypatch.setattr(workers.stats_server, "time", times)
    return clock


@pytest.fixture
def server():
    options = SimpleNamespace(sockets=SimpleNamespace(socket_timeout=1))
    return StatsServer(SimpleNamespace(options=options, stats_listeners=[], prometheus_listeners=[]))


def told(server, clock, goes_by, used, between=0.0):
    """What two are told, one after the other, by a server whose report takes so long."""
    made = []

    def report():
        clock.now, clock.used = clock.now + goes_by, clock.used + used
        made.append(1)
        return b"%d" % len(made)

    first = bytes(server._latest(report))
    clock.now += between
    return first, bytes(server._latest(report))


def test_what_took_long_as_others_had_the_processor_is_made_anew(server, clock):
    assert told(server, clock, goes_by=2.0, used=0.01) == (b"1", b"2")


@pytest.mark.parametrize(("between", "second"), [(0.4, b"1"), (0.6, b"2")])
def test_what_is_costly_is_told_again_for_as_long_as_it_took(server, clock, between, second):
    assert told(server, clock, goes_by=2.0, used=0.5, between=between) == (b"1", second)


def test_who_reads_is_not_cut_off_because_the_server_was_held_up(server, clock):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    server._readers[ours.fileno()] = (ours, memoryview(bytes(1_000_000)), clock.now + 1)
    server._send((ours.fileno(), 0))
    with theirs:
        received = 0
        while received < 1_000_000:
            with contextlib.suppress(BlockingIOError):
                while data := theirs.recv(100_000):
                    received += len(data)
            assert server._readers, f"cut off after {received} bytes"
            clock.now += 5
            server._tick()
    clock.now += 5
    server._tick()
    assert not server._readers


def test_who_reads_nothing_is_let_go(server, clock):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    server._readers[ours.fileno()] = (ours, memoryview(bytes(1_000_000)), clock.now + 1)
    server._send((ours.fileno(), 0))
    with theirs:
        clock.now += 5
        server._tick()
        assert not server._readers
