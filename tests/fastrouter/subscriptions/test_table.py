"""The table and the workers' copies of it, driven side by side as the processes do."""

import collections

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from parts import Worker, announcement, state_for

from fastrouter.memory.cells import COUNTERS, Counter, Slot, Table
from fastrouter.memory.shared import EVERY_SLOT, Delta, Layout, SharedState
from fastrouter.routing.balance import ALGORITHMS
from fastrouter.routing.forwarders.subscription import SubscriptionForwarder, lookups
from fastrouter.subscriptions.table import Limits, Outcome, SubscriptionTable, TableFull
from fastrouter.wire.announcement import Announcement


@pytest.fixture
def state():
    return SharedState(Layout(slots=6, workers=2))


def node(number, key="foo.com", **extra):
    return announcement(key, f"127.0.0.1:{number}", **extra)


def test_outcomes_and_what_they_publish(state):
    table = SubscriptionTable(state)
    assert table.announce(node(1), 0) == (Outcome.NEW_POOL, Delta(1, 0))
    assert table.announce(node(2), 0) == (Outcome.NEW_NODE, Delta(2, 1))
    assert table.announce(node(1, cores=4, load=2), 1) == (Outcome.REFRESHED, None)
    assert table.announce(node(1, weight=3), 1) == (Outcome.CHANGED, Delta(3, 0))
    assert table.announce(node(1, unsubscribe=True), 1) == (Outcome.REMOVED, Delta(4, 0))
    assert table.announce(node(1, unsubscribe=True), 1) == (Outcome.UNKNOWN, None)
    assert len(table) == 1


def test_silence_is_noticed_from_the_time_of_the_last_announcement(state):
    table = SubscriptionTable(state)
    table.announce(node(1), 0)
    table.announce(node(2), 5)
    table.announce(node(1), 10)
    assert table.expire(22, 17) == []
    assert [entry.address for entry, _ in table.expire(22.1, 17)] == ["127.0.0.1:2"]
    assert [entry.address for entry, _ in table.expire(28, 17)] == ["127.0.0.1:1"]
    assert len(table) == 0


def test_a_successor_starts_from_the_shared_slots(state):
    table = SubscriptionTable(state)
    for number, now in ((1, 3), (2, 1), (3, 2)):
        table.announce(node(number), now)
    table.announce(node(2, unsubscribe=True), 4)
    successor = SubscriptionTable(state)
    assert successor.announce(node(1), 5)[0] is Outcome.REFRESHED
    assert [entry.address for entry, _ in successor.expire(19.5, 17)] == ["127.0.0.1:3"]
    assert successor.announce(node(2), 6)[0] is Outcome.NEW_NODE


def test_a_full_table_refuses_and_goes_on(state):
    table = SubscriptionTable(state, first_slot=2)
    for number in range(4):
        table.announce(node(number + 1), 0)
    with pytest.raises(TableFull):
        table.announce(node(9), 0)
    table.announce(node(1, unsubscribe=True), 0)
    assert table.announce(node(9), 0)[0] is Outcome.NEW_NODE


def hold(state, slot, count):
    state.counters(1)[slot * COUNTERS + Counter.ACTIVE] = count


@pytest.mark.parametrize("how", ["unsubscribe", "drain"])
def test_a_busy_node_stays_until_its_last_request_ends(state, how):
    table, routes = SubscriptionTable(state), Worker(state).routes
    routes.follow([table.announce(node(number), 0)[1] for number in (1, 2)])
    hold(state, 0, 1)
    outcome, delta = table.announce(node(1, **{how: True}), 0)
    routes.follow([delta])
    assert outcome is Outcome.REMOVED and state.read(0).draining
    assert {routes.pick(b"foo.com", b"").address for _ in range(4)} == {"127.0.0.1:2"}
    assert table.announce(node(1, **{how: True}), 0) == (Outcome.UNKNOWN, None)
    assert table.drained() == []
    assert SubscriptionTable(state).drained() == [], "a successor knows"
    assert table.announce(node(3), 0)[1].slot == 2, "its slot is not given away"
    hold(state, 0, 0)
    ((entry, delta),) = table.drained()
    assert entry.address == "127.0.0.1:1" and state.read(0) is None
    assert table.announce(node(4), 0)[1].slot == 0


