"""Balancing: which of a pool's nodes is next. One file an algorithm, and one line in the table below."""

from collections.abc import Callable, Sequence
from typing import Protocol

from fastrouter.routing.balance.iphash import AddressHash
from fastrouter.routing.balance.lrc import LeastConnections
from fastrouter.routing.balance.wlrc import WeightedLeastConnections
from fastrouter.routing.balance.wrr import WeightedRoundRobin
from fastrouter.routing.node import Node

__all__ = ["ALGORITHMS", "Active", "Balancer"]

Active = Callable[[Node], int]
"""The requests that a node has now, over all router workers."""


class Balancer(Protocol):
    """Made for one set of live nodes, never empty; a changed set gets a new one."""

    def pick(self, remote: bytes) -> Node:
        """The node that is next for the client at remote."""


ALGORITHMS: dict[str, Callable[[Sequence[Node], float, Active], Balancer]] = {
    "wrr": WeightedRoundRobin,
    "lrc": LeastConnections,
    "wlrc": WeightedLeastConnections,
    "iphash": AddressHash,
}
"""By name: makes a balancer for nodes. phase, from 0 to 1, is the place among them where it may begin."""
