"""The state of a session: one client connection, from accept to close."""

import socket
from _socket import socket as PlainSocket
from collections.abc import Callable
from typing import Final

from fastrouter.routing.node import Node
from fastrouter.wire.framing import Framing
from workers.access_log import Record
from workers.loop import Event
from workers.routing.body_file import BodyFile
from workers.routing.engine import Engine
from workers.routing.waiting import Ticket

__all__ = ["BadRequest", "ClientGone", "Session"]

_UNIX: Final = 1
_STREAM: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK


class BadRequest(Exception):
    """The client sent something that is no request."""


class ClientGone(Exception):
    """The client has left: nobody waits for the answer any more."""


class Session:
    """What the parts of a session know of it. The story of a session is ``exchange.py``."""

    __slots__ = (
        "address",
        "ahead",
        "body",
        "body_left",
        "body_size",
        "client",
        "client_fd",
        "engine",
        "framing",
        "idempotent",
        "is_head",
        "is_passed",
        "is_reused",
        "key",
        "limit",
        "listener",
        "node",
        "node_fd",
        "nodes",
        "old",
        "packet",
        "record",
        "remote",
        "repeatable",
        "resume",
        "sock",
        "started",
        "surplus",
        "ticket",
        "touched",
    )

    def __init__(self, engine: Engine, client: int, listener: bytes, address: object) -> None:
        """client is a descriptor, listener what the listener is called as a key, address the client's."""
        self.engine = engine
        self.listener = listener
        self.address = address
        self.nodes = engine.nodes
        self.client_fd = client
        # With a family and a type that are given, the kernel is asked nothing but whether this is a socket.
        self.client = PlainSocket(_UNIX, _STREAM, 0, client)
        self.sock: PlainSocket | None = None
        self.node_fd = -1
        self.node: Node | None = None
        """The session counts as one of its requests."""
        self.started = 0
        """Monotonic nanoseconds at which the node was dialled, and then connected."""
        self.touched = engine.seconds
        """The second of the last event."""
        self.limit = engine.timeout
        """Seconds without an event after which TimeoutError is thrown in."""
        self.old = False
        self.record: Record | None = None
        """For the log of requests, if there is one."""
        self.ticket: Ticket | None = None
        """Its place in the queue of a pool whose nodes have no room."""
        # What the client side reads:
        self.key = b""
        self.remote = b""
        """The address of the client, as the web server saw it."""
        self.packet = b""
        """What the node is sent first, with any body bytes that came along."""
        self.body: BodyFile | None = None
        """What the node is sent next, if the rest of the body has been read ahead."""
        self.body_size = 0
        """Of the whole body, in bytes, as far as the client says."""
        self.body_left: int | None = 0
        """Bytes of the body still to come from the client; None when only its end of file can tell."""
        self.surplus = 0
        """Bytes at the end of the packet that are behind the body."""
        self.idempotent = False
        self.framing: Framing | None = None
        """Finds the end of the answer, if the node leaves the connection open."""
        self.is_head = False
        """The answer has no body."""
        self.is_reused = False
        """The connection to the node is not new, and may be one that the node has just closed."""
        self.ahead = b""
        """What has been read of the answer before it was known to be one."""
        self.is_passed = False
        """The node has been sent the client's descriptor."""
        self.repeatable = False
        """Another node may be tried when one closes without an answer."""
        self.resume: Callable[[Event], object] = _nothing
        """Goes on with the session, with the event that came."""

    def request_for(self, node: Node) -> bytes:
        """What a node is sent first."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Close the connection to the node, if there is one."""
        if self.sock is not None:
            self.engine.loop.forget(self.node_fd)
            self.sock.close()
            self.sock = None

    def leave(self) -> None:
        """Have done with the node, if there is one."""
        node = self.node
        if node is not None:
            self.node = None
            self.disconnect()
            self.nodes.leave(node)

    def give_ticket_back(self) -> None:
        """Leave the queue, if the session is in one."""
        if self.ticket is not None:
            self.nodes.waiting.discard(self.ticket)
            self.ticket = None

    def keep_connection(self, node: Node) -> None:
        """The connection may serve another request."""
        sock = self.sock
        if sock is not None and self.nodes.kept.keep(sock, self.node_fd, node.sockaddr):
            self.sock = None


def _nothing(event: Event) -> None:
    """A session that has not begun, or is over."""
