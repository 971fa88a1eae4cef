"""Moving bytes between a client and its node, both ways at once.

Only the node is watched as a rule. The client is watched when there is something to wait for from it: a body,
room for what it has not taken yet, or, once the session is old enough, its leaving.
"""

import socket
import time
from _socket import socket as PlainSocket
from collections.abc import Generator
from typing import Final

from fastrouter.memory.cells import Counter, Histogram
from fastrouter.memory.outcomes import NO_ANSWER, TOO_LATE
from fastrouter.routing.node import Node
from fastrouter.wire.framing import Framing
from workers.loop import ERR, HUP, IN, OUT, RDHUP, Event
from workers.routing.session import ClientGone, Session

__all__ = [
    "Bytes",
    "answers",
    "begin",
    "count",
    "hang_up",
    "linger",
    "read_client",
    "relay",
    "send",
    "shutdown",
    "too_late",
]

_GONE: Final = HUP | ERR

# As in <sys/socket.h>. The client's socket is left as accept(2) made it: to say so with each call is cheaper
# than to make it non-blocking first.
MSG_DONTWAIT: Final = 0x40
_LAST: Final = MSG_DONTWAIT | 0x8000  # MSG_MORE: the end of the connection follows at once

_FIRST: Final = 65536
"""Bytes to move at first; twice as many each time that so many were there and were taken, as long as others
can wait."""

_ENDED: Final = -1
"""Bytes still to come from a client that has closed its side."""

_LINGER: Final = 2
"""Seconds to go on reading from a client after its answer (nginx's lingering_timeout is 5)."""


_HOLD: Final = 50_000_000
"""Nanoseconds for a node to answer without the rest of the body, and then to end without it. Linux takes what
is sent within 40 ms of what came (TCP_ATO_MIN) for a reply."""

_REMEMBERED: Final = 60
"""Seconds since a node reset a connection in which it may do so again."""

_UNIX: Final = 1

_now: Final = time.monotonic_ns


Bytes = bytes | memoryview
"""What is to be sent: as a view where it is large, so that what was sent is cut off without a copy."""


def relay(session: Session, node: Node, rest: Bytes) -> Generator[None, Event, int]:
    """Move bytes until the node has said everything; rest is what it still has to be sent of the packet.
    Returns 0, or the status of a failure; raises ClientGone, and TimeoutError when the client made no move.
    """
    engine, client, sock, framing = session.engine, session.client, session.sock, session.framing
    assert sock is not None
    client_fd, node_fd, resume = session.client_fd, session.node_fd, session.resume
    body, left, up, uploaded, client_events = session.body, session.body_left, rest, len(session.packet), 0
    down = _begun(session, node) if session.ahead else b""
    received = len(down)
    node_events = engine.loop.take_over(node_fd, IN | RDHUP, resume) if session.is_reused else 0
    held_until = _hold(session, node) if left or body is not None else 0
    try:
        while True:
            # What is watched follows from what can move: nothing is read that cannot be passed on.
            wanted = (OUT if up or (body is not None and not held_until) else 0) | (0 if down else IN | RDHUP)
            if wanted != node_events:
                node_events = engine.loop.watch_or_not(node_fd, wanted, resume)
            listening = not up and left != _ENDED and (not held_until if left != 0 else session.old)
            wanted = (OUT if down else 0) | (IN if listening else 0)
            if wanted != client_events:
                client_events = engine.loop.watch_or_not(client_fd, wanted, resume)
            fd, events = yield
            if fd >= 0:
                session.touched = engine.seconds
            elif held_until:
                held_until = _hold_on(session, held_until)
            if fd == node_fd:
                if up and events != IN:
                    up = send(sock, up)
                if body is not None and not up and not held_until and events != IN:
                    uploaded += body.send(node_fd)
                    body = None if body.is_sent else body
                if not down and events != OUT:
                    n, down, ended = _download(session, sock, events & (RDHUP | ERR) == RDHUP)
                    if n and not received:
                        answers(session, node)
                        held_until = held_until and _now() + _HOLD
                    received += n
                    if ended:
                        break
            elif fd == client_fd:
                if down and events != IN:
                    down = down[_write(client, down) :]
                    if not down and framing is not None and framing.is_done:
                        break
                if events & IN and listening:
                    n, up, left = _upload(session, sock, left)
                    uploaded += n
                elif events & _GONE:
                    raise ClientGone
    except TimeoutError:
        if down or not (up or body is not None or left == 0 or left == _ENDED):
            raise  # it was not the node that everybody waited for
        return 0 if received else too_late(session, node)
    finally:
        count(session, node, uploaded - len(up), received)
    if fd == node_fd and events & _GONE and left != _ENDED:
        _note_reset(session)
    return _ended(session, node, received, left, node_events == IN | RDHUP and not up)


