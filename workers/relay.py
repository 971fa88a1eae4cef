"""Moving bytes between a client and its node, both ways at once.

Only the node is watched as a rule. The client is watched when there is something to wait for from it: a body,
room for what it has not taken yet, or, once the session is old enough, its leaving.
"""

import socket
import time
from _socket import socket as PlainSocket
from collections.abc import Generator
from typing import TYPE_CHECKING, Final

from fastrouter.cells import Counter, Histogram
from fastrouter.node import Node
from workers.answers import NO_ANSWER, TOO_LATE
from workers.loop import ERR, HUP, IN, OUT, RDHUP, Event

if TYPE_CHECKING:
    from workers.session import Session

__all__ = ["Bytes", "ClientGone", "linger", "read_client", "relay", "send"]

_GONE: Final = HUP | ERR

# As in <sys/socket.h>. The client's socket is left as accept(2) made it: to say so with each call is cheaper
# than to make it non-blocking first.
MSG_DONTWAIT: Final = 0x40
_LAST: Final = MSG_DONTWAIT | 0x8000  # MSG_MORE: the end of the connection follows at once

_FAIR: Final = 16
"""Full buffers to move for one session before others have their turn."""

_ENDED: Final = -1
"""Bytes still to come from a client that has closed its side."""

_LINGER: Final = 2
"""Seconds to go on reading from a client after its answer (nginx's lingering_timeout is 5)."""


class ClientGone(Exception):
    """There is nobody to answer any more."""


Bytes = bytes | memoryview
"""What is to be sent: as a view where it is large, so that what was sent is cut off without a copy."""


def relay(session: "Session", sock: PlainSocket, node: Node, rest: Bytes) -> Generator[None, Event, int]:
    """Move bytes until the node has said everything; rest is what it still has to be sent of the packet.

    Returns 0, or the status of a failure; raises ClientGone, and TimeoutError when the client made no move.
    """
    router, client = session.router, session.client
    client_fd, node_fd = session.client_fd, session.node_fd
    resume, buffer, body = session.resume, router.buffer, session.body
    left, down = session.body_left, b""
    up = _begin(session, node, rest)
    received, uploaded = 0, len(session.packet) + (0 if rest else len(up))
    node_events = client_events = 0
    try:
        while True:
            # What is watched follows from what can move: nothing is read that cannot be passed on.
            wanted = (OUT if up else 0) | (0 if down else IN | RDHUP)
            if wanted != node_events:
                node_events = router.loop.watch_or_not(node_fd, wanted, resume)
            listening = not up and left != _ENDED and (left != 0 or session.old)
            wanted = (OUT if down else 0) | (IN if listening else 0)
            if wanted != client_events:
                client_events = router.loop.watch_or_not(client_fd, wanted, resume)
            fd, events = yield
            if fd >= 0:
                session.touched = router.seconds
            if fd == node_fd:
                if up and events != IN:
                    up = send(sock, up)
                    if body is not None and not up:
                        up = body.read()
                        uploaded += len(up)
                if not down and events != OUT:
                    if not received and session.record is not None:
                        session.record.look_at(sock)
                    n, down, ended = _download(sock, client, buffer, (events & RDHUP) != 0)
                    if n and not received:
                        _answers(session, node)
                    received += n
                    if ended:
                        break
            elif fd == client_fd:
                if down and events != IN:
                    down = down[_write(client, down) :]
                if events & IN and listening:
                    data = read_client(client, len(buffer))
                    if data:
                        session.repeatable = False
                        up, uploaded = send(sock, data), uploaded + len(data)
                        left = left and max(left - len(data), 0)
                    elif data is not None:
                        left = _ENDED
                        _shutdown(sock)
                elif events & _GONE:
                    raise ClientGone
    except TimeoutError:
        if down or not (up or left == 0 or left == _ENDED):
            raise  # it was not the node that everybody waited for
        return _too_late(session, node, received)
    finally:
        _count(session, node, uploaded - len(up), received)
    return _ended(session, node, received, left)


