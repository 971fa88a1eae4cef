"""The routing table as a router worker holds it: a copy that follows the shared one slot by slot."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from fastrouter.address import AddressError
from fastrouter.memory.cells import Table
from fastrouter.memory.shared import EVERY_SLOT, Delta, NodeRecord, SharedState
from fastrouter.routing.node import Node
from fastrouter.routing.pool import Balancing, Pool
from fastrouter.text import to_text

__all__ = ["Routes"]

_REMEMBERED = 600.0
"""Seconds for which a key that has lost its last node is still known."""

_MOST_REMEMBERED = 65536


class Routes:
    """Every pool, by key. Reads shared memory, never writes there but for failure marks."""

    def __init__(self, state: SharedState, balancing: Balancing) -> None:
        self.pools: dict[bytes, Pool] = {}
        self.generation = 0
        """Of the shared table when it was last followed completely."""
        self._state = state
        self._cells = state.cells
        self._balancing = balancing
        self._by_slot: dict[int, Node] = {}
        self._named: dict[int, Node] = {}
        """Configured nodes with host names, by slot."""
        self._emptied: OrderedDict[bytes, float] = OrderedDict()
        """When keys lost their last node, the longest ago first."""

    def follow(self, deltas: Iterable[Delta]) -> None:
        """Take over the slots that changed. When a delta is missing, every slot is read again instead."""
        for delta in deltas:
            if delta.generation <= self.generation:
                continue
            if delta.slot == EVERY_SLOT or delta.generation != self.generation + 1:
                self.read_all()
            else:
                self._take_over(delta.slot)
                self.generation = delta.generation

    def adopt(self, node: Node) -> None:
        """Keep a configured node, whose address has a host name, where the name says it is."""
        self._named[node.slot] = node

    def read_all(self) -> None:
        """Take over the whole shared table."""
        self.generation = self._cells[Table.GENERATION]
        for slot in self._named:
            self._take_over(slot)
        for slot in range(self._cells[Table.SLOTS_USED]):
            self._take_over(slot)

    def knows(self, key: bytes) -> bool:
        """Whether a key has nodes, or had some not long ago."""
        if key in self.pools:
            return True
        emptied = self._emptied.get(key)
        return emptied is not None and time.monotonic() - emptied < _REMEMBERED

    def only(self, key: bytes) -> Node | None:
        """The live node of a key that has one and no other."""
        pool = self.pools.get(key)
        if pool is None or len(pool.nodes) != 1:
            return None
        node = pool.nodes[0]
        return None if self._cells[node.mark_at] == node.id else node

    def pick(self, key: bytes, remote: bytes) -> Node | None:
        """The next live node of key for the client at remote."""
        pool = self.pools.get(key)
        while pool is not None and pool.nodes:
            node = pool.pick(remote)
            if self._cells[node.mark_at] != node.id:
                return node
            self.drop(node)  # another worker has found it dead
        return None

    def others(self, key: bytes, first: Node) -> Iterator[Node]:
        """The other live nodes of key, from first on."""
        pool = self.pools.get(key)
        if pool is not None:
            for node in pool.others(first):
                if self._cells[node.mark_at] != node.id and self._by_slot.get(node.slot) is node:
                    yield node

    def mark_failed(self, node: Node) -> bool:
        """Tell every worker that a node cannot be reached. False if that was known already."""
        news: bool = self._cells[node.mark_at] != node.id
        self._cells[node.mark_at] = node.id
        self.drop(node)
        return news

    def drop(self, node: Node) -> None:
        """Route no more requests to a node."""
        if self._by_slot.get(node.slot) is not node:
            return
        del self._by_slot[node.slot]
        pool = self.pools[node.key]
        pool.remove(node)
        if not pool.nodes:
            del self.pools[node.key]
            self._emptied[node.key] = time.monotonic()
            self._emptied.move_to_end(node.key)
            if len(self._emptied) > _MOST_REMEMBERED:
                self._emptied.popitem(last=False)

    def _take_over(self, slot: int) -> None:
        record = self._state.read(slot)
        if slot in self._named:
            if record is not None:
                self._named[slot].move(record.resolved)
            return
        if record is not None and record.draining:
            record = None
        node = self._by_slot.get(slot)
        if node is not None and node.record != record:
            self.drop(node)
            node = None
        if record is not None and node is None:
            self._add(slot, record)

    def _add(self, slot: int, record: NodeRecord) -> None:
        try:
            traits = self._balancing.configured.of(to_text(record.address), record.traits)
            node = Node(record, slot, self._state.layout, traits)
        except AddressError:
            return  # the subscription server refuses such addresses; a foreign record is not worth a crash
        if self._cells[node.mark_at] == node.id:
            return
        pool = self.pools.get(record.key)
        if pool is None:
            pool = self.pools[record.key] = Pool(self._balancing)
        self._by_slot[slot] = node
        pool.add(node)
