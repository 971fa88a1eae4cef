"""Sessions that wait for a node to have room for them."""

from itertools import islice

from workers.loop import Event, Loop
from workers.routing.session import Session

__all__ = ["Waiting"]

_POLLED = 32
"""Pools to look at in one go."""


class Waiting:
    """First come, first served, pool by pool; a pool is known by the key of its nodes.

    A request that ends in this worker wakes the next session of its pool at once. What other workers do is
    not heard of, so the first of each pool is woken now and then to look for itself.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.waiting: dict[bytes, dict[Session, None]] = {}
        self._polling = False

    def add(self, session: Session, pool: bytes) -> None:
        """Wake a session when there may be room for it. It keeps its place until it is discarded."""
        if session.waits_for != pool:
            self.discard(session)
            session.waits_for = pool
        self.waiting.setdefault(pool, {})[session] = None
        session.woken = False
        if not self._polling:
            self._polling = True
            self._loop.pause(self._poll)

    def discard(self, session: Session) -> None:
        """It has what it wanted, or gives up."""
        pool = session.waits_for
        waiting = None if pool is None else self.waiting.get(pool)
        session.waits_for = None
        if pool is not None and waiting is not None:
            waiting.pop(session, None)
            if not waiting:
                del self.waiting[pool]

    def has_others(self, pool: bytes, session: Session) -> bool:
        """Whether there are sessions that wait for the pool, and this is none of them."""
        return pool in self.waiting and session.waits_for != pool

    def wake(self, pool: bytes) -> None:
        """A request to the pool has ended: one more may try."""
        for session in self.waiting.get(pool, ()):
            if not session.woken:
                session.woken = True
                self._loop.soon(session.resume)
                return

    def _poll(self, event: Event) -> None:
        for pool in list(islice(self.waiting, _POLLED)):
            self.wake(pool)
            self.waiting[pool] = self.waiting.pop(pool)  # the others' turn is next
        self._polling = bool(self.waiting)
        if self._polling:
            self._loop.pause(self._poll)
