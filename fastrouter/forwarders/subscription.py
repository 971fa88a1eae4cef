"""Forwarder for announced nodes (``fastrouter-subscription-server``)."""

from collections.abc import Iterator

from fastrouter.node import Node
from fastrouter.routes import Routes

__all__ = ["SubscriptionForwarder"]


class SubscriptionForwarder:
    """Looks keys up in the worker's copy of the routing table."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    def candidates(self, key: bytes) -> Iterator[Node]:
        while (node := self._routes.pick(key)) is not None:
            yield node

    def mark_failed(self, node: Node) -> bool:
        return self._routes.mark_failed(node)

    @property
    def is_empty(self) -> bool:
        return not self._routes.pools
