"""The caches for other programs: who may use the cache protocol on the application's sockets.

It has no passwords. Whoever may write a cache that ``fastrouter-use-cache`` reads says where requests go.
"""

import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Mapping

from fastrouter.cache.store import Cache
from fastrouter.cache.wire import answer_call
from workers.context import Context

__all__ = ["CacheService"]

log = logging.getLogger("fastrouter.app")

_EVERY = 60.0
"""Seconds between two lines on those who are refused."""


class CacheService:
    """Obeys cache commands of those that ``cache-allow`` names."""

    def __init__(self, context: Context) -> None:
        allowed = context.options.cache.allow
        self._caches: Mapping[str, Cache] = context.caches
        self._local = "unix" in allowed
        self._networks = [ipaddress.ip_network(text) for text in allowed if text != "unix"]
        routed = {listener.name for gateway in context.gateways for listener in gateway.listeners}
        # On a socket that the router accepts on as well there are everybody's requests.
        self._obeying = {
            listener.socket.fileno() for listener in context.app_listeners if listener.name not in routed
        }
        self._told = -_EVERY

    def answer(
        self,
        connection: socket.socket,
        listener: int,
        modifier2: int,
        block: bytes,
        read: Callable[[int], bytes],
    ) -> bytes:
        """Do what a packet says that came over a listener's descriptor; empty for who may not say it.

        Raises PacketError and OSError.
        """
        if listener in self._obeying and self._allows(connection):
            return answer_call(self._caches, modifier2, block, read)
        if time.monotonic() - self._told >= _EVERY:
            self._told = time.monotonic()
            log.warning("refused a cache command from %s (cache-allow)", _shown(connection))
        return b""

    def _allows(self, connection: socket.socket) -> bool:
        if connection.family == socket.AF_UNIX:
            return self._local
        address = ipaddress.ip_address(connection.getpeername()[0].partition("%")[0])
        if address.version == 6 and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def _shown(connection: socket.socket) -> str:
    return "a local process" if connection.family == socket.AF_UNIX else str(connection.getpeername()[0])
