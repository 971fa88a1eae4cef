"""A session: one client connection, from accept to close.

It is a generator that yields when it must wait, and is resumed with the event that came. What is particular
to a protocol is only how the request is read (see ``fastrouter.py``); everything from the key on is here and,
once a node is connected, in ``relay.py``.
"""

import errno
import logging
import socket
import time
from _socket import socket as PlainSocket
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Final

from fastrouter.node import Node
from workers.answers import BAD_REQUEST, FAILED, GONE, NO_ANSWER, NO_NODE, UNAVAILABLE, answer
from workers.body import BodyFile, BufferingFailed, buffer_body
from workers.loop import OUT, Event
from workers.relay import Bytes, ClientGone, linger, relay, send

if TYPE_CHECKING:
    from workers.accesslog import Record
    from workers.router import Router

__all__ = ["SWEEP", "BadRequest", "Session"]

log = logging.getLogger("fastrouter.session")

SWEEP: Event = (-1, 0)
"""Resumes a session that has become old enough to notice that its client left."""

_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK

# As in <sys/socket.h>, <netinet/in.h> and <netinet/tcp.h>; literals, as they are used for every request.
_UNIX: Final = 1
_TCP: Final = 6
_QUICKACK: Final = 12

_WAIT = frozenset({errno.EINPROGRESS, errno.EAGAIN})
"""Connect errors that say: not yet."""


class BadRequest(Exception):
    """The client sent something that is no request."""


