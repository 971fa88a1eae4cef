"""How a session ended: 0 when a node answered, otherwise the HTTP status that says why none did.

Everything that tells of it is here once: the status, the name that statistics and the log of requests use,
and the cell of a router worker that counts it.
"""

from typing import Final

from fastrouter.memory.cells import Worker

__all__ = [
    "BAD_REQUEST",
    "ERRORS",
    "FAILED",
    "GONE",
    "NO_ANSWER",
    "NO_NODE",
    "TOO_LATE",
    "UNAVAILABLE",
    "error_cell",
    "outcome_word",
]

BAD_REQUEST: Final = 400
"""What came is no uwsgi packet, or it names no key."""
NO_NODE: Final = 404
"""No node has announced the key."""
FAILED: Final = 500
"""The router could not do its part."""
NO_ANSWER: Final = 502
"""The node closed without an answer."""
UNAVAILABLE: Final = 503
"""The key is known, but no node of it can be reached, or none has room."""
TOO_LATE: Final = 504
"""The node did not answer in time."""
GONE: Final = 499
"""The client has left, or somebody broke off; nobody is told (nginx's number for it)."""

ERRORS: Final = {
    BAD_REQUEST: "bad_request",
    NO_NODE: "no_node",
    FAILED: "failed",
    NO_ANSWER: "no_answer",
    UNAVAILABLE: "unavailable",
    TOO_LATE: "too_late",
    GONE: "gone",
}
"""Names by status, in the order of their cells. The order is part of the shared format."""

_CELLS: Final = {status: Worker.KINDS + at for at, status in enumerate(ERRORS)}


def error_cell(status: int) -> int:
    """The cell of a router worker that counts such errors."""
    return _CELLS[status]


def outcome_word(status: int) -> str:
    """What the log of requests calls it."""
    return ERRORS[status].replace("_", " ") if status else "answered"
