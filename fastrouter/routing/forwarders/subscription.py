"""Forwarder for announced nodes (``fastrouter-subscription-server``)."""

from collections.abc import Callable, Iterable, Iterator

from fastrouter.routing.node import Node
from fastrouter.routing.routes import Routes

__all__ = ["Keys", "SubscriptionForwarder", "lookups"]

Keys = Callable[[bytes], Iterable[bytes]]
"""The keys to look up for a request's key, in order; the first that has a node counts."""

_MOST_HOSTS = 5


def lookups(dotsplit: bool, mountpoints: bool, fallback: bytes) -> Keys:
    """The rule that the options make up; fallback is the key to look up last, if any."""
    hosts: Keys = _dotsplit if dotsplit else _itself
    keys: Keys = (lambda key: _mountpoints(key, hosts)) if mountpoints else hosts
    return (lambda key: (*keys(key), fallback)) if fallback else keys


def _itself(key: bytes) -> tuple[bytes]:
    return (key,)


def _dotsplit(key: bytes) -> Iterator[bytes]:
    """``a.b.c``, ``.b.c``, ``.c``: five lookups at most, as in uWSGI (``subscription-dotsplit``)."""
    for _ in range(_MOST_HOSTS):
        yield key
        dot = key.find(b".", 1)
        if dot < 0:
            return
        key = key[dot:]


def _mountpoints(key: bytes, hosts: Keys) -> Iterator[bytes]:
    """``host/a/b``, ``host/a``, ``host``: the longest match counts (``subscription-mountpoints``)."""
    name, slash, path = key.partition(b"/")
    for host in hosts(name):
        mounted = host + slash + path
        while len(mounted) > len(host):
            yield mounted
            mounted = mounted[: mounted.rindex(b"/")]
        yield host


class SubscriptionForwarder:
    """Looks keys up in the worker's copy of the routing table."""

    def __init__(self, routes: Routes, keys: Keys) -> None:
        self._routes = routes
        self.keys = keys
        """The keys that are looked up for one."""
        self._looks_further = keys is not _itself

    def candidates(self, key: bytes, remote: bytes) -> Iterator[Node]:
        node = None if self._looks_further else self._routes.only(key)
        return self._in_order(key, remote) if node is None else iter((node,))

    def _in_order(self, key: bytes, remote: bytes) -> Iterator[Node]:
        for one in self.keys(key):
            node = self._routes.pick(one, remote)
            if node is not None:
                yield node
                yield from self._routes.others(one, node)

    def knows(self, key: bytes) -> bool:
        return any(self._routes.knows(one) for one in self.keys(key))

    def mark_failed(self, node: Node) -> bool:
        return self._routes.mark_failed(node)

    @property
    def is_empty(self) -> bool:
        return not self._routes.pools
