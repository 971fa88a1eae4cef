"""Outliers: who rests, for how long, and how it comes back."""

import time

import pytest
from parts import Worker, make_nodes, make_pool, state_for

SECOND = 1_000_000_000


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000 * SECOND

        def advance(self, seconds):
            self.now += int(seconds * SECOND)

    clock = Clock()
    monkeypatch.setattr(time, "monotonic_ns", lambda: clock.now)
    return clock


def pool_of(count, workers=1, **options):
    state = state_for(count, workers)
    worker = Worker(state, **options)
    nodes = make_nodes(state, [1] * count)
    return state, worker, nodes, make_pool(worker.balancing, nodes)


def fail(worker, node, times=3):
    return [worker.health.failed(node) for _ in range(times)]


def test_rests_grow_and_a_failure_on_trial_is_the_next(clock):
    _, worker, (bad, _good), pool = pool_of(2)
    assert fail(worker, bad) == [0, 0, 1]
    rests = []
    for _ in range(8):
        clock.advance(64)
        assert not worker.health.is_resting(bad)
        rests += fail(worker, bad, 1)
    assert rests == [2, 4, 8, 16, 32, 64, 64, 64]
    assert pool.pick(b"").slot == 1


def test_a_resting_node_is_left_out_by_every_worker_and_algorithm(clock):
    for algorithm in ("wrr", "lrc", "wlrc", "iphash"):
        state = state_for(3, workers=2)
        first, second = Worker(state, 0, algorithm), Worker(state, 1, algorithm)
        nodes = make_nodes(state, [1, 1, 1])
        theirs = make_pool(second.balancing, make_nodes(state, [1, 1, 1]))
        make_pool(first.balancing, nodes)
        theirs.pick(b"")
        fail(first, nodes[1])
        assert 1 not in {theirs.pick(b"%d" % n).slot for n in range(50)}
        assert [node.slot for node in theirs.others(theirs.pick(b""))][-1] == 1, "better than nobody"
        clock.advance(1.1)
        assert 1 in {theirs.pick(b"%d" % n).slot for n in range(50)}


def test_answers_in_between_forgive(clock):
    _, worker, nodes, _ = pool_of(2)
    for _ in range(5):
        assert fail(worker, nodes[0], 2) == [0, 0]
        worker.health.answered(nodes[0])


def test_requests_under_way_do_not_lengthen_a_rest(clock):
    _, worker, nodes, _ = pool_of(2)
    assert fail(worker, nodes[0], 12) == [0, 0, 1] + [0] * 9


def test_a_trial_admits_one_then_more_then_all(clock):
    _, worker, nodes, _ = pool_of(2)
    fail(worker, nodes[0])
    clock.advance(1.1)
    for allowed in (1, 2, 4, 8, 16, 32, 64):
        for _ in range(allowed):
            assert worker.take(nodes[0])
        assert not worker.take(nodes[0])
        worker.counters.hold(nodes[0], -allowed)
        worker.health.answered(nodes[0])
    for _ in range(100):
        assert worker.take(nodes[0])
    worker.counters.hold(nodes[0], -100)
    assert fail(worker, nodes[0]) == [0, 0, 1], "all is forgotten"


def test_requests_from_before_do_not_count_on_trial(clock):
    _, worker, nodes, _ = pool_of(2)
    for _ in range(3):
        worker.counters.hold(nodes[0], 1)
    fail(worker, nodes[0])
    worker.health.answered(nodes[0])
    clock.advance(1.1)
    assert worker.take(nodes[0])
    assert not worker.take(nodes[0]), "an answer from before its rest proves nothing"
    worker.counters.hold(nodes[0], -3)
    assert [worker.take(nodes[0]) for _ in range(4)] == [True] * 3 + [False]


def test_a_long_request_on_trial_does_not_keep_a_node_out(clock):
    _, worker, nodes, _ = pool_of(2)
    fail(worker, nodes[0])
    clock.advance(1.1)
    assert worker.take(nodes[0])
    assert not worker.take(nodes[0])
    clock.advance(4)
    assert worker.take(nodes[0])
    clock.advance(30)
    assert all(worker.take(nodes[0]) for _ in range(100))


def test_nobody_rests_alone_and_all_rest_means_nobody_does(clock):
    _, worker, (only,), pool = pool_of(1)
    assert fail(worker, only, 9) == [0] * 9
    assert pool.pick(b"") is only
    _, worker, nodes, pool = pool_of(2)
    for node in nodes:
        fail(worker, node)
    assert {pool.pick(b"").slot for _ in range(4)} == {0, 1}
    assert all(worker.take(nodes[0]) for _ in range(10))
    clock.advance(1.1)
    assert all(worker.take(nodes[1]) for _ in range(10)), "a trial is for when there are others"


def test_never_when_told_so(clock):
    _, worker, nodes, _ = pool_of(2, max_fails=0)
    assert fail(worker, nodes[0], 20) == [0] * 20


def test_max_conns_is_never_exceeded_by_several_workers():
    state = state_for(1, workers=3)
    workers = [Worker(state, index) for index in range(3)]
    (node,) = make_nodes(state, [1], max_conns=4)
    taken = [worker.take(node) for worker in workers for _ in range(3)]
    assert taken.count(True) == 4
    assert workers[0].counters.active(node) == 4