def begin(session: Session, node: Node) -> None:
    """Count the request: the node is connected."""
    engine = session.engine
    session.touched, session.limit = engine.seconds, engine.timeout
    now = _now()
    session.nodes.counters.took(node, Histogram.CONNECT, now - session.started)
    if session.record is not None:
        session.record.connected(node.address, now - session.started)
    session.started = now
    session.nodes.counters.connected(node)
    session.framing = Framing(session.is_head) if node.keeps and session.body_left is not None else None
    if session.body is not None:
        session.body.rewind()


def _begun(session: Session, node: Node) -> bytes:
    """The beginning of an answer, read before it was known to be one. Returns what the client is told."""
    ahead = session.ahead
    answers(session, node)
    if session.record is not None:
        session.record.look_at(ahead)
    return ahead if session.framing is None else ahead[: session.framing.feed(ahead)]


def answers(session: Session, node: Node) -> None:
    """Note how long the first byte of an answer took."""
    nanoseconds = _now() - session.started
    session.nodes.counters.took(node, Histogram.RESPONSE, nanoseconds)
    if session.record is not None:
        session.record.response = nanoseconds


def _hold(session: Session, node: Node) -> int:
    """Do not send more of a body than came with the packet, for now, to a node that has left one unread.

    A node that closes with bytes unread resets the connection (RFC 9293, 3.6.1). Its kernel then throws away
    what Nagle's algorithm holds back until our kernel acknowledges what came before. Ours does so at once,
    unless data was sent soon after data came: then it takes the connection for a dialogue, and delays.
    Returns until when, in monotonic nanoseconds; 0 for a node that need not wait.
    """
    if node.family == _UNIX or node.resets_until <= session.engine.seconds:
        return 0
    session.engine.loop.pause(session.resume)
    return _now() + _HOLD


def _note_reset(session: Session) -> None:
    """The node has reset the connection, or is likely to have: its end came while ours was open."""
    if session.node is not None:
        session.node.resets_until = session.engine.seconds + _REMEMBERED


def _hold_on(session: Session, until: int) -> int:
    """Look whether it has been long enough: 0 when it has, or until when."""
    if _now() >= until:
        return 0
    session.engine.loop.pause(session.resume)
    return until


def count(session: Session, node: Node, sent: int, received: int) -> None:
    """Count the bytes that were moved, and leave the client to whoever is next."""
    session.nodes.counters.moved(node, sent, received)
    if session.record is not None:
        session.record.moved(sent, received)
    session.engine.loop.unwatch(session.client_fd)


def too_late(session: Session, node: Node) -> int:
    """The node has said nothing in time. Returns the status for that."""
    session.nodes.failed(session.key, node, Counter.TIMEOUTS)
    return TOO_LATE


def _ended(session: Session, node: Node, received: int, left: int | None, is_quiet: bool) -> int:
    """The answer is over. Returns what relay does; is_quiet says that the node has all of the request."""
    if not received:
        if not session.is_reused:
            session.nodes.failed(session.key, node, Counter.UNANSWERED)
        return NO_ANSWER
    session.nodes.health.answered(node)
    session.body_left = left
    framing = session.framing
    if framing is not None:
        if framing.has_surplus:
            session.nodes.distrust(session.key, node)
        elif is_quiet and left == 0 and not session.surplus and framing.is_done and framing.is_free:
            session.keep_connection(node)
    return 0


