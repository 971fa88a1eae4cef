"""Hashing of the client's address: one client always gets the same node, while that lives.

The address is REMOTE_ADDR, since the router's own peer is a web server. (uWSGI 2.1 hashes the peer's, which
sends everybody behind one nginx to one node.) The nodes own arcs of a ring in proportion to their weights, so
that a node which joins or leaves moves only the clients of its own arcs.
"""

from bisect import bisect
from collections.abc import Callable, Sequence
from zlib import crc32

from fastrouter.routing.node import Node

__all__ = ["AddressHash"]

_POINTS = 64
"""On the ring, for a node of average weight; fewer where there are many nodes."""

_RING = 4096


class AddressHash:
    """A ring of points; a client belongs to the first one behind its own."""

    def __init__(self, nodes: Sequence[Node], phase: float, active: Callable[[Node], int]) -> None:
        mean = sum(node.weight for node in nodes) / len(nodes)
        usual = max(8, min(_POINTS, _RING // len(nodes)))
        self._nodes = list(nodes)
        ring: list[tuple[int, int]] = []
        for place, node in enumerate(nodes):
            points = max(1, min(round(usual * node.weight / mean), 16 * usual))
            ring += [(point, place) for point in _points_of(node, points)]
        ring.sort()
        self._points = [point for point, _ in ring]
        self._places = [place for _, place in ring]

    def pick(self, remote: bytes) -> Node:
        at = bisect(self._points, _spread(remote)) % len(self._points)
        return self._nodes[self._places[at]]


def _points_of(node: Node, count: int) -> list[int]:
    """The first so many points of a node, which remembers them: its pool may change often."""
    points = node.points
    for number in range(len(points), count):
        points.append(_spread(b"%d %b" % (number, node.record.address)))
    return points[:count]


def _spread(text: bytes) -> int:
    """A hash in which neighbours are far apart, which crc32 alone does not give for similar texts."""
    return (crc32(text) * 0x9E3779B1 ^ crc32(text[::-1])) & 0xFFFFFFFF
