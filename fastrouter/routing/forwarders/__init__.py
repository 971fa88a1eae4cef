"""Forwarders: the rules that turn a key into candidate nodes. One file each.

uWSGI 2.0.31 uses the first one configured, in the order of the option table, and so does this program.
"""

from collections.abc import Iterator
from typing import Protocol

from fastrouter.routing.node import Node

__all__ = ["Forwarder"]


class Forwarder(Protocol):
    """Finds nodes for keys."""

    def candidates(self, key: bytes, remote: bytes) -> Iterator[Node]:
        """The nodes to try for the client at remote, best first, none twice.

        Asked for another only when the one before could not be reached, failed, or has enough to do.
        """

    def knows(self, key: bytes) -> bool:
        """Whether key is one that requests are forwarded for, even if there is no live node now."""

    def mark_failed(self, node: Node) -> bool:
        """Take note that node cannot be reached. True if that is news to all workers."""

    @property
    def is_empty(self) -> bool:
        """No key can have a node: what cheap mode waits out."""
