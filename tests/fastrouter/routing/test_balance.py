"""Balancing: every algorithm with every set of nodes."""

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import Worker, make_nodes, make_pool, state_for

from fastrouter.routing.balance import ALGORITHMS


def balancer(name, weights, phase=0.0):
    state = state_for(len(weights))
    worker = Worker(state)
    nodes = make_nodes(state, weights)
    return worker, nodes, ALGORITHMS[name](nodes, phase, worker.counters.active)


def picks(chosen, count, remote=b""):
    return [chosen.pick(remote).slot for _ in range(count)]


@given(st.lists(st.integers(1, 200), min_size=1, max_size=20), st.floats(0, 0.999))
def test_a_cycle_of_wrr_is_exact_for_any_weights(weights, phase):
    _, _, wrr = balancer("wrr", weights, phase)
    for _ in range(2):
        assert Counter(picks(wrr, sum(weights))) == dict(enumerate(weights))


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_no_node_is_ever_far_from_its_share(weights):
    _, _, wrr = balancer("wrr", weights)
    seen = Counter()
    for done, slot in enumerate(picks(wrr, sum(weights)), 1):
        seen[slot] += 1
        for place, weight in enumerate(weights):
            assert abs(seen[place] - done * weight / sum(weights)) < len(weights)


def test_wrr_takes_turns_and_workers_begin_elsewhere():
    assert picks(balancer("wrr", [1, 1, 1])[2], 6) == [0, 1, 2, 0, 1, 2]
    assert picks(balancer("wrr", [1, 1, 1], phase=0.5)[2], 1) == [1]
    assert picks(balancer("wrr", [3, 1])[2], 4) == [0, 0, 1, 0]


def holding(name, weights, arrivals):
    """Where concurrent requests go, none of which ends."""
    worker, _, chosen = balancer(name, weights)
    slots = []
    for _ in range(arrivals):
        node = chosen.pick(b"")
        worker.counters.hold(node, 1)
        slots.append(node.slot)
    return Counter(slots)


def test_lrc_and_wlrc_share_concurrent_requests():
    assert holding("lrc", [3, 1, 1], 9) == {0: 3, 1: 3, 2: 3}
    assert holding("wlrc", [3, 1, 1], 10) == {0: 6, 1: 2, 2: 2}


def test_lrc_prefers_the_least_busy_and_counts_all_workers():
    state = state_for(3, workers=2)
    first, second = Worker(state, 0), Worker(state, 1)
    nodes = make_nodes(state, [1, 1, 1])
    lrc = ALGORITHMS["lrc"](nodes, 0.0, first.counters.active)
    assert picks(lrc, 3) == [0, 1, 2]
    for node, count in zip(nodes, (2, 1, 3), strict=True):
        second.counters.hold(node, count)
    assert picks(lrc, 2) == [1, 1]
    first.counters.hold(nodes[1], 2)
    assert picks(lrc, 1) == [0]


def test_lrc_looks_at_a_part_of_a_large_pool():
    worker, nodes, lrc = balancer("lrc", [1] * 500)
    for node in nodes:
        worker.counters.hold(node, 1)
    looked_at = Counter()
    lrc._active = lambda node: looked_at.update([node.slot]) or 1
    lrc.pick(b"")
    assert looked_at.total() == 32