def _begin(session: "Session", node: Node, rest: Bytes) -> Bytes:
    """Count the request; returns what the node has to be sent first."""
    router, body = session.router, session.body
    session.touched, session.limit = router.seconds, router.timeout
    now = time.monotonic_ns()
    router.counters.took(node, Histogram.CONNECT, now - session.started)
    if session.record is not None:
        session.record.connected(node.address, now - session.started)
    session.started = now
    router.counters.connected(node)
    if body is None:
        return rest
    body.rewind()
    return rest or body.read()


def _answers(session: "Session", node: Node) -> None:
    """Note how long the first byte took."""
    nanoseconds = time.monotonic_ns() - session.started
    session.router.counters.took(node, Histogram.RESPONSE, nanoseconds)
    if session.record is not None:
        session.record.response = nanoseconds


def _count(session: "Session", node: Node, sent: int, received: int) -> None:
    """Count the bytes that were moved, and leave the client to whoever is next."""
    session.router.counters.moved(node, sent, received)
    if session.record is not None:
        session.record.moved(sent, received)
    session.router.loop.unwatch(session.client_fd)


def _too_late(session: "Session", node: Node, received: int) -> int:
    """The node says no more. Returns what relay does."""
    if received:
        return 0
    session.router.failed(session, node, Counter.TIMEOUTS)
    return TOO_LATE


def _ended(session: "Session", node: Node, received: int, left: int | None) -> int:
    """The node has closed. Returns what relay does."""
    if not received:
        session.router.failed(session, node, Counter.UNANSWERED)
        return NO_ANSWER
    session.router.health.answered(node)
    session.body_left = left
    return 0


def linger(session: "Session") -> Generator[None, Event, None]:
    """The answer is out, but the client may still send: closing now would reset it before it reads that."""
    router, client = session.router, session.client
    session.touched, session.limit = router.seconds, _LINGER
    _shutdown(client)
    try:
        if read_client(client, 65536) != b"":
            router.loop.watch(session.client_fd, IN, session.resume)
            while read_client(client, 65536) != b"":
                yield
    except OSError:
        pass  # a TimeoutError, or it has gone


def read_client(client: PlainSocket, size: int) -> bytes | None:
    """Up to size bytes, none at the end of file; None when there is nothing to read yet."""
    try:
        return client.recv(size, MSG_DONTWAIT)
    except BlockingIOError:
        return None


def send(sock: PlainSocket, data: Bytes) -> Bytes:
    """Send to the node; returns what did not fit."""
    try:
        n = sock.send(data)
    except BlockingIOError:
        return data
    except (BrokenPipeError, ConnectionResetError):
        return b""  # it takes no more, but its answer may be on the way
    return memoryview(data)[n:] if n < len(data) else b""


def _write(client: PlainSocket, data: Bytes, flags: int = MSG_DONTWAIT) -> int:
    """Write to the client; returns the number of bytes taken."""
    try:
        return client.send(data, flags)
    except BlockingIOError:
        return 0


def _download(
    sock: PlainSocket, client: PlainSocket, buffer: memoryview, closing: bool
) -> tuple[int, bytes, bool]:
    """Move what the node has said to the client.

    closing says that the node had closed its side before this call: a read that comes out short was its last,
    and the one that would say so is spared.
    Returns the bytes received, those that the client did not take, and whether the node has said everything.
    """
    received, size = 0, len(buffer)
    while True:
        try:
            n = sock.recv_into(buffer)
        except BlockingIOError:
            return received, b"", False
        except ConnectionError:
            return received, b"", True
        if not n:
            return received, b"", True
        received += n
        # All that was there has been read when less came than would fit; if the node had closed by then,
        # that was everything, and goes out in one segment with the end of the connection.
        ended = closing and n < size
        sent = _write(client, buffer[:n], _LAST if ended else MSG_DONTWAIT)
        if sent < n:
            return received, bytes(buffer[sent:n]), False
        if n < size or received > _FAIR * size:
            return received, b"", ended


def _shutdown(sock: PlainSocket) -> None:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it is closed already
