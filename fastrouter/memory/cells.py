"""What the cells of shared memory mean. Each has one writer; who that is is said where they are described."""

from typing import Final

__all__ = [
    "APP_CELLS",
    "COUNTERS",
    "HEADER_CELLS",
    "HISTOGRAMS",
    "SLOT_CELLS",
    "UNSERVED",
    "WORKER_CELLS",
    "App",
    "Counter",
    "Histogram",
    "Slot",
    "Table",
    "Unserved",
    "Worker",
]

HEADER_CELLS = 32
WORKER_CELLS = 16
APP_CELLS = 8
SLOT_CELLS = 16
COUNTERS: Final = 8
"""Cells of one node in one router worker: Counter's, and room to keep a node on one cache line."""


class Table:
    """Header cells, written by the subscription server (before it runs, by the master)."""

    GENERATION: Final = 0
    """Moves at every change of routing."""
    SLOTS_USED: Final = 1
    """No slot at or above this number was ever used."""
    LAST_ID: Final = 2
    ACCEPTED: Final = 3
    REFUSED: Final = 4
    """The first of as many cells as there are reasons (subscription.Reason)."""
    PAUSED: Final = 30
    """1 while router workers are to accept nothing, and the application is not to be announced. This and
    the next are written by the master."""
    SILENT: Final = 31
    """1 while announcers are to send nothing at all."""
    END: Final = HEADER_CELLS


class Worker:
    """Cells of one router worker, written by it."""

    ACCEPTED: Final = 0
    SESSIONS: Final = 1
    ERRORS: Final = 2
    GENERATION: Final = 3
    """The generation of the table that it routes by."""
    CHEAP: Final = 4
    BUSY_SINCE: Final = 5
    """Monotonic nanoseconds at which the current turn of the loop began, 0 while it waits. Kept only when
    there is a harakiri."""
    SURPLUS: Final = 6
    """Addresses of nodes whose connections are kept no more, since more than an answer came from there."""
    KINDS: Final = 8
    """The first of the cells that say of what kind the errors were, in the order of
    outcomes.ERRORS."""


UNSERVED: Final = 32
"""Keys without a node that are remembered for each router worker."""


class Unserved:
    """Cells of one such key, written by the router worker that was asked for it."""

    SEQUENCE: Final = 0
    REQUESTS: Final = 1
    END: Final = 2


class App:
    """Cells of one thread of an app worker, written by it."""

    BUSY_SINCE: Final = 0
    """Monotonic nanoseconds at which its current request began, 0 while it waits."""
    REQUESTS: Final = 1


class Slot:
    """Cells of one node. All but MARK are written by the subscription server."""

    SEQUENCE: Final = 0
    LAST_ANNOUNCED: Final = 1
    """Monotonic nanoseconds."""
    CORES: Final = 2
    LOAD: Final = 3
    MARK: Final = 4
    """Written by any router worker that cannot reach the node: the id of an announced node, or the monotonic
    nanoseconds of the failure of a configured one. Workers only ever write the same or something newer."""
    REST: Final = 5
    """Monotonic nanoseconds until which the node rests, or has rested and is on trial; 0 when it is well.
    This and the next two are written by any router worker that sees the node fail or recover (health.py)."""
    RESTS: Final = 6
    """Rests since it was well."""
    TRIAL: Final = 7
    """Requests that it may have at a time while it is on trial."""
    REQUESTS_BEFORE: Final = 8
    """What had been counted in this slot when the node joined; so the next three."""
    RX_BEFORE: Final = 9
    TX_BEFORE: Final = 10
    FAILURES_BEFORE: Final = 11
    REQUESTS_AT_LAST: Final = 12
    """Its requests when it announced itself last."""
    UNANSWERED_BEFORE: Final = 13
    TIMEOUTS_BEFORE: Final = 14
    END: Final = SLOT_CELLS


class Counter:
    """Cells of one node in one router worker, written by that worker."""

    REQUESTS: Final = 0
    ACTIVE: Final = 1
    RX: Final = 2
    """Bytes sent to the node (uWSGI's word for it)."""
    TX: Final = 3
    """Bytes received from the node."""
    FAILURES: Final = 4
    """Of every kind: those that the next two count, and connections that were not made."""
    UNANSWERED: Final = 5
    """The node accepted and closed without an answer."""
    TIMEOUTS: Final = 6
    """It accepted and gave no answer in time."""


class Histogram:
    """Cells of one node in one router worker, written by that worker: how often something took how long.

    The bucket with number n has the times below FIRST << n nanoseconds that the one before has not; the last
    one has all others.
    """

    CONNECT: Final = 0
    """Until the connection was made."""
    RESPONSE: Final = 32
    """From there until the first byte of the answer."""
    BUCKETS: Final = 24
    SUM: Final = 24
    """Nanoseconds of all together; behind the buckets."""
    FIRST: Final = 16_000


HISTOGRAMS: Final = 64
"""Cells of one node in one router worker: both histograms."""
