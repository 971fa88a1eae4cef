"""Forwarder for the local application's socket (``fastrouter-use-socket``): always the same node."""

from collections.abc import Iterator

from fastrouter.node import Node

__all__ = ["FixedForwarder"]


class FixedForwarder:
    """One node, whatever becomes of it: it lives and dies with this program."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def candidates(self, key: bytes, remote: bytes) -> Iterator[Node]:
        yield self._node

    def knows(self, key: bytes) -> bool:
        return True

    def mark_failed(self, node: Node) -> bool:
        return False

    def reload(self) -> None:
        pass

    @property
    def is_empty(self) -> bool:
        return False
