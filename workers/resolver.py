"""Looking host names up without making a loop wait for a name server."""

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fastrouter.address import show
from workers.background import Background
from workers.loop import Loop

__all__ = ["Resolver", "TooManyNames", "look_up"]

log = logging.getLogger("fastrouter")

_REFRESH = 10.0
"""Seconds after which a name is looked up again."""

_FORGOTTEN = 60.0
"""Seconds for which a name is kept that nobody asks for."""

_MOST_NAMES = 4096
_MOST_NEW = 64
"""Names at a time that are looked up for the first time."""

_THREADS = 4
"""One name that takes long must not keep the others waiting."""


class TooManyNames(Exception):
    """There is no room for another name now."""

    def __init__(self) -> None:
        super().__init__("too many names are being looked up")


@dataclass(slots=True)
class _Name:
    asked: float
    """Monotonic seconds; so is the next one."""
    looked_up: float
    hosts: tuple[str, ...] = ()
    is_known: bool = False
    is_pending: bool = True
    is_lost: bool = False
    """It was known once."""


class Resolver:
    """Knows what names mean, and asks again as long as somebody wants to know."""

    def __init__(self, loop: Loop, changed: Callable[[str], None]) -> None:
        """changed is called, in the loop, with a name that means something else than before."""
        self._new = Background(loop, _THREADS)
        self._known = Background(loop, _THREADS)
        """Those of their own for names that are in use already."""
        self._pending = 0
        self._changed = changed
        self._names: dict[str, _Name] = {}

    def numeric(self, host: str, port: int) -> str | None:
        """The numeric address of a host: empty when there is none, None as long as nobody knows.

        Raises TooManyNames.
        """
        name, now = self._names.get(host), time.monotonic()
        if name is None:
            if len(self._names) >= _MOST_NAMES or self._pending >= _MOST_NEW:
                raise TooManyNames
            self._names[host] = _Name(now, now)
            self._pending += 1
            self._new.run(partial(look_up, host), partial(self._learn, host))
            return None
        name.asked = now
        if name.hosts:
            return show((name.hosts[0], port))
        return "" if name.is_known else None

    def tick(self) -> None:
        """To be called once a second."""
        now = time.monotonic()
        for host, name in list(self._names.items()):
            if name.is_pending:
                continue
            if now - name.asked > _FORGOTTEN or (not name.hosts and now - name.looked_up >= _REFRESH):
                del self._names[host]  # if anybody asks again, it is new
            elif now - name.looked_up >= _REFRESH:
                name.looked_up, name.is_pending = now, True
                self._known.run(partial(look_up, host), partial(self._learn, host))

    def try_another(self, host: str) -> None:
        """Nobody was there: of several addresses the next one is as good."""
        name = self._names.get(host)
        if name is not None:
            name.hosts = (*name.hosts[1:], *name.hosts[:1])

    def _learn(self, host: str, hosts: tuple[str, ...]) -> None:
        name = self._names[host]
        first, before = not name.is_known, name.hosts[:1]
        self._pending -= first
        name.is_known, name.is_pending = True, False
        if not hosts and before and not name.is_lost:
            log.warning("nobody knows the name %s; its last address stands", host)
        name.is_lost = not hosts
        if not set(before) & set(hosts):
            name.hosts = hosts or name.hosts
        else:  # an address stays in use while it is one of the name's, in whatever order they come
            name.hosts = tuple(dict.fromkeys((*before, *hosts)))
        if first or name.hosts[:1] != before:
            self._changed(host)


def look_up(host: str) -> tuple[str, ...]:
    """The numeric addresses of a name, IPv4 first; none when there are none. May take long.

    As with sockets to bind: most of what ``localhost`` means is on 127.0.0.1.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
