"""How old what the stats server tells may be."""

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


def told(clock, goes_by, used, between=0.0):
    """What two are told, one after the other, by a server whose report takes so long."""
    options = SimpleNamespace(sockets=SimpleNamespace(socket_timeout=1))
    server = StatsServer(SimpleNamespace(options=options, stats_listeners=[], prometheus_listeners=[]))
    made = []

    def report():
        clock.now, clock.used = clock.now + goes_by, clock.used + used
        made.append(1)
        return b"%d" % len(made)

    first = bytes(server._latest(report))
    clock.now += between
    return first, bytes(server._latest(report))


def test_what_took_long_as_others_had_the_processor_is_made_anew(clock):
    assert told(clock, goes_by=2.0, used=0.01) == (b"1", b"2")


def test_what_is_costly_is_told_again_for_as_long_as_it_took(clock):
    assert told(clock, goes_by=2.0, used=0.5, between=0.4) == (b"1", b"1")
    assert told(clock, goes_by=2.0, used=0.5, between=0.6) == (b"1", b"2")
