"""Passing the client itself to a node that takes it: from then on they are among themselves.

The client's descriptor goes with the first byte of the packet; ``fastrouter/passing.py`` is the other side.
The connection to the node stays, to hear what becomes of the request: a report when the node has done with
it, or only the end. Whether the node has taken the request, the kernel knows: what has not been read when the
other side closes is a reset here (unix(7)), and until then it is counted as not sent yet (SIOCOUTQ).

After its report a node may leave the connection open, for another request.
"""

import errno
import fcntl
import logging
import sys
import time
from _socket import socket as PlainSocket
from collections.abc import Generator
from typing import Final

from fastrouter.memory.cells import Counter, Histogram
from fastrouter.memory.outcomes import NO_ANSWER
from fastrouter.routing.node import Node
from fastrouter.text import to_text
from workers.loop import ERR, HUP, IN, OUT, RDHUP, Event
from workers.routing.relay import Bytes, count, send, shutdown, too_late
from workers.routing.session import ClientGone, Session

log = logging.getLogger("fastrouter")

__all__ = ["NOT_TAKEN", "RELAYED", "pass_on", "send_passing"]

NOT_TAKEN: Final = -1
"""The node has closed, and had not read the request: nobody has run it."""
RELAYED: Final = -2
"""The node knows nothing of descriptors, and answers as any other."""

# As in <sys/socket.h> and <linux/sockios.h>; literals, as they are used for every request.
_SOCKET: Final = 1
_RIGHTS: Final = 1
_ERROR: Final = 4
_PEEK: Final = 0x2
_UNREAD: Final = 0x5411
_BYTE_ORDER = sys.byteorder

_REPORT: Final = 6
"""The first byte of a report; no answer begins with it."""
_LONGEST_REPORT: Final = 64
_DIGITS: Final = 16
"""Of a size that no answer has."""
_RESET: Final = b"reset"
"""Not heard, but found: the node has closed before it read everything."""
_ENDS: Final = RDHUP | HUP | ERR
_FOR_EVER: Final = 1 << 62


def send_passing(sock: PlainSocket, packet: bytes, client: int) -> int:
    """Send the packet, and with its first byte the descriptor. Returns the number of bytes sent.

    -1 when the kernel passes no descriptor now: too many are on their way (unix(7), ETOOMANYREFS).
    """
    try:
        return sock.sendmsg((packet,), ((_SOCKET, _RIGHTS, client.to_bytes(4, _BYTE_ORDER)),))
    except OSError as error:
        if error.errno == errno.ETOOMANYREFS:
            return -1
        raise


def pass_on(session: Session, node: Node, rest: Bytes) -> Generator[None, Event, int]:
    """Wait until the node has done with the client; rest is what it still has to be sent of the packet.

    Returns 0, the status of a failure, NOT_TAKEN or RELAYED; raises ClientGone.
    """
    loop, node_fd, sock = session.engine.loop, session.node_fd, session.sock
    assert sock is not None
    try:
        if rest:
            yield from _send_rest(session, sock, rest)
        if session.body_size:
            shutdown(sock)  # that was what has been read of the body; the rest waits in the client's socket
        if session.is_reused and not rest:
            loop.take_over(node_fd, IN | RDHUP, session.resume)
        else:
            loop.watch(node_fd, IN | RDHUP, session.resume)
        word, events = _look(session, node) if session.old else None, 0
        while word is None:
            try:
                fd, events = yield
            except TimeoutError:
                if session.client_fd >= 0 and _is_unread(session):
                    return too_late(session, node)
                # What it says, or its end, is on the way, if it has not just taken its time.
                word = _look(session, node)
                continue
            if fd == session.client_fd:
                raise ClientGone
            word = _heard(sock) if fd == node_fd else _look(session, node)
        return _end(session, node, word, (events & _ENDS) != 0)
    finally:
        loop.unwatch(session.client_fd)


def _send_rest(session: Session, sock: PlainSocket, rest: Bytes) -> Generator[None, Event, None]:
    """A packet that is too large for the connection's buffer."""
    while rest:
        session.engine.loop.watch(session.node_fd, OUT, session.resume)
        if (yield)[0] == session.node_fd:
            rest = send(sock, rest)


def _look(session: Session, node: Node) -> bytes | None:
    """It takes a while: see whether the node has the request. If so it may take as long as it likes.

    Returns a reset, which the kernel tells once only, or None; all else that there is to hear is still there.
    """
    loop, sock = session.engine.loop, session.sock
    assert sock is not None
    if session.client_fd < 0:
        return None
    is_unread = _is_unread(session)
    word = None if is_unread else _heard(sock, _PEEK)
    if word is _RESET:
        return word
    if is_unread or word is not None:
        loop.watch(session.client_fd, 0, session.resume)  # should the client leave meanwhile
        return None
    session.limit = _FOR_EVER
    loop.unwatch(session.client_fd)
    # Kept, if somebody has to read what the node leaves of the body, or to relay after all.
    if node.has_taken and not session.body_left:
        session.client.close()
        session.client_fd = -1
    return None


def _is_unread(session: Session) -> bool:
    """Whether the node has not read everything yet."""
    return any(fcntl.ioctl(session.node_fd, _UNREAD, bytes(4)))


def _was_reset(sock: PlainSocket) -> bool:
    """Whether the node, whose end has been seen, has closed since without having read everything.

    To be asked after _is_unread: the kernel notes the reset before it lets go of what was not read.
    """
    return sock.getsockopt(_SOCKET, _ERROR) != 0


def _heard(sock: PlainSocket, flags: int = 0) -> bytes | None:
    """What the node says, none at the end, or that it was a reset; None when that was nothing."""
    try:
        return sock.recv(_LONGEST_REPORT, flags)
    except BlockingIOError:
        return None
    except ConnectionError:
        return _RESET


def _end(session: Session, node: Node, word: bytes, is_closed: bool) -> int:
    """What came of it, by what the node has said. Returns what pass_on does."""
    nodes, sock = session.nodes, session.sock
    assert sock is not None
    if word is _RESET or (not word and (_is_unread(session) or _was_reset(sock))):
        if session.client_fd >= 0:
            return NOT_TAKEN
        word = b""
    if not word:
        # It has taken the request, and is no more.
        nodes.failed(session.key, node, Counter.UNANSWERED)
        return NO_ANSWER
    if word[0] != _REPORT:
        _has_not_understood(session, node)
        session.ahead = word
        return RELAYED if session.client_fd >= 0 else NO_ANSWER
    nanoseconds = time.monotonic_ns() - session.started
    nodes.counters.took(node, Histogram.RESPONSE, nanoseconds)
    nodes.health.answered(node)
    status, _, size = word[1:].partition(b" ")
    if session.record is not None:
        session.record.response = nanoseconds
        session.record.status = status.decode("ascii", "replace") if status.isdigit() else ""
    count(session, node, len(session.packet), int(size) if size.isdigit() and len(size) < _DIGITS else 0)
    node.has_taken = True
    if not is_closed and not session.body_size:
        session.keep_connection(node)
    return 0


def _has_not_understood(session: Session, node: Node) -> None:
    node.takes_clients = False
    log.error(
        "[uwsgi-fastrouter] %s => %s takes no clients' descriptors, though it should; relaying from now on",
        to_text(session.key),
        node.address,
    )
