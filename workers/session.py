"""A session: one client connection, from accept to close.

It is a generator that yields when it must wait, and is resumed with the event that came. What is particular
to a protocol is only how the request is read (see ``fastrouter.py``); everything from the key on is here.

Only the node is watched as a rule. The client is watched when there is something to wait for from it: a body,
room for what it has not taken yet, or, once the session is old enough, its leaving.
"""

import errno
import logging
import os
import socket
from _socket import socket as PlainSocket
from collections.abc import Generator
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from typing import TYPE_CHECKING

from fastrouter.node import Node
from workers.loop import Event

if TYPE_CHECKING:
    from workers.router import Router

__all__ = ["SWEEP", "BadRequest", "Session", "read_client"]

log = logging.getLogger("fastrouter.session")

SWEEP: Event = (-1, 0)
"""Resumes a session that has become old enough to notice that its client left."""

_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
_GONE = EPOLLHUP | EPOLLERR

_WAIT = frozenset({errno.EINPROGRESS, errno.EAGAIN})
"""Connect errors that say: not yet."""

_FAIR = 16
"""Full buffers to move for one session before others have their turn."""

_LINGER = 2
"""Seconds to go on reading from a client after its answer (nginx's lingering_timeout is 5)."""


class BadRequest(Exception):
    """The client sent something that is no request."""


class ClientGone(Exception):
    """There is nobody to answer any more."""


class Session:
    """The state that the router looks at from outside; the rest is local to the generator."""

    __slots__ = (
        "body_left",
        "client",
        "generator",
        "key",
        "limit",
        "node_fd",
        "old",
        "packet",
        "repeatable",
        "resume",
        "router",
        "touched",
    )

    def __init__(self, router: "Router", client: int) -> None:
        self.router = router
        self.client = client
        self.node_fd = -1
        self.touched = router.seconds
        """The second of the last event."""
        self.limit = router.timeout
        """Seconds without an event after which TimeoutError is thrown in."""
        self.old = False
        # What the protocol reads:
        self.key = b""
        self.packet = b""
        """What the node is sent first, with any body bytes that came along."""
        self.body_left: int | None = 0
        """Bytes of the body still to come from the client; None when only its end of file can tell."""
        self.repeatable = False
        """Another node may be tried when one closes without an answer."""
        self.generator = self._run()
        self.resume = self.generator.send

    def _run(self) -> Generator[None, Event, None]:
        router = self.router
        sock: PlainSocket | None = None
        tries = 0
        busy: Node | None = None
        try:
            yield from router.read_request(self)
            for node in router.candidates(self.key):
                if node is busy:
                    break  # there is no other, and it has been waited for
                sock = PlainSocket(node.family, _STREAM)
                self.node_fd = sock.fileno()
                packet = _with_modifiers(self.packet, node.header)
                error, rest = _dial(sock, node, packet)
                if error in _WAIT:
                    error, rest = yield from self._connect(sock, node, packet, error)
                if error == errno.EAGAIN:
                    busy = node
                if error:
                    router.connect_failed(self, node, error, tries)
                elif (yield from self._relay(sock, node, rest)) or not self.repeatable:
                    break
                router.close_node(self, sock)
                tries += 1
                if tries > router.max_retries:
                    break
        except (BadRequest, ClientGone, OSError) as reason:
            router.count_error()
            log.debug("session ends: %s", reason)
        except Exception:
            router.count_error()
            log.exception("a session failed; this is a bug")
        finally:
            if sock is not None:
                router.close_node(self, sock)
            router.close(self)

    def _connect(
        self, sock: PlainSocket, node: Node, packet: bytes, error: int
    ) -> Generator[None, Event, tuple[int, bytes]]:
        """Wait for a connection that is not made at once. Returns what _dial does."""
        loop = self.router.loop
        self.touched, self.limit = self.router.seconds, self.router.connect_timeout
        rest = packet
        try:
            while error == errno.EAGAIN:  # a UNIX socket whose backlog is full
                loop.pause(self.resume)
                yield
                error, rest = _dial(sock, node, packet)
            if error == errno.EINPROGRESS:
                loop.watch(self.node_fd, EPOLLOUT, self.resume)
                while (yield)[0] != self.node_fd:
                    pass
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                rest = packet if error else _send(sock, packet)
        except TimeoutError:
            error = error if error == errno.EAGAIN else errno.ETIMEDOUT
        finally:
            self.touched, self.limit = self.router.seconds, self.router.timeout
        return error, rest

    def _relay(self, sock: PlainSocket, node: Node, up: bytes) -> Generator[None, Event, bool]:
        """Move bytes both ways until the node has said everything. Returns False when it said nothing.

        Raises ClientGone.
        """
        router, client, node_fd = self.router, self.client, self.node_fd
        watch, resume, buffer = router.loop.watch, self.resume, router.buffer
        received, uploaded = 0, len(self.packet)
        left, half_closed = self.body_left, False
        router.begin(node)
        down = b""
        node_events = client_events = 0
        try:
            while True:
                # What is watched follows from what can move: nothing is read that cannot be passed on.
                wanted = (EPOLLOUT if up else 0) | (0 if down else EPOLLIN | EPOLLRDHUP)
                if wanted != node_events:
                    if wanted:
                        watch(node_fd, wanted, resume)
                    else:
                        # Even when nothing is asked for, a node that has closed is reported, again and again.
                        router.loop.unwatch(node_fd)
                    node_events = wanted
                listening = not up and not half_closed and (left != 0 or self.old)
                wanted = (EPOLLOUT if down else 0) | (EPOLLIN if listening else 0)
                if wanted != client_events:
                    watch(client, wanted, resume)
                    client_events = wanted
                fd, events = yield
                if fd >= 0:
                    self.touched = router.seconds
                if fd == node_fd:
                    if up and events != EPOLLIN:
                        up = _send(sock, up)
                    if not down and events != EPOLLOUT:
                        n, down, ended = _download(sock, client, buffer, events & EPOLLRDHUP)
                        received += n
                        if ended:
                            break
                elif fd == client:
                    if down and events != EPOLLIN:
                        down = down[_write(client, down) :]
                    if events & EPOLLIN and listening:
                        data = read_client(client, len(buffer))
                        if data:
                            self.repeatable = False
                            up = _send(sock, data)
                            uploaded += len(data)
                            left = left and max(left - len(data), 0)
                        elif data is not None:
                            half_closed = True
                            _shutdown(sock)
                    elif events & _GONE:
                        raise ClientGone
        finally:
            router.end(node, uploaded - len(up), received)
        if client_events:
            router.loop.unwatch(client)
        if not received:
            router.no_answer(node)
        elif left and not half_closed:
            yield from self._linger()
        return received > 0

    def _linger(self) -> Generator[None, Event, None]:
        """The answer is out, but the client still sends: closing now would reset it before it reads that."""
        self.limit = _LINGER
        with socket.socket(fileno=os.dup(self.client)) as client:
            _shutdown(client)
        self.router.loop.watch(self.client, EPOLLIN, self.resume)
        try:
            while read_client(self.client, 65536) != b"":
                yield
        except TimeoutError:
            pass


