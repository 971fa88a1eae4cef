"""What is particular to the raw router: it knows no protocol, and the listener is the key."""

from collections.abc import Generator
from typing import Final

from fastrouter.routing.node import Node
from fastrouter.text import to_bytes
from fastrouter.wire.proxy import proxy_header
from workers.loop import IN, RDHUP, Event
from workers.routing.duplex import duplex
from workers.routing.exchange import Exchange, Waits
from workers.routing.relay import Bytes, read_client
from workers.routing.session import ClientGone

__all__ = ["RawExchange"]

_FIRST_READ: Final = 16384
"""Bytes."""

_MOST_GREETING: Final = 4096
"""Bytes of the line that a node greets with (RFC 5321, 4.5.3.1.5: 512)."""


class RawExchange(Exchange):
    """One connection."""

    def read(self) -> Waits | None:
        """Take what the client has said by now, if anything: the node may be the first to speak."""
        address = self.address
        self.key = self.listener
        self.remote = to_bytes(address[0]) if isinstance(address, tuple) else b""
        self.body_left = None
        if self.engine.send_proxy:
            self.packet = self._proxy_header()
        self.address = None  # it takes memory, and the connection may be idle for hours
        if not self.engine.xclient:
            data = read_client(self.client, _FIRST_READ)
            if data:
                self.packet += data
            elif data is not None:
                self.body_left = 0
        return None

    def request_for(self, node: Node) -> bytes:
        """The header of the PROXY protocol, if nodes are to have one, and what the client has said."""
        return self.packet

    def converse(self, node: Node, rest: Bytes) -> Generator[None, Event, int]:
        """Introduce the client, if that is asked for, and relay."""
        if self.engine.xclient and self.remote:
            return self._introduce(node, rest)
        return duplex(self, node, rest)

    def _proxy_header(self) -> bytes:
        address = self.address
        if not isinstance(address, tuple):
            return proxy_header(self.engine.send_proxy, None, None)
        here = self.client.getsockname()
        return proxy_header(self.engine.send_proxy, (address[0], address[1]), (here[0], here[1]))

    def _introduce(self, node: Node, rest: Bytes) -> Generator[None, Event, int]:
        """Wait for the node's greeting, swallow it, and tell the node the client's address by XCLIENT.

        The client sees the node's answer to that in the greeting's stead (uWSGI 2.0.31 behaviour). What the
        client says meanwhile waits in its socket.
        """
        sock, loop, greeting = self.sock, self.engine.loop, b""
        assert sock is not None
        loop.watch(self.node_fd, IN | RDHUP, self.resume)
        while b"\n" not in greeting:
            if (yield)[0] != self.node_fd:
                continue
            self.touched = self.engine.seconds
            try:
                data = sock.recv(_MOST_GREETING)
            except BlockingIOError:
                continue
            greeting += data
            if not data or len(greeting) > _MOST_GREETING:
                raise ClientGone("the node gave no greeting")
        line, self.ahead = greeting.split(b"\n", 1)
        if not line.endswith(b"\r"):
            raise ClientGone("the node's greeting is no line")
        ipv6 = b"IPV6:" if b":" in self.remote else b""
        introduction = b"XCLIENT ADDR=%b%b\r\n" % (ipv6, self.remote)
        return (yield from duplex(self, node, bytes(rest) + introduction))
