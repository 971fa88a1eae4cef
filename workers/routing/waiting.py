"""Requests that wait for a node to have room for them."""

from collections.abc import Callable
from itertools import islice

from workers.loop import Event, Loop

__all__ = ["Ticket", "Waiting"]

_POLLED = 32
"""Pools to look at in one go."""


class Ticket:
    """The place of one request in the queue of a pool. A request that never waits has none."""

    __slots__ = ("is_called", "pool", "resume")

    def __init__(self, pool: bytes, resume: Callable[[Event], object]) -> None:
        self.pool = pool
        self.resume = resume
        self.is_called = False
        """There may be room now."""


class Waiting:
    """A queue for each pool, first come, first served. A pool is known by the key of its nodes.

    A request that ends in this worker calls the next one of its pool at once. This worker does not hear of
    requests that end in other workers, so the first of each queue is called now and then, to look for itself.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.queues: dict[bytes, dict[Ticket, None]] = {}
        self._polling = False

    def add(self, ticket: Ticket) -> None:
        """Call a ticket when there may be room. It keeps its place until it is discarded."""
        self.queues.setdefault(ticket.pool, {})[ticket] = None
        ticket.is_called = False
        if not self._polling:
            self._polling = True
            self._loop.pause(self._poll)

    def discard(self, ticket: Ticket) -> None:
        """Take a ticket out of its queue: its request has a node, or gives up."""
        queue = self.queues.get(ticket.pool)
        if queue is not None:
            queue.pop(ticket, None)
            if not queue:
                del self.queues[ticket.pool]

    def has_others(self, pool: bytes, ticket: Ticket | None) -> bool:
        """Whether requests wait for the pool, and the one with this ticket is not among them."""
        return pool in self.queues and (ticket is None or ticket.pool != pool)

    def call(self, pool: bytes) -> None:
        """Call the next ticket of a pool: one of its requests has ended."""
        for ticket in self.queues.get(pool, ()):
            if not ticket.is_called:
                ticket.is_called = True
                self._loop.soon(ticket.resume)
                return

    def _poll(self, event: Event) -> None:
        for pool in list(islice(self.queues, _POLLED)):
            self.call(pool)
            self.queues[pool] = self.queues.pop(pool)  # the others' turn is next
        self._polling = bool(self.queues)
        if self._polling:
            self._loop.pause(self._poll)
