"""Reaching a node: over a connection that was kept, or a new one. The request goes out at once."""

import errno
import socket
import time
from _socket import socket as PlainSocket
from collections.abc import Generator
from typing import Final

from fastrouter.routing.node import Node
from workers.loop import OUT, Event
from workers.routing.handoff import send_passing
from workers.routing.relay import Bytes, send
from workers.routing.session import Session

__all__ = ["AGAIN", "IN_PROGRESS", "connect", "dial", "reach"]

# As in <errno.h>: what connect(2) says when it is to be waited for.
IN_PROGRESS: Final = 115
AGAIN: Final = 11

# As in <sys/socket.h>, <netinet/in.h> and <netinet/tcp.h>; literals, as they are used for every request.
_UNIX: Final = 1
_STREAM: Final = 1 | 0x800  # SOCK_STREAM, SOCK_NONBLOCK
_TCP: Final = 6
_QUICKACK: Final = 12

_now: Final = time.monotonic_ns

Dialled = tuple[int, Bytes]
"""The error number, 0 when connected, and what of the packet is still to be sent."""


def reach(session: Session, node: Node) -> Dialled:
    """Send the packet, over a connection that was kept if there is one."""
    kept = _reuse(session, node)
    if kept is not None:
        return kept
    return dial(session, node)


def _reuse(session: Session, node: Node) -> Dialled | None:
    """Send the packet over a connection that was kept. None when there is none that is good for it."""
    passes = _takes(node, session)
    if not passes and not (node.keeps and session.repeatable and not session.surplus):
        return None
    session.started = _now()
    packet = session.request_for(node)
    while (sock := session.nodes.kept.take(node.sockaddr)) is not None:
        session.sock, session.node_fd = sock, sock.fileno()
        try:
            n = send_passing(sock, packet, session.client_fd) if passes else sock.send(packet)
            if n >= 0:
                session.is_passed, session.is_reused = passes, True
                return 0, memoryview(packet)[n:] if n < len(packet) else b""
        except OSError:
            pass  # the node has closed it
        session.disconnect()
    return None


def dial(session: Session, node: Node) -> Dialled:
    """Connect and send at once: on one machine the connection is made before connect() returns.

    Without a descriptor for it session.sock is None. An error with session.is_passed: the node has closed.
    """
    session.is_passed = session.is_reused = False
    packet = session.request_for(node)
    try:
        sock = session.sock = PlainSocket(node.family, _STREAM)
    except OSError as error:
        return error.errno or errno.EMFILE, packet
    session.node_fd = sock.fileno()
    session.started = _now()
    if node.family != _UNIX and session.body_left == 0 == session.body_size:
        # The acknowledgement that completes the handshake goes with the packet, not ahead of it. Later ones
        # are delayed then, too. A node that leaves a body unread and closes resets the connection, and its
        # kernel throws away what Nagle's algorithm has it hold back until it hears of them (RFC 9293, 3.7.4).
        sock.setsockopt(_TCP, _QUICKACK, 0)
    return _send_at_once(session, sock, node, packet)


def _send_at_once(session: Session, sock: PlainSocket, node: Node, packet: bytes) -> Dialled:
    error = sock.connect_ex(node.sockaddr)
    if error and error != IN_PROGRESS:
        return error, packet
    n = -1
    try:
        session.is_passed = _takes(node, session)
        if session.is_passed:
            n = send_passing(sock, packet, session.client_fd)
            session.is_passed = n >= 0
        if n < 0:
            n = sock.send(packet)
    except BlockingIOError:
        session.is_passed = False
        return error, packet
    except OSError as failed:
        # Whether it refuses, or accepts and closes before it has read anything: nothing has reached it.
        return failed.errno or errno.EIO, packet
    return 0, memoryview(packet)[n:] if n < len(packet) else b""


def connect(session: Session, node: Node, error: int) -> Generator[None, Event, Dialled]:
    """Wait for a connection that is not made at once. Returns what dial does."""
    engine, sock = session.engine, session.sock
    assert sock is not None
    session.touched, session.limit = engine.seconds, engine.connect_timeout
    packet = session.request_for(node)
    rest: Bytes = packet
    try:
        while error == AGAIN:  # a UNIX socket whose backlog is full
            engine.loop.pause(session.resume)
            yield
            error, rest = _send_at_once(session, sock, node, packet)
        if error == IN_PROGRESS:
            engine.loop.watch(session.node_fd, OUT, session.resume)
            while (yield)[0] != session.node_fd:
                pass
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            rest = packet if error else send(sock, packet)
    except TimeoutError:
        error = error if error == AGAIN else errno.ETIMEDOUT
    return error, rest


def _takes(node: Node, session: Session) -> bool:
    """Whether the node can do the rest alone: it has to know where the body ends, and none waits here.

    Who has not shown yet that it takes clients gets no body: that could not be relayed any more.
    """
    return (
        node.takes_clients
        and session.engine.passes_clients
        and session.body is None
        and session.body_left is not None
        and not session.surplus
        and (node.has_taken or not session.body_size)
    )
