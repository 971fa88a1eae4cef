"""Whether something is there at an address: looked at again and again, without waiting for it."""

import logging
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from fastrouter.address import host_name, parse_node, show
from fastrouter.packet import HEADER
from workers.background import Background
from workers.loop import Loop
from workers.resolver import look_up

__all__ = ["Checks", "trouble"]

log = logging.getLogger("fastrouter")

_PING = 100
"""modifier1 of uwsgi's ping; the answer has modifier2 1."""

_FIRST_PAUSE, _LAST_PAUSE = 0.05, 1.0
"""Seconds between checks of what is down: short at first, a little longer each time."""

_THREADS = 4


@dataclass(slots=True)
class _Place:
    is_up: bool = False
    next_check: float = 0.0
    """Monotonic seconds."""
    pause: float = _FIRST_PAUSE
    """Until the check after the next one, if it is down still."""
    was_awaited: bool = False
    """Somebody was told that it is not up."""


class Checks:
    """Of some addresses. changed is called, in the loop, when one of them has come up or gone down."""

    def __init__(
        self, loop: Loop, addresses: Iterable[str], ping: bool, timeout: float, changed: Callable[[], None]
    ) -> None:
        self._background = Background(loop, _THREADS)
        self._places = {address: _Place() for address in addresses}
        self._trouble = partial(trouble, ping=ping, timeout=timeout)
        self._changed = changed

    def is_up(self, address: str) -> bool:
        return self._places[address].is_up

    @property
    def are_done(self) -> bool:
        """Whether nothing is being checked."""
        return all(place.next_check < float("inf") or place.is_up for place in self._places.values())

    @property
    def any_is_up(self) -> bool:
        return any(place.is_up for place in self._places.values())

    @property
    def someone_is_awaited(self) -> bool:
        """Whether something is down that may come up at any moment."""
        return any(not place.is_up and place.pause < _LAST_PAUSE for place in self._places.values())

    def begin_anew(self) -> None:
        """What was there is not what is asked for."""
        for address in self._places:
            self._places[address] = _Place()

    def go_on(self, every: float) -> None:
        """Check what it is time to check; what is up, again in so many seconds."""
        now = time.monotonic()
        for address, place in self._places.items():
            if now >= place.next_check:
                place.next_check = float("inf")  # until this one is done
                done = partial(self._has_checked, address, place, every)
                self._background.run(partial(self._trouble, address), done)

    def _has_checked(self, address: str, place: _Place, every: float, problem: str) -> None:
        pause = place.pause
        place.pause = min(1.2 * pause, _LAST_PAUSE)
        if not problem:
            place.pause, pause = _FIRST_PAUSE, every
        elif place.pause == _LAST_PAUSE and not place.was_awaited and not place.is_up:
            place.was_awaited = True
            log.info("%s is not up yet: %s", address, problem)
        place.next_check = time.monotonic() + pause
        if place.is_up == (not problem):
            return
        place.is_up = not problem
        log.info("%s is %s", address, f"down: {problem}" if problem else "up")
        self._changed()


def trouble(address: str, ping: bool, timeout: float) -> str:
    """Why nothing accepts at an address or, if ping is asked for, answers one; empty if it does. Blocks."""
    host = host_name(address)
    if not host:
        return _trouble_at(address, ping, timeout)
    port = int(address.rpartition(":")[2])
    problem = f"nobody knows the name {host}"
    for number in look_up(host):
        problem = _trouble_at(show((number, port)), ping, timeout)
        if not problem:
            break
    return problem


def _trouble_at(address: str, ping: bool, timeout: float) -> str:
    family, sockaddr = parse_node(address)
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(sockaddr)
            if not ping:
                # Reset rather than closed: servers log that somebody came and said nothing.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return ""
            sock.sendall(HEADER.pack(_PING, 0, 0))
            return "" if sock.recv(HEADER.size)[:1] == bytes([_PING]) else "it does not answer pings"
    except OSError as error:
        return error.strerror or str(error)
