"""Connections that nodes have left open, kept for the next request: one that is idle belongs to nobody."""

from _socket import socket as PlainSocket
from collections.abc import Callable
from typing import Final

from workers.loop import Event, Loop

__all__ = ["KeptConnections"]

_MOST: Final = 32
"""That a router worker keeps; each is a descriptor."""


_MOST_UNTRUSTED: Final = 4096
_PEEK: Final = 0x2


class KeptConnections:
    """Idle connections by the address that they lead to, the last one that was used first.

    They stay registered for what they were watched for; only who is called changes. A node that has done with
    one closes it, and any event here means that, as it has nothing to say before it is asked.
    """

    def __init__(self, loop: Loop, distrusted: Callable[[object], None]) -> None:
        """distrusted is called with an address whose node says something before it is asked."""
        self._loop = loop
        self._distrusted = distrusted
        self._untrusted: set[object] = set()
        """Addresses of nodes that did so once, or sent more than an answer: none of them is kept any more."""
        self._idle: dict[object, list[PlainSocket]] = {}
        self._addresses: dict[int, object] = {}
        """By descriptor, the longest idle first."""

    def keep(self, sock: PlainSocket, fd: int, address: object) -> bool:
        """Keep a connection whose request is over. False when it has to be closed instead."""
        if fd not in self._loop.handlers or address in self._untrusted:
            return False  # nothing would report its end; or its node has spoken unasked before
        if len(self._addresses) >= _MOST:
            self._close(next(iter(self._addresses)))
        self._idle.setdefault(address, []).append(sock)
        self._addresses[fd] = address
        self._loop.handlers[fd] = self._end
        return True

    def take(self, address: object) -> PlainSocket | None:
        """One that leads to an address. Whoever takes it has to handle its events."""
        idle = self._idle.get(address)
        if not idle:
            return None
        sock = idle.pop()
        if not idle:
            del self._idle[address]
        del self._addresses[sock.fileno()]
        return sock

    def distrust(self, address: object) -> bool:
        """Keep no more connections to an address, and close those that there are. False if it is known."""
        if address in self._untrusted:
            return False
        if len(self._untrusted) >= _MOST_UNTRUSTED:
            self._untrusted.clear()
        self._untrusted.add(address)
        for fd in [fd for fd, leads_to in self._addresses.items() if leads_to == address]:
            self._close(fd)
        return True

    def _end(self, event: Event) -> None:
        fd = event[0]
        address = self._addresses[fd]
        says_something = any(sock.fileno() == fd and _has_data(sock) for sock in self._idle[address])
        self._close(fd)
        if says_something:
            self._distrusted(address)

    def _close(self, fd: int) -> None:
        address = self._addresses.pop(fd)
        idle = self._idle[address]
        for sock in idle:
            if sock.fileno() == fd:
                idle.remove(sock)
                self._loop.forget(fd)
                sock.close()
                break
        if not idle:
            del self._idle[address]


def _has_data(sock: PlainSocket) -> bool:
    try:
        return bool(sock.recv(1, _PEEK))
    except OSError:
        return False
