"""Weighted least connections: the node with the fewest requests now for its weight."""

from fastrouter.routing.balance.lrc import LeastConnections
from fastrouter.routing.node import Node

__all__ = ["WeightedLeastConnections"]


class WeightedLeastConnections(LeastConnections):
    """A node with weight 3 may have three times the requests of one with weight 1."""

    def load(self, node: Node) -> float:
        return self._active(node) / node.weight
