"""Weighted round robin: exact over every cycle, smooth within."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fastrouter.balance.wrr import WeightedRoundRobin
from fastrouter.node import Node


def nodes_of(weights):
    return [Node(f"127.0.0.1:{number}", number, weight=weight) for number, weight in enumerate(weights, 1)]


@given(st.lists(st.integers(1, 200), min_size=1, max_size=20), st.floats(0, 0.999))
def test_a_cycle_is_exact_for_any_weights(weights, phase):
    nodes = nodes_of(weights)
    balancer = WeightedRoundRobin(nodes, phase)
    for _ in range(2):
        picks = Counter(balancer.pick().slot for _ in range(sum(weights)))
        assert picks == {node.slot: node.weight for node in nodes}


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_no_node_is_ever_far_from_its_share(weights):
    nodes = nodes_of(weights)
    balancer = WeightedRoundRobin(nodes)
    picks = Counter()
    for done in range(1, sum(weights) + 1):
        picks[balancer.pick().slot] += 1
        for node in nodes:
            assert abs(picks[node.slot] - done * node.weight / sum(weights)) < len(nodes)


def test_equal_nodes_take_turns_and_workers_begin_elsewhere():
    nodes = nodes_of([1, 1, 1])
    first = WeightedRoundRobin(nodes)
    assert [first.pick().slot for _ in range(6)] == [1, 2, 3, 1, 2, 3]
    assert WeightedRoundRobin(nodes, phase=0.5).pick().slot == 2


def test_a_heavy_node_is_spread_over_the_cycle():
    balancer = WeightedRoundRobin(nodes_of([3, 1]))
    assert [balancer.pick().slot for _ in range(4)] == [1, 1, 2, 1]
