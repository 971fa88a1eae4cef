"""Sessions that wait for a node to have room for them."""

from itertools import islice

from workers.loop import Event, Loop
from workers.session import Session

__all__ = ["Queue"]

_WOKEN = 32
"""At a time, when nobody can tell whether there is room."""


class Queue:
    """First come, first served, key by key.

    A request that ends in this worker wakes the next one for the same key at once. What other workers do is
    not heard of, so some are woken now and then to look for themselves.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: dict[bytes, dict[Session, None]] = {}
        self._polling = False

    def add(self, session: Session) -> None:
        """Wake a session, with an event of no descriptor, when there may be room for it."""
        self._waiting.setdefault(session.key, {})[session] = None
        if not self._polling:
            self._polling = True
            self._loop.pause(self._poll)

    def discard(self, session: Session) -> None:
        waiting = self._waiting.get(session.key)
        if waiting is not None:
            waiting.pop(session, None)
            if not waiting:
                del self._waiting[session.key]

    def wake(self, key: bytes) -> None:
        """A request for key has ended."""
        waiting = self._waiting.get(key)
        if waiting:
            session = next(iter(waiting))
            self.discard(session)
            self._loop.soon(session.resume)

    def _poll(self, event: Event) -> None:
        for key in list(islice(self._waiting, _WOKEN)):
            self.wake(key)
        self._polling = bool(self._waiting)
        if self._polling:
            self._loop.pause(self._poll)
