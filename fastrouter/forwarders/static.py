"""Forwarder for configured nodes (``fastrouter-to``): round robin, whatever the key."""

import time
from collections.abc import Iterator, Sequence

from fastrouter.node import Node
from fastrouter.shared import SharedState, Slot

__all__ = ["StaticForwarder"]

_SECOND = 1_000_000_000


class StaticForwarder:
    """Takes the nodes in turn; one that failed is left out for gracetime seconds, by all workers."""

    def __init__(self, nodes: Sequence[Node], state: SharedState, gracetime: float) -> None:
        self._nodes = list(nodes)
        self._next = 0
        self._cells = state.cells
        self._grace = int(gracetime * _SECOND)
        for node in self._nodes:
            node.mark_at = state.slot_cell(node.slot, Slot.MARK)

    def candidates(self, key: bytes) -> Iterator[Node]:
        # Every session goes round from its own start, since others move on while it waits for a node.
        start, count = self._next, len(self._nodes)
        for step in range(count):
            node = self._nodes[(start + step) % count]
            self._next = (start + step + 1) % count
            failed = self._cells[node.mark_at]
            if not failed or time.monotonic_ns() - failed >= self._grace:
                yield node

    def mark_failed(self, node: Node) -> bool:
        now = time.monotonic_ns()
        news: bool = now - self._cells[node.mark_at] >= self._grace
        self._cells[node.mark_at] = now
        return news

    @property
    def is_empty(self) -> bool:
        return False
