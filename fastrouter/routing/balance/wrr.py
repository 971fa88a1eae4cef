"""Weighted round robin, exact and smooth.

Over one cycle (as many picks as the sum of the weights) every node is picked exactly as often as its weight
says, and evenly in between, where uWSGI 2.0.31 divides weights as integers and picks in bursts.

The k-th pick of a node with weight w is due at (k + 1/2) / w of the cycle, and the earliest due node is next.
Every node has all its w picks due before the cycle ends, so a cycle is exact whatever the weights, and a
pick costs the logarithm of the number of nodes. Nodes of equal weight simply take turns.
"""

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace

from fastrouter.routing.node import Node

__all__ = ["WeightedRoundRobin"]


class WeightedRoundRobin:
    """Picks from nodes for ever.

    phase, from 0 to 1, is the place in the order of the nodes at which a cycle starts: router workers with
    different phases do not all send their first request to the same node, nor one whose nodes have changed.
    """

    def __init__(self, nodes: Sequence[Node], phase: float, active: Callable[[Node], int]) -> None:
        first = int(phase * len(nodes) + 1e-6) % len(nodes)
        self._nodes = [*nodes[first:], *nodes[:first]]
        self._equal = len({node.weight for node in nodes}) == 1
        self._at = 0
        self._left = 0
        self._due: list[tuple[float, int, int]] = []

    def pick(self, remote: bytes) -> Node:
        if self._equal:
            node = self._nodes[self._at]
            self._at = (self._at + 1) % len(self._nodes)
            return node
        if not self._left:
            self._left = sum(node.weight for node in self._nodes)
            self._due = [(0.5 / node.weight, place, 0) for place, node in enumerate(self._nodes)]
            heapify(self._due)
        self._left -= 1
        _, place, picks = self._due[0]
        node = self._nodes[place]
        picks += 1
        heapreplace(self._due, ((picks + 0.5) / node.weight, place, picks))
        return node
