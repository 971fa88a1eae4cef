"""Whether something is there at an address: looked at again and again, without waiting for it."""

import logging
import re
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from fastrouter.address import Dial, host_name, parse_node, show
from fastrouter.text import in_words
from fastrouter.wire.packet import encode
from workers.background import Background
from workers.loop import Loop
from workers.resolver import look_up

__all__ = ["Reachability", "trouble"]

log = logging.getLogger("fastrouter")

_PING = encode([(b"PING", b"\r\n\r\n")], modifier1=100)
"""uwsgi's ping; the answer has the same modifier1. To HTTP it is a wrong request, but a whole one."""

_HALF_A_REQUEST = encode([(b"PING", b"\r\n\r\n.")])[:-1]
"""The same for HTTP, but not for uwsgi, where something is missing."""

_HTTP_ERROR = re.compile(rb"HTTP/1\.. 4|<")
"""How HTTP servers answer that; some answer with a page alone, as in version 0.9."""

SPEAKS_HTTP = "it speaks HTTP, not uwsgi"

_AFTER_HTTP = 60.0
"""Seconds between checks of what speaks HTTP, and logs every one."""

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


class Reachability:
    """Of some addresses. changed is called, in the loop, when one of them has come up or gone down."""

    def __init__(
        self,
        loop: Loop,
        addresses: Iterable[str],
        check: Callable[[str, bool], str],
        changed: Callable[[], None],
    ) -> None:
        """check says what is wrong at an address, which it is to greet or not (trouble)."""
        self._background = Background(loop, _THREADS)
        self._places = {address: _Place() for address in addresses}
        self._check = check
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

    def go_on(self, every: float, greets: bool = False) -> None:
        """Check what it is time to check; what is up, again in so many seconds.

        Who comes up is greeted, to see whether it speaks uwsgi.
        """
        now = time.monotonic()
        for address, place in self._places.items():
            if now >= place.next_check:
                place.next_check = float("inf")  # until this one is done
                done = partial(self._has_checked, address, place, every)
                self._background.run(partial(self._check, address, greets and not place.is_up), done)

    def _has_checked(self, address: str, place: _Place, every: float, problem: str) -> None:
        pause = place.pause
        place.pause = min(1.2 * pause, _LAST_PAUSE)
        if not problem:
            place.pause, pause = _FIRST_PAUSE, every
        elif problem == SPEAKS_HTTP:
            place.pause, pause = _LAST_PAUSE, _AFTER_HTTP
            log.error("%s is not announced: %s, which routers speak to nodes", address, problem)
        elif place.pause == _LAST_PAUSE and not place.was_awaited and not place.is_up:
            place.was_awaited = True
            log.info("%s is not up yet: %s", address, problem)
        place.next_check = time.monotonic() + pause
        if place.is_up == (not problem):
            return
        place.is_up = not problem
        log.info("%s is %s", address, f"down: {problem}" if problem else "up")
        self._changed()


def trouble(address: str, ping: bool, greets: bool, timeout: float) -> str:
    """What is wrong at an address; empty if nothing is. Blocks.

    Wrong is that nothing accepts; that something answers no ping, if ping is asked for; and that it speaks
    HTTP, if it is to be greeted.
    """
    host = host_name(address)
    if not host:
        return _trouble_at(parse_node(address), ping, greets, timeout)
    port = int(address.rpartition(":")[2])
    problem = f"nobody knows the name {host}"
    for number in look_up(host):
        problem = _trouble_at(parse_node(show((number, port))), ping, greets, timeout)
        if not problem:
            break
    return problem


def _trouble_at(dial: Dial, ping: bool, greets: bool, timeout: float) -> str:
    try:
        with _connected(dial, timeout) as sock:
            if not ping and not greets:
                return ""
            answer = _answer(sock, _PING)
        if answer[:1] == _PING[:1]:
            return ""
        if _HTTP_ERROR.match(answer):
            # Some who speak uwsgi may take a ping for a request; but nobody takes half a packet for one.
            with _connected(dial, timeout) as sock:
                if _HTTP_ERROR.match(_answer(sock, _HALF_A_REQUEST)):
                    return SPEAKS_HTTP
    except OSError as error:
        return in_words(error)
    return "it does not answer pings" if ping else ""


def _connected(dial: Dial, timeout: float) -> socket.socket:
    """Raises OSError. Closing will be a reset: servers log that somebody came and said nothing."""
    sock = socket.socket(dial.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(dial.sockaddr)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        sock.close()
        raise
    return sock


def _answer(sock: socket.socket, packet: bytes) -> bytes:
    """How the answer begins; empty when there is none."""
    try:
        sock.sendall(packet)
        return sock.recv(64)
    except OSError:
        return b""
