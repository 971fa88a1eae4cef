"""The routing table as a router worker holds it: a copy that follows the shared one slot by slot."""

from bisect import insort
from collections.abc import Iterable

from fastrouter.address import AddressError
from fastrouter.balance import ALGORITHMS, Balancer
from fastrouter.node import Node
from fastrouter.shared import EVERY_SLOT, Delta, NodeRecord, SharedState, Slot, Table

__all__ = ["Pool", "Routes"]


class Pool:
    """The live nodes of one key."""

    __slots__ = ("_balancer", "_make", "nodes", "phase")

    def __init__(self, algorithm: str, phase: float) -> None:
        self.nodes: list[Node] = []
        self.phase = phase
        self._make = ALGORITHMS[algorithm]
        self._balancer: Balancer | None = None

    def add(self, node: Node) -> None:
        insort(self.nodes, node, key=lambda node: node.order)
        self._balancer = None

    def remove(self, node: Node) -> None:
        self.nodes.remove(node)
        self._balancer = None

    def pick(self) -> Node:
        """The next node; the pool must not be empty."""
        if self._balancer is None:
            self._balancer = self._make(self.nodes, self.phase)
        return self._balancer.pick()


class Routes:
    """Every pool, by key. Reads shared memory, never writes there but for failure marks."""

    def __init__(self, state: SharedState, algorithm: str = "wrr", phase: float = 0.0) -> None:
        self.pools: dict[bytes, Pool] = {}
        self.generation = 0
        """Of the shared table when it was last followed completely."""
        self._state = state
        self._cells = state.cells
        self._algorithm = algorithm
        self._phase = phase
        self._by_slot: dict[int, Node] = {}

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

    def read_all(self) -> None:
        """Take over the whole shared table."""
        self.generation = self._cells[Table.GENERATION]
        for slot in range(self._cells[Table.SLOTS_USED]):
            self._take_over(slot)

    def pick(self, key: bytes) -> Node | None:
        """The next live node for key."""
        pool = self.pools.get(key)
        while pool is not None and pool.nodes:
            node = pool.pick()
            if self._cells[node.mark_at] != node.id:
                return node
            self.drop(node)  # another worker has found it dead
        return None

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
        key = node.key.encode("utf-8", "surrogateescape")
        pool = self.pools[key]
        pool.remove(node)
        if not pool.nodes:
            del self.pools[key]

    def _take_over(self, slot: int) -> None:
        record = self._state.read(slot)
        node = self._by_slot.get(slot)
        if node is not None and (record is None or not _same(node, record)):
            self.drop(node)
            node = None
        if record is not None and node is None:
            self._add(slot, record)

    def _add(self, slot: int, record: NodeRecord) -> None:
        try:
            node = Node(
                record.address.decode("utf-8", "surrogateescape"),
                slot,
                record.id,
                record.key.decode("utf-8", "surrogateescape"),
                record.order,
                record.weight,
                (record.modifier1, record.modifier2),
            )
        except AddressError:
            return  # the subscription server refuses such addresses; a foreign record is not worth a crash
        node.mark_at = self._state.slot_cell(slot, Slot.MARK)
        if self._cells[node.mark_at] == node.id:
            return
        pool = self.pools.get(record.key)
        if pool is None:
            pool = self.pools[record.key] = Pool(self._algorithm, self._phase)
        self._by_slot[slot] = node
        pool.add(node)


def _same(node: Node, record: NodeRecord) -> bool:
    return (node.id, node.weight, node.header) == (
        record.id,
        record.weight,
        (record.modifier1, record.modifier2),
    )
