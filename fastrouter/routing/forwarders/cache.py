"""Forwarder for nodes that a cache names (``fastrouter-use-cache``)."""

from collections.abc import Iterator

from fastrouter.cache.store import Cache
from fastrouter.routing.forwarders.adhoc import AdhocNodes, UnlistedForwarder
from fastrouter.routing.node import Node
from fastrouter.text import to_text

__all__ = ["CacheForwarder"]

_MOST_VALUES = 4096


class CacheForwarder(UnlistedForwarder):
    """The value of a key is ``ADDRESS[,MODIFIER1]``, or several with ``|`` in between, which take turns.

    Whose turn it is follows from the hits of the item, so it is the same for all processes (uWSGI 2.0.31
    behaviour, but for an empty alternative, which uWSGI dies of and this leaves out).
    """

    def __init__(self, cache: Cache, reader: int, nodes: AdhocNodes) -> None:
        self._cache = cache
        self._reader = reader
        self._nodes = nodes
        self._by_value: dict[bytes, list[Node]] = {}

    def candidates(self, key: bytes, remote: bytes) -> Iterator[Node]:
        found = self._cache.look_up(key, self._reader)
        if found is not None:
            item, hits = found
            nodes = self._alternatives(item.value)
            for step in range(len(nodes)):
                yield nodes[(hits + step) % len(nodes)]

    def knows(self, key: bytes) -> bool:
        return self._cache.peek(key) is not None

    def _alternatives(self, value: bytes) -> list[Node]:
        nodes = self._by_value.get(value)
        if nodes is None:
            if len(self._by_value) >= _MOST_VALUES:
                self._by_value.clear()
            texts = to_text(value).split("|")
            nodes = [node for text in texts if (node := self._nodes.read(text)) is not None]
            self._by_value[value] = nodes
        return nodes
