"""Forwarder for configured nodes (``fastrouter-to``): round robin, whatever the key."""

import time
from collections.abc import Iterator, Sequence

from fastrouter.memory.shared import SharedState
from fastrouter.routing.node import Node
from fastrouter.routing.pool import Balancing, Pool

__all__ = ["StaticForwarder"]

_SECOND = 1_000_000_000


class StaticForwarder:
    """Takes the nodes in turn; one that failed is left out for gracetime seconds, by all workers."""

    def __init__(
        self, nodes: Sequence[Node], state: SharedState, balancing: Balancing, gracetime: float
    ) -> None:
        self._pool = Pool(balancing)
        for node in nodes:
            self._pool.add(node)
        self._cells = state.cells
        self._grace = int(gracetime * _SECOND)

    def candidates(self, key: bytes, remote: bytes) -> Iterator[Node]:
        if len(self._pool.nodes) == 1:
            node = self._pool.nodes[0]
            return iter((node,) if self._is_out_of_grace(node) else ())
        return self._in_turn(remote)

    def _in_turn(self, remote: bytes) -> Iterator[Node]:
        first = self._pool.pick(remote)
        if self._is_out_of_grace(first):
            yield first
        seen = [first]
        for _ in range(len(self._pool.nodes) - 1):  # in turn; another session may take a turn in between
            node = self._pool.pick(remote)
            if node not in seen:
                seen.append(node)
                if self._is_out_of_grace(node):
                    yield node
        for node in self._pool.nodes:
            if node not in seen and self._is_out_of_grace(node):
                yield node

    def _is_out_of_grace(self, node: Node) -> bool:
        failed = self._cells[node.mark_at]
        return not failed or time.monotonic_ns() - failed >= self._grace

    def knows(self, key: bytes) -> bool:
        return True

    def mark_failed(self, node: Node) -> bool:
        news = self._is_out_of_grace(node)
        self._cells[node.mark_at] = time.monotonic_ns()
        return news

    @property
    def is_empty(self) -> bool:
        return False
