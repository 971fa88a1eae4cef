"""Forwarder for configured nodes (``fastrouter-to``): round robin, whatever the key."""

import time
from collections.abc import Iterator, Sequence

from fastrouter.node import Node
from fastrouter.pool import Balancing, Pool
from fastrouter.shared import SharedState

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
        tried: list[Node] = []
        while (node := self._pool.pick(remote, tried)) is not None:
            failed = self._cells[node.mark_at]
            if not failed or time.monotonic_ns() - failed >= self._grace:
                yield node
            tried.append(node)

    def knows(self, key: bytes) -> bool:
        return True

    def mark_failed(self, node: Node) -> bool:
        now = time.monotonic_ns()
        news: bool = now - self._cells[node.mark_at] >= self._grace
        self._cells[node.mark_at] = now
        return news

    def reload(self) -> None:
        pass

    @property
    def is_empty(self) -> bool:
        return False
