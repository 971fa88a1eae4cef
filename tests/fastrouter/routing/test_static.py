"""The forwarder for configured nodes."""

from parts import Worker, state_for

from fastrouter.routing.forwarders.static import StaticForwarder
from fastrouter.routing.node import configured


def forwarder(state, gracetime=30.0):
    nodes = [configured(f"127.0.0.1:{80 + slot}", slot, state.layout) for slot in range(3)]
    return StaticForwarder(nodes, state, Worker(state).balancing, gracetime)


def picks(forwarder, count):
    return [next(forwarder.candidates(b"any", b"")).slot for _ in range(count)]


def test_takes_turns():
    assert picks(forwarder(state_for(3)), 5) == [0, 1, 2, 0, 1]


def test_a_failed_node_is_left_out_by_all_workers_until_its_grace_is_over():
    state = state_for(3)
    first, second = forwarder(state), forwarder(state)
    node = next(first.candidates(b"any", b""))
    assert first.mark_failed(node)
    assert not second.mark_failed(node)
    assert 0 not in picks(second, 9)
    assert 0 in picks(forwarder(state, gracetime=0), 3)


def test_candidates_are_each_node_once():
    every = forwarder(state_for(3))
    assert [node.slot for node in every.candidates(b"any", b"")] == [0, 1, 2]
    for node in list(every.candidates(b"any", b"")):
        every.mark_failed(node)
    assert list(every.candidates(b"any", b"")) == []


def test_a_failure_is_news_on_a_machine_that_has_just_booted(monkeypatch):
    """The monotonic clock may be younger than the grace time."""
    monkeypatch.setattr("time.monotonic_ns", lambda: 5_000_000_000)
    every = forwarder(state_for(3))
    assert every.mark_failed(next(every.candidates(b"any", b"")))
