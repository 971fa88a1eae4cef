"""A pool: the live nodes of one key, and which of them is next."""

import time
from bisect import bisect, insort
from collections.abc import Iterator, Sequence

from fastrouter.routing.balance import ALGORITHMS, Balancer
from fastrouter.routing.counters import NodeCounters
from fastrouter.routing.health import Health
from fastrouter.routing.node import Node
from fastrouter.wire.traits import ConfiguredTraits

__all__ = ["Balancing", "Pool"]


class Balancing:
    """What all pools of a router worker have in common."""

    def __init__(
        self,
        algorithm: str,
        phase: float,
        counters: NodeCounters,
        health: Health,
        slow_start: int = 0,
        configured: ConfiguredTraits | None = None,
    ) -> None:
        """phase, from 0 to 1, is different in every worker, so that they do not all begin with one node."""
        self.algorithm = algorithm
        self.phase = phase
        self.counters = counters
        self.health = health
        self.slow_start = slow_start * 1_000_000_000
        """Nanoseconds in which a node that joins comes to its share."""
        self.configured = configured or ConfiguredTraits()

    def for_configured_nodes(self) -> "Balancing":
        """The same, but for the algorithm: in turn, from the first (uWSGI 2.0.31 behaviour)."""
        return Balancing("wrr", 0.0, self.counters, self.health)

    def balancer(self, nodes: Sequence[Node], asked_for: str, phase: float) -> Balancer:
        make = ALGORITHMS.get(asked_for) or ALGORITHMS[self.algorithm]
        return make(nodes, phase, self.counters.active)


class Pool:
    """Nodes in the order of their first announcement. The first one's wish for an algorithm counts."""

    def __init__(self, balancing: Balancing) -> None:
        self.nodes: list[Node] = []
        self._balancing = balancing
        self._health = balancing.health
        self._groups: list[list[Node]] = []
        """The nodes of each backup level, lowest first, and those that rest, as the last resort."""
        self._balancers: list[Balancer] = []
        """One for each group."""
        self._resting: list[Node] = []
        self._last: Node | None = None

    def add(self, node: Node) -> None:
        insort(self.nodes, node, key=lambda node: node.order)
        node.peers = self.nodes
        self._balancers = []

    def remove(self, node: Node) -> None:
        self.nodes.remove(node)
        self._balancers = []

    def pick(self, remote: bytes) -> Node:
        """The next node for the client at remote; the pool must not be empty."""
        if len(self.nodes) == 1:
            return self.nodes[0]  # as in most pools of a router with thousands of keys
        if not self._balancers or (self._resting and self._someone_has_rested()):
            self._arrange()
        node = self._balancers[0].pick(remote)
        while self._health.is_resting(node) and node not in self._resting:
            self._arrange()
            node = self._balancers[0].pick(remote)
        if self._balancing.slow_start and self._starts_slowly(node):
            node = self._started(node, remote)
        self._last = node
        return node

    def others(self, first: Node) -> Iterator[Node]:
        """All nodes but first, each once: those of its level from there on, then those of the next."""
        if not self._balancers:
            self._arrange()
        for group in list(self._groups):
            start = group.index(first) + 1 if first in group else 0
            for step in range(len(group)):
                node = group[(start + step) % len(group)]
                if node is not first:
                    yield node

    def _starts_slowly(self, node: Node) -> bool:
        """Whether a node gives up its turn; the longer it is there, the fewer."""
        age = time.monotonic_ns() - node.record.since
        if not self._is_new(node, age):
            return False
        node.share += age / self._balancing.slow_start
        if node.share < 1.0:
            return True
        node.share -= 1.0
        return False

    def _is_new(self, node: Node, age: int) -> bool:
        """Whether a node of that age, in nanoseconds, starts slowly; one without a beginning does not."""
        return node.record.since != 0 and age < self._balancing.slow_start

    def _started(self, slow: Node, remote: bytes) -> Node:
        """Who takes the turn of a node that starts slowly: itself, when there is nobody else of its level."""
        now = time.monotonic_ns()
        others = [node for node in self._groups[0] if not self._is_new(node, now - node.record.since)]
        if not others:
            return slow
        for _ in self._groups[0]:
            node = self._balancers[0].pick(remote)
            if node in others:
                return node
        # Its algorithm finds no other: one that prefers the least busy, or goes by the client.
        return min(others, key=lambda node: self._balancing.counters.active(node) / node.weight)

    def _someone_has_rested(self) -> bool:
        return not all(self._health.is_resting(node) for node in self._resting)

    def _arrange(self) -> None:
        self._resting = [node for node in self.nodes if self._health.is_resting(node)]
        levels: dict[int, list[Node]] = {}
        for node in self.nodes:
            if not self._resting or node not in self._resting:
                levels.setdefault(node.backup, []).append(node)
        self._groups = [levels[level] for level in sorted(levels)]
        if self._resting:
            self._groups.append(self._resting)
        asked_for = self.nodes[0].record.traits.algorithm if self.nodes else ""
        self._balancers = [
            self._balancing.balancer(group, asked_for, self._phase(group)) for group in self._groups
        ]

    def _phase(self, group: list[Node]) -> float:
        """Go on behind the node that was picked last, whatever has changed since."""
        if self._last is None:
            return self._balancing.phase
        orders = [node.order for node in group]
        return bisect(orders, self._last.order) % len(group) / len(group)
