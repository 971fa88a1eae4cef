"""The forwarder for configured nodes."""

from itertools import islice

from fastrouter.forwarders.static import StaticForwarder
from fastrouter.node import Node
from fastrouter.shared import Layout, SharedState


def forwarder(state, gracetime=30.0):
    return StaticForwarder([Node(f"127.0.0.1:{80 + slot}", slot) for slot in range(3)], state, gracetime)


def picks(forwarder, count):
    return [next(forwarder.candidates(b"any")).slot for _ in range(count)]


def test_takes_turns():
    assert picks(forwarder(SharedState(Layout(3, 1, 0))), 5) == [0, 1, 2, 0, 1]


def test_a_failed_node_is_left_out_by_all_workers_until_its_grace_is_over():
    state = SharedState(Layout(3, 1, 0))
    first, second = forwarder(state), forwarder(state)
    node = next(first.candidates(b"any"))
    assert first.mark_failed(node)
    assert not second.mark_failed(node)
    assert 0 not in picks(second, 9)
    assert 0 in picks(forwarder(state, gracetime=0), 3)


def test_candidates_are_each_node_once():
    state = SharedState(Layout(3, 1, 0))
    every = forwarder(state)
    assert [node.slot for node in every.candidates(b"any")] == [0, 1, 2]
    for node in list(islice(every.candidates(b"any"), 3)):
        every.mark_failed(node)
    assert list(every.candidates(b"any")) == []