def test_an_idle_node_that_drains_is_gone(state):
    table = SubscriptionTable(state)
    table.announce(node(1), 0)
    assert table.announce(node(1, drain=True), 0)[0] is Outcome.REMOVED
    assert state.read(0) is None and "foo.com" not in table
    assert table.announce(node(1, drain=True), 0) == (Outcome.UNKNOWN, None), "it does not come in this way"


def test_a_node_that_drains_may_change_its_mind(state):
    table, routes = SubscriptionTable(state), Worker(state).routes
    table.announce(node(1), 0)
    hold(state, 0, 1)
    table.announce(node(1, drain=True), 0)
    assert "foo.com" not in table
    routes.read_all()
    outcome, delta = table.announce(node(1), 0)
    routes.follow([delta])
    assert outcome is Outcome.NEW_POOL and delta.slot == 0
    assert routes.pick(b"foo.com", b"").address == "127.0.0.1:1"
    assert table.drained() == []


def test_a_silent_busy_node_drains(state):
    table = SubscriptionTable(state)
    table.announce(node(1), 0)
    hold(state, 0, 1)
    assert len(table.expire(20, 17)) == 1
    assert state.read(0).draining and len(table) == 0


def test_limits(state):
    table = SubscriptionTable(state, limits=Limits(pools=2, pool_nodes=2, source_nodes=3))
    for number, key in enumerate("aab"):
        table.announce(node(number + 1, key), 0, source="10.0.0.1")
    for key, source, which in (
        ("c", "10.0.0.2", "max-pools"),
        ("a", "10.0.0.2", "max-pool-nodes"),
        ("b", "10.0.0.1", "max-source-nodes"),
    ):
        with pytest.raises(TableFull, match=which):
            table.announce(node(9, key), 0, source=source)
    assert table.announce(node(1, "a"), 0, source="10.0.0.1")[0] is Outcome.REFRESHED
    table.announce(node(1, "a"), 0, source="10.0.0.2")
    assert table.announce(node(9, "b"), 0, source="10.0.0.1")[0] is Outcome.NEW_NODE, (
        "another answers for one"
    )
    table.announce(node(3, "b", unsubscribe=True), 0)
    assert table.announce(node(8, "b"), 0, source="10.0.0.1")[0] is Outcome.NEW_NODE


def test_sources_that_are_gone_are_forgotten(state):
    table = SubscriptionTable(state)
    for number in range(1000):
        table.announce(node(1), number, source=f"10.0.{number // 256}.{number % 256}")
    assert len(table._by_source) == 1
    table.announce(node(1, unsubscribe=True), 1000)
    assert not table._by_source


def test_a_node_that_moves_does_not_inherit_a_rest(state):
    table = SubscriptionTable(state)
    named = Announcement("foo.com", "app.example:80")
    table.announce(named, 0, resolved="10.0.0.1:80")
    state.cells[state.slot_cell(0, Slot.REST)] = 99
    assert table.resolved(named) == "10.0.0.1:80"
    table.announce(named, 1, resolved="10.0.0.2:80")
    assert state.cells[state.slot_cell(0, Slot.REST)] == 0


def test_a_name_that_means_another_machine(state):
    table, routes = SubscriptionTable(state), Worker(state).routes
    named = Announcement("foo.com", "app.example:80")
    routes.follow([table.announce(named, 0, resolved="10.0.0.1:80")[1]])
    chosen = routes.pick(b"foo.com", b"")
    assert (chosen.address, chosen.sockaddr) == ("app.example:80", ("10.0.0.1", 80))
    assert table.announce(named, 1, resolved="10.0.0.1:80") == (Outcome.REFRESHED, None)
    routes.mark_failed(chosen)
    routes.follow([table.announce(named, 2, resolved="10.0.0.2:80")[1]])
    assert routes.pick(b"foo.com", b"").sockaddr == ("10.0.0.2", 80)


