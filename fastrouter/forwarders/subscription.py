"""Forwarder for announced nodes (``fastrouter-subscription-server``)."""

from collections.abc import Callable, Iterable, Iterator

from fastrouter.node import Node
from fastrouter.routes import Routes

__all__ = ["Keys", "SubscriptionForwarder", "dotsplit_keys", "key_and", "only_the_key"]

Keys = Callable[[bytes], Iterable[bytes]]
"""The keys to look up for a request's key, in order; the first that has a node counts."""

_MOST_LOOKUPS = 5


def only_the_key(key: bytes) -> tuple[bytes]:
    return (key,)


def key_and(fallback: bytes) -> Keys:
    """The key, then a fixed one (``fastrouter-subscription-fallback-key``)."""
    return lambda key: (key, fallback)


def dotsplit_keys(key: bytes) -> Iterator[bytes]:
    """``a.b.c``, ``.b.c``, ``.c``: five lookups at most, as in uWSGI (``subscription-dotsplit``)."""
    for _ in range(_MOST_LOOKUPS):
        yield key
        dot = key.find(b".", 1)
        if dot < 0:
            return
        key = key[dot:]


class SubscriptionForwarder:
    """Looks keys up in the worker's copy of the routing table."""

    def __init__(self, routes: Routes, keys: Keys = only_the_key) -> None:
        self._routes = routes
        self._keys = keys

    def candidates(self, key: bytes) -> Iterator[Node]:
        for one in self._keys(key):
            while (node := self._routes.pick(one)) is not None:
                yield node

    def mark_failed(self, node: Node) -> bool:
        return self._routes.mark_failed(node)

    @property
    def is_empty(self) -> bool:
        return not self._routes.pools
