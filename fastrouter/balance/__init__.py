"""Balancing: which of a pool's nodes is next. One file an algorithm."""

from collections.abc import Callable, Sequence
from typing import Protocol

from fastrouter.balance.wrr import WeightedRoundRobin
from fastrouter.node import Node

__all__ = ["ALGORITHMS", "Balancer"]


class Balancer(Protocol):
    """Made for one set of live nodes, never empty; a changed set gets a new one."""

    def pick(self) -> Node:
        """The node that is next."""


ALGORITHMS: dict[str, Callable[[Sequence[Node], float], Balancer]] = {"wrr": WeightedRoundRobin}
"""By name: makes a balancer for nodes, with the worker's phase from 0 to 1."""