def test_a_failure_of_a_node_that_came_back_is_ignored(state):
    table = SubscriptionTable(state)
    table.announce(node(1), 0)
    entry, _ = table.fail(0, 1)
    assert entry.address == "127.0.0.1:1"
    assert table.fail(0, 1) is None
    table.announce(node(1), 0)
    assert table.fail(0, 1) is None
    assert len(table) == 1


def test_a_mark_reaches_other_workers_without_any_message(state):
    table = SubscriptionTable(state)
    deltas = [table.announce(node(number), 0)[1] for number in (1, 2)]
    first, second = Worker(state).routes, Worker(state).routes
    first.follow(deltas)
    second.follow(deltas)
    dead = first.pick(b"foo.com", b"")
    assert first.mark_failed(dead)
    picks = {second.pick(b"foo.com", b"").address for _ in range(10)}
    assert picks == {"127.0.0.1:2"}
    assert not second.mark_failed(dead)


def test_a_lost_delta_means_reading_everything(state):
    table = SubscriptionTable(state)
    routes = Worker(state).routes
    table.announce(node(1), 0)
    routes.follow([table.announce(node(2), 0)[1]])
    assert len(routes.pools[b"foo.com"].nodes) == 2
    table.announce(node(3), 0)
    routes.follow([Delta(state.cells[Table.GENERATION], EVERY_SLOT)])
    assert len(routes.pools[b"foo.com"].nodes) == 3
    routes.follow([Delta(1, 0), Delta(2, EVERY_SLOT)])
    assert len(routes.pools[b"foo.com"].nodes) == 3


def test_modifiers_and_weight_follow_the_announcements(state):
    table = SubscriptionTable(state)
    routes = Worker(state).routes
    routes.follow([table.announce(node(1, modifier1=5), 0)[1]])
    assert routes.pick(b"foo.com", b"").header == (5, 0)
    routes.follow([table.announce(node(1, modifier1=7, modifier2=1, weight=4), 0)[1]])
    assert routes.pick(b"foo.com", b"").header == (7, 1)
    assert routes.pick(b"foo.com", b"").weight == 4