def linger(session: Session) -> Generator[None, Event, None]:
    """The answer is out, but the client may still send: closing now would reset it before it reads that."""
    engine, client = session.engine, session.client
    session.touched, session.limit = engine.seconds, _LINGER
    shutdown(client)
    try:
        if read_client(client, 65536) != b"":
            engine.loop.watch(session.client_fd, IN, session.resume)
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


def _download(session: Session, sock: PlainSocket, closing: bool) -> tuple[int, bytes, bool]:
    """Move what the node has said to the client.

    closing says that the node had closed its side before this call, and was not reset: a read that comes out
    short was its last, and the one that would say so is spared.
    Returns the bytes received, those that the client did not take, and whether the node has said everything.
    """
    client, buffer, framing = session.client, session.engine.buffer, session.framing
    if session.record is not None and not session.record.status:
        session.record.peek_at(sock)
    received, size = 0, min(_FIRST, len(buffer))
    while True:
        try:
            n = sock.recv_into(buffer, size)
        except BlockingIOError:
            return received, b"", False
        except ConnectionError:
            _note_reset(session)
            return received, b"", True
        if not n:
            return received, b"", True
        is_short = n < size
        if framing is not None:
            n = framing.feed(bytes(buffer[:n]))
            closing = closing or framing.is_done
            is_short = is_short or framing.is_done
        received += n
        # All that was there has been read when less came than would fit; if the node had closed by then,
        # that was everything, and goes out in one segment with the end of the connection.
        ended = closing and is_short
        sent = _write(client, buffer[:n], _LAST if ended else MSG_DONTWAIT)
        if sent < n:
            return received, bytes(buffer[sent:n]), False
        if ended and session.engine.is_alone() and session.body_left == 0 and not session.old:
            client.close()  # at once, as the answer goes out with it; it is neither watched nor read from
        if is_short or size == len(buffer):
            return received, b"", ended
        size = min(2 * size, len(buffer))


def _upload(session: Session, sock: PlainSocket, left: int | None) -> tuple[int, Bytes, int | None]:
    """Move what the client says to the node.

    Returns the number of bytes read, those that the node did not take, and what is left of the body.
    """
    taken, rest, ended = _upload_some(session, sock, left)
    session.repeatable = session.repeatable and not taken
    if ended:
        shutdown(sock)
        return taken, rest, _ENDED
    return taken, rest, left and max(left - taken, 0)


def _upload_some(session: Session, sock: PlainSocket, left: int | None) -> tuple[int, Bytes, bool]:
    """Do it for what is there.

    What comes behind the body is not for a node that leaves connections open, and is dropped.
    Returns the number of bytes read, those that the node did not take, and whether the client has ended.
    """
    client, buffer = session.client, session.engine.buffer
    ends = session.framing is not None and left is not None
    if ends and left == 0:
        data = read_client(client, _FIRST)
        return 0, b"", data == b""
    taken, size = 0, min(_FIRST, len(buffer))
    while True:
        if ends and left is not None:
            if taken == left:
                return taken, b"", False
            size = min(size, left - taken)
        try:
            n = client.recv_into(buffer, size, MSG_DONTWAIT)
        except BlockingIOError:
            return taken, b"", False
        if not n:
            return taken, b"", True
        taken += n
        rest = send(sock, buffer[:n])
        if rest or n < size or size == len(buffer):
            return taken, bytes(rest), False
        size = min(2 * size, len(buffer))


def shutdown(sock: PlainSocket) -> None:
    """Send nothing more."""
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it is closed already


def hang_up(sock: PlainSocket) -> None:
    """End a connection, whoever else has it open."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is closed already
