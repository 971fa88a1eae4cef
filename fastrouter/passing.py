"""Passed descriptors: how a server takes over the connection of a client from the router.

A node that has announced ``fd_passing=1`` gets the client's descriptor together with the packet, over its
UNIX socket, and answers the client itself. A server in Python does so with one call for every connection that
it accepts::

    connection, _ = listener.accept()
    connection = take(connection)  # from here on it is the client
    try:
        serve(connection)
    finally:
        connection.close()

``docs/protocol.md`` says what is sent. This file needs nothing but the standard library: use it as
``fastrouter.passing`` or copy it.
"""

import array
import contextlib
import errno
import os
import re
import socket
import struct
import time
from typing import Any

__all__ = ["REPORT", "Taken", "discard", "hang_up", "take"]

REPORT = b"\x06"
"""What a report begins with."""

_MOST_AHEAD = 1 << 20
"""Bytes of a body that may come ahead with the packet; a router has read no more than a few thousand."""

_MOST_DISCARDED = 1 << 22
"""Bytes of a body that the server did not want, and that are read all the same; the next in seconds."""
_LINGER = 2.0

_PEEK = socket.MSG_PEEK | socket.MSG_CMSG_CLOEXEC
_HEADER = struct.Struct("<BHB")
_STATUS_AT = len("HTTP/1.1 ")
_DIGITS = re.compile(rb"[0-9]{1,19}")


def take(connection: socket.socket) -> socket.socket:
    """The socket to serve what was accepted on: the client's, when the router has passed it, else connection.

    Waits for the packet as long as connection's timeout, which the client's socket gets too. Raises EOFError
    when connection ends before the packet does, OSError; then connection is still to be closed.
    """
    if connection.family != socket.AF_UNIX:
        return connection
    first, found, flags, _ = connection.recvmsg(1, socket.CMSG_SPACE(4), _PEEK)
    if not first:
        raise EOFError("the connection ended before a request")
    descriptors = array.array("i")
    for level, kind, data in found:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    if flags & socket.MSG_CTRUNC or len(descriptors) > 1:
        for descriptor in descriptors:
            os.close(descriptor)
        raise OSError(errno.EMFILE, "there was no room for the client's descriptor, or there were several")
    if not descriptors:
        return connection
    client = descriptors[0]
    try:
        ahead, is_last, left = _request(connection)
        return Taken(client, ahead, connection, is_last, left)
    except BaseException:
        os.close(client)
        raise


class Taken(socket.socket):
    """A client's socket, whose request was read from another one.

    What came from there is read first. When it is closed, the router hears what became of the request.
    """

    def __init__(self, client: int, ahead: bytes, router: socket.socket, is_last: bool, left: int) -> None:
        """is_last says that the router's connection is good for no other request; left is how many bytes of
        the body are still to come from the client."""
        super().__init__(fileno=client)
        self._ahead = ahead
        self._router: socket.socket | None = router
        self._is_last = is_last
        self._first = b""
        self._sent = 0
        self._left = left
        self.settimeout(router.gettimeout())

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        if not self._ahead:
            data = super().recv(bufsize, flags)
            self._left -= 0 if flags & socket.MSG_PEEK else len(data)
            return data
        data = self._ahead[:bufsize]
        if not flags & socket.MSG_PEEK:
            self._ahead = self._ahead[bufsize:]
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        if not self._ahead:
            n = super().recv_into(buffer, nbytes, flags)
            self._left -= 0 if flags & socket.MSG_PEEK else n
            return n
        with memoryview(buffer) as view, view.cast("B") as room:
            data = self.recv(nbytes or len(room), flags)
            room[: len(data)] = data
        return len(data)

    def send(self, data: Any, flags: int = 0, /) -> int:
        n = super().send(data, flags)
        self._count(data, n)
        return n

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        super().sendall(data, flags)
        self._count(data, memoryview(data).nbytes)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        before = self._sent
        n = super().sendfile(file, offset, count)
        self._sent = before + n
        return n

    def close(self) -> None:
        """Let the client go, and tell the router. Files that were made of it are to be closed before."""
        if self.fileno() >= 0:
            with contextlib.suppress(OSError):
                self.shutdown(socket.SHUT_WR)  # the router may have the connection open still
                discard(self, self._left)
        super().close()
        if self.fileno() < 0 and self._router is not None:
            self._report(self._router)
            hang_up(self._router)
            self._router = None

    def release(self) -> socket.socket | None:
        """The same, but keep the connection to the router: when something comes, take() the next request.

        None when that was the last one. Only for a server that will look at it at once: a request that waits
        here does not go to anybody else.
        """
        router, self._router = self._router, None
        if router is not None:
            self._report(router)  # first, so that the client's next request finds it free
        self.close()
        if router is None or not self._is_last:
            return router
        hang_up(router)
        return None

    def _report(self, router: socket.socket) -> None:
        with contextlib.suppress(OSError):
            router.send(b"%b%b %d" % (REPORT, self._status(), self._sent), socket.MSG_NOSIGNAL)

    def _count(self, data: Any, n: int) -> None:
        self._sent += n
        if len(self._first) < _STATUS_AT + 3:
            self._first += bytes(memoryview(data).cast("B")[: _STATUS_AT + 3])

    def _status(self) -> bytes:
        status = self._first[_STATUS_AT : _STATUS_AT + 3]
        return status if self._first.startswith(b"HTTP/") and status.isdigit() else b""


def hang_up(connection: socket.socket) -> None:
    """Close a connection, whoever has it open besides: a server may have forked."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def discard(connection: socket.socket, size: int) -> None:
    """Read what nobody wants of a body, when the answer is out and the connection is shut down for writing.

    To close with bytes unread resets the connection, and the answer may be lost with it (RFC 9112, 9.6). No
    more than size bytes are read, and neither much nor for long. Raises OSError.
    """
    left, deadline = min(size, _MOST_DISCARDED), time.monotonic() + _LINGER
    while left > 0 and (seconds := deadline - time.monotonic()) > 0:
        connection.settimeout(seconds)
        data = connection.recv(min(left, 65536))
        if not data:
            return
        left -= len(data)


def _request(connection: socket.socket) -> tuple[bytes, bool, int]:
    """The packet, and what the router has read of the body; whether its side of the connection ended; how
    much of the body is still to come."""
    header = _exactly(connection, _HEADER.size)
    block = _exactly(connection, _HEADER.unpack(header)[1])
    ahead, size = bytearray(), _body_size(block)
    while size > len(ahead) and (data := connection.recv(65536)):
        ahead += data
        if len(ahead) > _MOST_AHEAD:
            raise OSError(errno.EMSGSIZE, f"over {_MOST_AHEAD} bytes came with the client's descriptor")
    return header + block + bytes(ahead), size > 0, size - len(ahead)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError(f"the connection ended after {len(data)} of {size} bytes")
        data += more
    return bytes(data)


def _body_size(block: bytes) -> int:
    """What CONTENT_LENGTH says in a block of variables, 0 without it."""
    at, words = 0, []
    while at + 2 <= len(block):
        end = at + 2 + int.from_bytes(block[at : at + 2], "little")
        words.append(block[at + 2 : end])
        at = end
    length = dict(zip(words[::2], words[1::2], strict=False)).get(b"CONTENT_LENGTH", b"")
    digits = _DIGITS.match(length)  # the router reads it in just this way
    return int(digits[0]) if digits else 0
