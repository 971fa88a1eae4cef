"""Looking host names up without making a loop wait for a name server."""

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastrouter.address import show
from workers.background import Background
from workers.loop import Loop

__all__ = ["Resolver", "look_up"]

log = logging.getLogger("fastrouter")

_REFRESH = 10.0
"""Seconds after which a name is looked up again."""

_FORGOTTEN = 60.0
"""Seconds for which a name is kept that nobody asks for."""

_MOST_NAMES = 4096
_THREADS = 4
"""One name that takes long must not keep the others waiting."""


@dataclass(slots=True)
class _Name:
    asked: float
    """Monotonic seconds; so is the next one."""
    looked_up: float
    hosts: tuple[str, ...] = ()
    is_known: bool = False
    is_pending: bool = True


class Resolver:
    """Knows what names mean, and asks again as long as somebody wants to know."""

    def __init__(self, loop: Loop, changed: Callable[[str], None]) -> None:
        """changed is called, in the loop, with a name that means something else than before."""
        self._background = Background(loop, _THREADS)
        self._changed = changed
        self._names: dict[str, _Name] = {}

    def numeric(self, host: str, port: int) -> str | None:
        """The numeric address of a host: empty when there is none, None as long as nobody knows."""
        name, now = self._names.get(host), time.monotonic()
        if name is None:
            if len(self._names) >= _MOST_NAMES:
                return ""
            self._names[host] = _Name(now, now)
            self._ask(host)
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
            if now - name.asked > _FORGOTTEN:
                del self._names[host]
            elif now - name.looked_up >= _REFRESH:
                name.looked_up, name.is_pending = now, True
                self._ask(host)

    def _ask(self, host: str) -> None:
        self._background.run(lambda: look_up(host), lambda hosts: self._learn(host, hosts))

    def _learn(self, host: str, hosts: tuple[str, ...]) -> None:
        name = self._names[host]
        first, before = not name.is_known, name.hosts[:1]
        name.is_known, name.is_pending = True, False
        if not hosts and (first or before):
            log.warning("nobody knows the name %s%s", host, "; its last address stands" if before else "")
        if not set(before) & set(hosts):
            name.hosts = hosts or name.hosts
        else:  # an address stays in use while it is one of the name's, in whatever order they come
            name.hosts = tuple(dict.fromkeys((*before, *hosts)))
        if first or name.hosts[:1] != before:
            self._changed(host)


def look_up(host: str) -> tuple[str, ...]:
    """The numeric addresses of a name, the best first; none when there are none. May take long."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
