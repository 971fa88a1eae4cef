"""Forwarder that has an answer for every key (``fastrouter-fallback-on-no-key``)."""

from collections.abc import Iterator, Sequence

from fastrouter.routing.forwarders import Forwarder
from fastrouter.routing.node import Node

__all__ = ["FallbackForwarder"]


class FallbackForwarder:
    """The candidates of another forwarder, and fixed nodes for keys of which it knows nothing."""

    def __init__(self, forwarder: Forwarder, fallback: Sequence[Node]) -> None:
        self.chosen = forwarder
        self._fallback = list(fallback)

    def candidates(self, key: bytes, remote: bytes) -> Iterator[Node]:
        none = True
        for node in self.chosen.candidates(key, remote):
            none = False
            yield node
        if none:
            yield from self._fallback

    def knows(self, key: bytes) -> bool:
        return True

    def mark_failed(self, node: Node) -> bool:
        return self.chosen.mark_failed(node)

    @property
    def is_empty(self) -> bool:
        return self.chosen.is_empty
