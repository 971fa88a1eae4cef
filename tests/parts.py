"""What a router worker is made of, put together for tests without any process."""

from fastrouter.memory.shared import Layout, NodeRecord, SharedState
from fastrouter.routing.counters import NodeCounters
from fastrouter.routing.health import Health
from fastrouter.routing.node import Node
from fastrouter.routing.pool import Balancing, Pool
from fastrouter.routing.routes import Routes
from fastrouter.wire.announcement import Announcement
from fastrouter.wire.traits import ConfiguredTraits, Traits


class Worker:
    """One router worker's view of shared memory."""

    def __init__(self, state, index=0, algorithm="wrr", phase=0.0, max_fails=3, max_conns=0, slow_start=0):
        self.counters = NodeCounters(state, index)
        self.health = Health(state, self.counters, max_fails)
        self.balancing = Balancing(
            algorithm, phase, self.counters, self.health, slow_start, ConfiguredTraits(max_conns)
        )
        self.routes = Routes(state, self.balancing)

    def take(self, node):
        """What Router.take does."""
        self.counters.hold(node, 1)
        if self.health.admits(node):
            return True
        self.counters.hold(node, -1)
        return False


def announcement(key, address, unsubscribe=False, **fields):
    """An announcement whose traits may be given by their names."""
    traits = Traits(**{name: fields.pop(name) for name in Traits._fields if name in fields})
    return Announcement(key, address, unsubscribe, traits, **fields)


def state_for(slots, workers=1):
    return SharedState(Layout(slots, workers, 0))


def make_nodes(state, weights, **fields):
    """Nodes of one key in slots 0, 1, ..., with these weights."""
    return [
        Node(
            NodeRecord(slot + 1, slot, b"key", b"127.0.0.1:%d" % (slot + 1), Traits(weight=weight, **fields)),
            slot,
            state.layout,
        )
        for slot, weight in enumerate(weights)
    ]


def make_pool(balancing, nodes):
    pool = Pool(balancing)
    for node in nodes:
        pool.add(node)
    return pool
