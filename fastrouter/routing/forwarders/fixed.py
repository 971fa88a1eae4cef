"""Forwarder for the local application's socket (``fastrouter-use-socket``): always the same node."""

from collections.abc import Iterator

from fastrouter.routing.forwarders.adhoc import UnlistedForwarder
from fastrouter.routing.node import Node

__all__ = ["FixedForwarder"]


class FixedForwarder(UnlistedForwarder):
    """One node, whatever becomes of it: it lives and dies with this program."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def candidates(self, key: bytes, remote: bytes) -> Iterator[Node]:
        yield self._node

    def knows(self, key: bytes) -> bool:
        return True
