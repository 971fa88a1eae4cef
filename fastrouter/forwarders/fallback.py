"""Forwarder for what is left when another one fails (``fastrouter-fallback``)."""

from collections.abc import Iterator, Sequence

from fastrouter.forwarders import Forwarder
from fastrouter.node import Node

__all__ = ["FallbackForwarder"]


class FallbackForwarder:
    """The first candidate of another forwarder, and then fixed nodes in order: uWSGI 2.0.31 behaviour.

    A key for which the other has no node at all gets the fixed nodes only when on_no_key is set
    (``fastrouter-fallback-on-no-key``).
    """

    def __init__(self, forwarder: Forwarder, nodes: Sequence[Node], on_no_key: bool) -> None:
        self._forwarder = forwarder
        self._nodes = list(nodes)
        self._on_no_key = on_no_key

    def candidates(self, key: bytes, remote: bytes) -> Iterator[Node]:
        node = next(self._forwarder.candidates(key, remote), None)
        if node is not None:
            yield node
        if node is not None or self._on_no_key:
            yield from self._nodes

    def knows(self, key: bytes) -> bool:
        return self._on_no_key or self._forwarder.knows(key)

    def mark_failed(self, node: Node) -> bool:
        return node not in self._nodes and self._forwarder.mark_failed(node)

    def reload(self) -> None:
        self._forwarder.reload()

    @property
    def is_empty(self) -> bool:
        return self._forwarder.is_empty