class Session:
    """The state that the router and the relay look at; the rest is local to the generator."""

    __slots__ = (
        "body",
        "body_left",
        "body_size",
        "client",
        "client_fd",
        "generator",
        "idempotent",
        "key",
        "limit",
        "node",
        "node_fd",
        "old",
        "packet",
        "record",
        "remote",
        "repeatable",
        "resume",
        "router",
        "sock",
        "started",
        "touched",
        "waits_for",
        "woken",
    )

    def __init__(self, router: "Router", client: int) -> None:
        self.router = router
        self.client_fd = client
        # With a family and a type that are given, the kernel is asked nothing but whether this is a socket.
        self.client = PlainSocket(_UNIX, _STREAM, 0, client)
        self.sock: PlainSocket | None = None
        self.node_fd = -1
        self.node: Node | None = None
        """Where it counts as a request."""
        self.started = 0
        """Monotonic nanoseconds at which the node was dialled, and then connected."""
        self.touched = router.seconds
        """The second of the last event."""
        self.limit = router.timeout
        """Seconds without an event after which TimeoutError is thrown in."""
        self.old = False
        self.record: Record | None = None
        """What the log of requests is to tell, if there is one."""
        self.waits_for: bytes | None = None
        """The pool in whose queue it has a place."""
        self.woken = False
        """There may be room now."""
        # What the protocol reads:
        self.key = b""
        self.remote = b""
        """The address of the client, as the web server saw it."""
        self.packet = b""
        """What the node is sent first, with any body bytes that came along."""
        self.body: BodyFile | None = None
        """What it is sent next, if the rest of the body has been read ahead."""
        self.body_size = 0
        """Of the whole body, in bytes, as far as anybody says."""
        self.body_left: int | None = 0
        """Bytes of the body still to come from the client; None when only its end of file can tell."""
        self.idempotent = False
        self.repeatable = False
        """Another node may be tried when one closes without an answer."""
        self.generator = self._run()
        self.resume = self.generator.send

    def _run(self) -> Generator[None, Event, None]:
        router = self.router
        problem, lingers = 0, False
        try:
            try:
                yield from router.read_request(self)
                if router.post_buffering and self.body_left and router.knows(self.key):
                    yield from buffer_body(self)
                problem = yield from self._serve()
                lingers = self.body_left is not None and self.body_left > 0
            except BadRequest as bad:
                problem = BAD_REQUEST
                log.debug("bad request: %s", bad)
            except BufferingFailed as failed:
                problem = FAILED
                log.error("%s", failed)
            except (ClientGone, OSError) as ended:
                problem = GONE
                log.debug("session ends: %s", ended)
            router.leave(self)
            if problem:
                router.count_error(problem)
                if self.record is not None:
                    self.record.problem = problem
                if router.answers_errors and problem != GONE:
                    lingers = answer(self.client, problem)
            if lingers:
                yield from linger(self)
        except Exception:
            router.count_error(FAILED)
            log.exception("a session failed; this is a bug")
        finally:
            router.close(self)

    def _serve(self) -> Generator[None, Event, int]:
        """Try nodes until one answers. Returns the status that says why none did, 0 when one did."""
        router = self.router
        problem, queued_at = 0, -1
        failed: list[Node] = []
        full: Node | None = None
        nodes = router.candidates(self.key, self.remote)
        while True:
            node = next(nodes, None)
            if node is None:
                if full is None:
                    return problem or (UNAVAILABLE if router.knows(self.key) else NO_NODE)
                queued_at = router.seconds if queued_at < 0 else queued_at
                if not (yield from self._wait_for_room(full.key, queued_at)):
                    return UNAVAILABLE
                nodes, full = self._nodes(failed), None
            elif node in failed:
                pass
            elif not router.take(self, node):
                full = full or node
            else:
                problem, again = yield from self._try(node, len(failed))
                if not again:
                    return problem
                router.leave(self)
                failed.append(node)
                if len(failed) > router.max_retries:
                    return problem
                if router.fallback and len(failed) == 1:
                    nodes, full = self._nodes(failed), None

    def _nodes(self, failed: list[Node]) -> Iterator[Node]:
        """The fallback nodes, in order, once another has failed (uWSGI 2.0.31 behaviour)."""
        if failed and self.router.fallback:
            return iter(self.router.fallback)
        return self.router.candidates(self.key, self.remote)

    def _try(self, node: Node, tries: int) -> Generator[None, Event, tuple[int, bool]]:
        """Returns 0 or the status that says how the node failed, and whether another may be tried."""
        router = self.router
        try:
            sock = self.sock = PlainSocket(node.family, _STREAM)
        except OSError as error:
            return router.connect_failed(self, node, error.errno or errno.EMFILE, tries), False
        if node.family != _UNIX:
            # The acknowledgement that completes the handshake goes with the packet, not ahead of it.
            sock.setsockopt(_TCP, _QUICKACK, 0)
        self.node_fd = sock.fileno()
        packet = _with_modifiers(self.packet, node.header)
        self.started = time.monotonic_ns()
        error_number, rest = _dial(sock, node, packet)
        if error_number in _WAIT:
            error_number, rest = yield from self._connect(sock, node, packet, error_number)
        if error_number:
            return router.connect_failed(self, node, error_number, tries), True
        problem = yield from relay(self, sock, node, rest)
        return problem, problem == NO_ANSWER and self.repeatable

    def _wait_for_room(self, pool: bytes, since: int) -> Generator[None, Event, bool]:
        """Wait in the queue of a pool until a node may have room. False when the time for that is over."""
        router = self.router
        self.touched, self.limit = since, router.queue_timeout
        router.queue.add(self, pool)
        try:
            while not self.woken:
                yield
        except TimeoutError:
            return False
        return True

    def _connect(
        self, sock: PlainSocket, node: Node, packet: bytes, error: int
    ) -> Generator[None, Event, tuple[int, Bytes]]:
        """Wait for a connection that is not made at once. Returns what _dial does."""
        loop = self.router.loop
        self.touched, self.limit = self.router.seconds, self.router.connect_timeout
        rest: Bytes = packet
        try:
            while error == errno.EAGAIN:  # a UNIX socket whose backlog is full
                loop.pause(self.resume)
                yield
                error, rest = _dial(sock, node, packet)
            if error == errno.EINPROGRESS:
                loop.watch(self.node_fd, OUT, self.resume)
                while (yield)[0] != self.node_fd:
                    pass
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                rest = packet if error else send(sock, packet)
        except TimeoutError:
            error = error if error == errno.EAGAIN else errno.ETIMEDOUT
        return error, rest


def _with_modifiers(packet: bytes, header: tuple[int, int]) -> bytes:
    """The packet with the node's modifiers in place of the client's, which are always lost (as in uWSGI)."""
    if packet[0] == header[0] and packet[3] == header[1]:
        return packet
    return b"%c%b%c%b" % (header[0], packet[1:3], header[1], packet[4:])


def _dial(sock: PlainSocket, node: Node, packet: bytes) -> tuple[int, Bytes]:
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
    except OSError as failed:
        # Whether it refuses, or accepts and closes before it has read anything: nothing has reached it.
        return failed.errno or errno.EIO, packet
    return 0, memoryview(packet)[n:] if n < len(packet) else b""
