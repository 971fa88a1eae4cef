"""What the router itself says when no node answers, if it is asked to (``fastrouter-answer-errors``)."""

import socket
from _socket import socket as PlainSocket
from http import HTTPStatus

from fastrouter.memory.outcomes import UNAVAILABLE

__all__ = ["answer"]

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