def read_client(client: int, size: int) -> bytes | None:
    """Up to size bytes, none at the end of file; None when there is nothing to read yet."""
    try:
        return os.read(client, size)
    except BlockingIOError:
        return None


def _with_modifiers(packet: bytes, header: tuple[int, int]) -> bytes:
    """The packet with the node's modifiers in place of the client's, which are always lost (as in uWSGI)."""
    if packet[0] == header[0] and packet[3] == header[1]:
        return packet
    return b"%c%b%c%b" % (header[0], packet[1:3], header[1], packet[4:])


def _dial(sock: PlainSocket, node: Node, packet: bytes) -> tuple[int, bytes]:
    """Connect and send at once: on one machine the connection is made before connect() returns.

    Returns the error number, 0 when connected, and what of the packet is still to be sent.
    """
    error = sock.connect_ex(node.sockaddr)
    if error and error != errno.EINPROGRESS:
        return error, packet
    try:
        n = sock.send(packet)
    except BlockingIOError:
        return error, packet
    except (BrokenPipeError, ConnectionResetError):
        return 0, b""  # connected, and closed already; reading will tell
    except OSError as failed:
        return failed.errno or errno.EIO, packet
    return 0, packet[n:]


def _send(sock: PlainSocket, data: bytes) -> bytes:
    """Send to the node; returns what did not fit."""
    try:
        n = sock.send(data)
    except BlockingIOError:
        return data
    except (BrokenPipeError, ConnectionResetError):
        return b""  # it takes no more, but its answer may be on the way
    return data[n:] if n < len(data) else b""


def _write(client: int, data: bytes | memoryview) -> int:
    """Write to the client; returns the number of bytes taken."""
    try:
        return os.write(client, data)
    except BlockingIOError:
        return 0


def _download(sock: PlainSocket, client: int, buffer: memoryview, closing: int) -> tuple[int, bytes, bool]:
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
        sent = _write(client, buffer[:n])
        if sent < n:
            return received, bytes(buffer[sent:n]), False
        if n < size or received > _FAIR * size:
            # All that was there has been read; if the node had closed by then, that was everything.
            return received, b"", bool(closing) and n < size


def _shutdown(sock: PlainSocket) -> None:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it is closed already