class Fleet(RuleBasedStateMachine):
    """Any order of announcing, leaving, failing, serving, losing messages and restarting.

    The copies agree with the table, every live node can be had and no other, counts are those of the requests.
    """

    numbers = st.integers(1, 4)
    keys = st.sampled_from(["a", "b"])
    remotes = st.sampled_from([b"", b"10.0.0.1", b"10.0.0.2"])

    def __init__(self):
        super().__init__()
        self.state = state_for(20)
        self.table = SubscriptionTable(self.state)
        self.expected = {}
        self.held = []
        self.now = 0.0

    @initialize(algorithm=st.sampled_from(sorted(ALGORITHMS)))
    def begin(self, algorithm):
        self.algorithm = algorithm
        self.worker = Worker(self.state, algorithm=algorithm)

    def publish(self, delta, lost):
        if delta is None:
            return
        if lost:
            delta = Delta(self.state.cells[Table.GENERATION], EVERY_SLOT)
        self.worker.routes.follow([delta])

    def live(self, key):
        return {address: weight for (name, address), (_, weight) in self.expected.items() if name == key}

    @rule(key=keys, number=numbers, weight=st.integers(1, 5), lost=st.booleans())
    def announce(self, key, number, weight, lost):
        self.now += 1
        self.publish(self.table.announce(node(number, key, weight=weight), self.now)[1], lost)
        self.expected[key, f"127.0.0.1:{number}"] = (self.now, weight)

    @rule(key=keys, number=numbers, lost=st.booleans())
    def unsubscribe(self, key, number, lost):
        self.publish(self.table.announce(node(number, key, unsubscribe=True), self.now)[1], lost)
        self.expected.pop((key, f"127.0.0.1:{number}"), None)

    @rule(key=keys, number=numbers, lost=st.booleans())
    def drain(self, key, number, lost):
        self.publish(self.table.announce(node(number, key, drain=True), self.now)[1], lost)
        self.expected.pop((key, f"127.0.0.1:{number}"), None)

    @rule(lost=st.booleans())
    def let_go_who_has_drained(self, lost):
        for _, delta in self.table.drained():
            self.publish(delta, lost)

    @rule(key=keys, remote=remotes)
    def candidates_are_the_live_nodes(self, key, remote):
        candidates = SubscriptionForwarder(self.worker.routes, lookups(False, False, b"")).candidates(
            key.encode(), remote
        )
        found = [node.address for node in candidates]
        assert sorted(found) == sorted(self.live(key)), "each once, the dead never"

    @rule(key=keys, remote=remotes)
    def serve(self, key, remote):
        chosen = self.worker.routes.pick(key.encode(), remote)
        assert (chosen is None) is (not self.live(key))
        if chosen is not None:
            assert chosen.address in self.live(key)
            self.held.append(chosen)
            self.worker.counters.hold(chosen, 1)

    @precondition(lambda self: self.held)
    @rule(answered=st.booleans())
    def end_one(self, answered):
        served = self.held.pop()
        self.worker.counters.hold(served, -1)
        if answered:
            self.worker.health.answered(served)
        else:
            self.worker.health.failed(served)

    @rule(key=keys)
    def fail(self, key):
        failed = self.worker.routes.pick(key.encode(), b"")
        if failed is not None:
            self.worker.routes.mark_failed(failed)
            self.publish(self.table.fail(failed.slot, failed.id)[1], False)
            del self.expected[key, failed.address]

    @rule(seconds=st.integers(1, 10))
    def wait(self, seconds):
        self.now += seconds
        for _, delta in self.table.expire(self.now, 17):
            self.publish(delta, False)
        self.expected = {
            name: (seen, weight) for name, (seen, weight) in self.expected.items() if self.now - seen <= 17
        }

    @rule(key=keys)
    def a_cycle_is_exact(self, key):
        live = self.live(key)
        fresh = Worker(self.state, max_fails=0)
        fresh.routes.read_all()
        nodes = fresh.routes.pools[key.encode()].nodes if live else []
        if not any(fresh.health.is_resting(node) for node in nodes):
            picks = [fresh.routes.pick(key.encode(), b"").address for _ in range(sum(live.values()))]
            assert collections.Counter(picks) == live

    @rule()
    def restart_subscription_server(self):
        self.table = SubscriptionTable(self.state)

    @rule()
    def restart_worker(self):
        self.worker = Worker(self.state, algorithm=self.algorithm)
        self.worker.counters.reset_active()
        self.held = []
        self.worker.routes.read_all()

    @invariant()
    def the_copy_is_the_table(self):
        held = {
            (key.decode(), node.address): node.weight
            for key, pool in self.worker.routes.pools.items()
            for node in pool.nodes
        }
        assert held == {name: weight for name, (_, weight) in self.expected.items()}

    @invariant()
    def only_the_live_and_the_busy_have_slots(self):
        records = [record for slot in range(20) if (record := self.state.read(slot))]
        live = {(record.key.decode(), record.address.decode()) for record in records if not record.draining}
        assert live == set(self.expected)
        assert len(self.table) == len(live)

    @invariant()
    def requests_are_counted(self):
        by_slot = collections.Counter(node.slot for node in self.held)
        for slot in range(20):
            assert self.state.total(slot, Counter.ACTIVE) == by_slot[slot]


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
