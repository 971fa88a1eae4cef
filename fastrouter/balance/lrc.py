"""Least connections: the node with the fewest requests now, over all router workers; ties take turns.

uWSGI's name for it is least reference count. Its version counts one process's requests only.
"""

from collections.abc import Callable, Sequence

from fastrouter.node import Node

__all__ = ["LeastConnections"]

_LOOKED_AT = 32
"""Nodes to compare at most for one pick: of hundreds, the least busy of this many does as well."""


class LeastConnections:
    """Looks at the nodes in turn, from where the last pick was, and is content with an idle one."""

    def __init__(self, nodes: Sequence[Node], phase: float, active: Callable[[Node], int]) -> None:
        self._nodes = list(nodes)
        self._at = int(phase * len(nodes))
        self._active = active

    def pick(self, remote: bytes, tried: Sequence[Node]) -> Node | None:
        best: Node | None = None
        least = 0.0
        looked_at, first, count = 0, self._at, len(self._nodes)
        for step in range(count):
            place = (first + step) % count
            node = self._nodes[place]
            if tried and node in tried:
                continue
            load = self.load(node)
            if best is None or load < least:
                best, least = node, load
                self._at = place + 1
            looked_at += 1
            if not load or looked_at == _LOOKED_AT:
                break
        return best

    def load(self, node: Node) -> float:
        """What is compared."""
        return float(self._active(node))
