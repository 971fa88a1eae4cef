"""Whether a router worker accepts: it does while nothing speaks against it."""

import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Final

from fastrouter.text import to_bytes
from workers.context import Listener
from workers.loop import EXCLUSIVE, IN, Event, Loop

__all__ = ["Acceptor", "Reason"]

log = logging.getLogger("fastrouter")

_BACKLOG = 4096
"""Most connections to take from one backlog before leaving; more than Linux lets wait by default."""


_BATCH: Final = 16
"""Connections to accept at a time. Sessions that run abreast wake their nodes less often than one by one."""


# As in <netinet/in.h> and <linux/tcp.h>.
_TCP: Final = 6
_INFO: Final = 11
_UNACKED: Final = 24
"""Of struct tcp_info, tcpi_unacked: for a listening socket, the length of its queue."""


class Reason(Enum):
    """Why a worker does not accept. Connections wait in the backlog, or another process takes them."""

    CHEAP = "cheap"
    FULL = "full"
    """It has as many sessions as its descriptors allow."""
    EXHAUSTED = "exhausted"
    """The kernel gave none; asked again a second later."""
    DRAINING = "draining"
    PAUSED = "paused"
    """The operator wants it so."""


class Acceptor:
    """Watches the listening sockets, or does not watch them at all."""

    def __init__(
        self,
        loop: Loop,
        listeners: Sequence[Listener],
        contested: Sequence[Listener],
        keys: Mapping[int, bytes],
        keep_up: Callable[[], None],
        admit: Callable[[int, bytes, object], None],
    ) -> None:
        """keys are what listeners are called, by descriptor. admit is called for each connection, with its
        descriptor, the key of the listener, and the address of the client.

        keep_up is called before connections are accepted, and may close the gate.

        contested are the listeners that the local application accepts on as well.

        The kernel tends to wake the same waiter again and again: among equal workers that is harmless, but
        between the router and the application it would leave one of them out.
        """
        self.reasons: set[Reason] = set()
        self._loop = loop
        self._keep_up = keep_up
        self._admit = admit
        self._open = False
        self._is_out = False
        """The kernel gave nothing when it was asked last."""
        # Of the C type: it returns a bare descriptor; making a socket object of it would cost two calls.
        self._accepts: dict[int, tuple[Callable[[], tuple[int, object]], bytes]] = {
            listener.socket.fileno(): (
                listener.socket._accept,  # type: ignore[attr-defined]
                keys.get(listener.socket.fileno(), to_bytes(listener.name)),
            )
            for listener in listeners
        }
        self._queues: dict[int, Callable[[int, int, int], bytes]] = {
            listener.socket.fileno(): listener.socket.getsockopt
            for listener in listeners
            if listener.socket.family != socket.AF_UNIX
        }
        """What tells how many connections wait, where the kernel says."""
        self._contested = {listener.socket.fileno() for listener in contested}

    def close(self, reason: Reason) -> bool:
        """Do not accept for a reason. False when that reason was there already."""
        if reason in self.reasons:
            return False
        self.reasons.add(reason)
        self.update()
        return True

    def reopen(self, reason: Reason) -> bool:
        """A reason is gone. False when it was not there."""
        if reason not in self.reasons:
            return False
        self.reasons.remove(reason)
        self.update()
        return True

    def update(self) -> None:
        """Watch or leave alone, as the reasons say."""
        if self._open is not bool(self.reasons):
            return
        self._open = not self.reasons
        for fd in self._accepts:
            if self._open:
                exclusive = 0 if fd in self._contested else EXCLUSIVE
                self._loop.watch(fd, IN | exclusive, self._accept)
            else:
                self._loop.unwatch(fd)

    def accept_waiting(self) -> None:
        """Take what waits in the backlogs, for a worker that is about to leave."""
        for fd in self._accepts:
            for _ in range(_BACKLOG):
                if self.reasons or not self._take(fd):
                    break

    def _accept(self, event: Event) -> None:
        self._keep_up()
        if self.reasons or not self._take(event[0]):
            return
        for _ in range(min(self._waiting(event[0]), _BATCH - 1)):
            if self.reasons or not self._take(event[0]):
                return

    def _waiting(self, fd: int) -> int:
        """How many more connections wait, as far as the kernel says: an accept in vain costs an exception."""
        ask = self._queues.get(fd)
        if ask is None:
            return _BATCH
        info = ask(_TCP, _INFO, _UNACKED + 4)
        return info[_UNACKED] | info[_UNACKED + 1] << 8

    def _take(self, fd: int) -> bool:
        accept, key = self._accepts[fd]
        try:
            client, address = accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False  # another worker was faster, or the client did not wait
        except OSError as error:
            # No descriptors, no memory, or what accept(2) passes on from the network.
            self.close(Reason.EXHAUSTED)
            if not self._is_out:
                self._is_out = True
                log.error("cannot accept: %s; trying again every second", error.strerror)
            return False
        if self._is_out:
            self._is_out = False
            log.info("accepting again")
        self._admit(client, key, address)
        return True
