"""Least connections: the node with the fewest requests now, over all router workers; ties take turns.

uWSGI's name for it is least reference count. Its version counts one process's requests only.
"""

from collections.abc import Callable, Sequence

from fastrouter.routing.node import Node

__all__ = ["LeastConnections"]

_LOOKED_AT = 32
"""Nodes to compare at most for one pick: of hundreds, the least busy of this many does as well."""


class LeastConnections:
    """Looks at the nodes in turn, from where the last pick was, and is content with an idle one."""

    def __init__(self, nodes: Sequence[Node], phase: float, active: Callable[[Node], int]) -> None:
        self._nodes = list(nodes)
        self._at = int(phase * len(nodes) + 1e-6)
        self._active = active

    def pick(self, remote: bytes) -> Node:
        count = len(self._nodes)
        first = self._at % count
        best, least, at = self._nodes[first], -1.0, first
        for step in range(min(count, _LOOKED_AT)):
            place = (first + step) % count
            load = self.load(self._nodes[place])
            if least < 0 or load < least:
                best, least, at = self._nodes[place], load, place
            if not load:
                break
        self._at = at + 1
        return best

    def load(self, node: Node) -> float:
        """What is compared."""
        return float(self._active(node))