def test_iphash_keeps_clients_and_spreads_them():
    _, nodes, iphash = balancer("iphash", [1, 1, 1, 1])
    clients = [b"10.0.%d.%d" % (n // 250, n % 250) for n in range(4000)]
    before = {client: iphash.pick(client) for client in clients}
    assert before == {client: iphash.pick(client) for client in clients}
    assert all(700 < count < 1400 for count in Counter(node.slot for node in before.values()).values())
    fewer = ALGORITHMS["iphash"](nodes[:3], 0.0, lambda node: 0)
    for client, node in before.items():
        if node is not nodes[3]:
            assert fewer.pick(client) is node


def test_iphash_heeds_weights():
    _, _, iphash = balancer("iphash", [3, 1])
    share = Counter(iphash.pick(b"10.1.%d.%d" % (n // 250, n % 250)).slot for n in range(4000))
    assert 2.2 < share[0] / share[1] < 4.2


@pytest.mark.parametrize("name", ALGORITHMS)
@given(
    weights=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    levels=st.data(),
    remote=st.binary(max_size=8),
)
def test_every_node_is_a_candidate_once_the_lower_levels_first(name, weights, levels, remote):
    state = state_for(len(weights))
    worker = Worker(state, algorithm=name)
    nodes = make_nodes(state, weights)
    for node in nodes:
        node.backup = levels.draw(st.integers(0, 2))
    pool = make_pool(worker.balancing, nodes)
    for _ in range(3):
        first = pool.pick(remote)
        found = [first, *pool.others(first)]
        assert sorted(node.slot for node in found) == list(range(len(nodes)))
        assert [node.backup for node in found] == sorted(node.backup for node in found)


def test_a_changing_pool_does_not_favour_anybody():
    state = state_for(11)
    worker = Worker(state)
    nodes = make_nodes(state, [1] * 11)
    pool = make_pool(worker.balancing, nodes[:10])
    picks = Counter()
    for number in range(500):
        (pool.remove if number % 2 else pool.add)(nodes[10])
        picks[pool.pick(b"").slot] += 1
    assert all(30 < picks[slot] < 70 for slot in range(10))


def test_looking_at_a_large_pool_costs_no_more_than_its_size():
    state = state_for(500)
    for name in ALGORITHMS:
        worker = Worker(state, algorithm=name)
        pool = make_pool(worker.balancing, make_nodes(state, [1] * 500))
        first = pool.pick(b"10.0.0.1")
        assert len({node.slot for node in pool.others(first)}) == 499


def test_backup_levels_serve_only_when_the_lower_ones_are_gone():
    state = state_for(4)
    worker = Worker(state)
    nodes = make_nodes(state, [1, 1, 1, 1])
    for node, level in zip(nodes, (0, 2, 0, 5), strict=True):
        node.backup = level
    pool = make_pool(worker.balancing, nodes)
    assert {pool.pick(b"").slot for _ in range(8)} == {0, 2}
    pool.remove(nodes[0])
    assert {pool.pick(b"").slot for _ in range(4)} == {2}
    assert next(pool.others(pool.pick(b""))).slot == 1
    pool.remove(nodes[2])
    assert {pool.pick(b"").slot for _ in range(4)} == {1}


def test_the_oldest_node_says_how_its_pool_is_balanced():
    state = state_for(3)
    worker = Worker(state)
    nodes = make_nodes(state, [1, 1, 1], algorithm="iphash")
    pool = make_pool(worker.balancing, nodes)
    assert len({pool.pick(b"10.0.0.1").slot for _ in range(9)}) == 1
    assert len({make_pool(worker.balancing, nodes).pick(b"10.0.0.1").slot for _ in range(9)}) == 1
    nodes = make_nodes(state, [1, 1, 1], algorithm="nonsense")
    pool = make_pool(worker.balancing, nodes)
    assert len({pool.pick(b"10.0.0.1").slot for _ in range(9)}) == 3


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_newcomer_gets_its_share_by_degrees(algorithm):
    """With slow_start, as its age says; the others share the turns that it gives up."""
    state = state_for(3)
    worker = Worker(state, algorithm=algorithm, slow_start=1000)
    nodes = make_nodes(state, [1, 1, 1])
    pool = make_pool(worker.balancing, nodes)
    shares = []
    for age in (0, 250, 500, 1000):
        nodes[2].record = nodes[2].record._replace(since=time.monotonic_ns() - age * 1_000_000_000)
        chosen = Counter(pool.pick(b"10.0.%d.%d" % divmod(number, 250)).slot for number in range(3000))
        shares.append(chosen[2])
        assert min(chosen[0], chosen[1]) > 600
    if algorithm == "iphash":  # every client of its own is sent elsewhere now and then
        expected = [shares[-1] * weight for weight in (0, 0.25, 0.5, 1)]
    else:  # its weight beside two others of weight 1
        expected = [3000 * weight / (2 + weight) for weight in (0, 0.25, 0.5, 1)]
    assert shares == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_node_without_a_beginning_is_not_new(monkeypatch, algorithm):
    """However short ago the machine was booted, which is when the monotonic clock begins."""
    monkeypatch.setattr("time.monotonic_ns", lambda: 5_000_000_000)
    worker = Worker(state_for(3), algorithm=algorithm, slow_start=1000)
    pool = make_pool(worker.balancing, make_nodes(state_for(3), [1, 1, 1]))
    chosen = Counter(pool.pick(b"10.0.%d.%d" % divmod(number, 250)).slot for number in range(900))
    assert min(chosen.values()) > 200
