"""What the router itself says when no node answers, if it is asked to (``fastrouter-answer-errors``)."""

import socket
from _socket import socket as PlainSocket
from http import HTTPStatus
from typing import Final

__all__ = ["BAD_REQUEST", "FAILED", "GONE", "NO_ANSWER", "NO_NODE", "TOO_LATE", "UNAVAILABLE", "answer"]

BAD_REQUEST: Final = 400
"""What came is no uwsgi packet, or it names no key."""
NO_NODE: Final = 404
"""Nobody has announced the key."""
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

_RETRY_AFTER = 10
"""Seconds; a node announces itself that often unless told otherwise (uWSGI's subscribe-freq)."""


def answer(client: PlainSocket, status: int) -> bool:
    """Write a whole response. False when the client does not take it."""
    body = f"{HTTPStatus(status).phrase}\n"
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: text/plain",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if status == UNAVAILABLE:
        lines.append(f"Retry-After: {_RETRY_AFTER}")
    try:
        client.send("\r\n".join([*lines, "", body]).encode("ascii"), socket.MSG_DONTWAIT)
    except OSError:
        return False  # it has gone, or is full of something else
    return True
