"""What is particular to the fastrouter: its clients send uwsgi packets, and its nodes are sent the same."""

from collections.abc import Mapping
from typing import Final

from fastrouter.routing.node import Node
from fastrouter.text import to_text
from fastrouter.wire.packet import PacketError, records
from fastrouter.wire.request import MAX_HOPS, read_head, with_hop, with_mountpoint
from workers.loop import IN
from workers.routing.exchange import Exchange, Waits
from workers.routing.relay import read_client
from workers.routing.session import BadRequest

__all__ = ["FastrouterExchange"]

_HEADER: Final = 4
"""Bytes of a packet's header."""

_FIRST_READ: Final = 16384
"""Enough for almost every packet in one call; a longer one is read on."""


class FastrouterExchange(Exchange):
    """One uwsgi request."""

    def read(self) -> Waits | None:
        """Read the header and all variables of a packet, and what came with them of the body."""
        data = read_client(self.client, _FIRST_READ)
        if data is None or len(data) < _HEADER:
            return self._read_on(data)
        end = _size(data)
        if len(data) < end:
            return self._read_on(data)
        self._understand(data, end)
        return None

    def request_for(self, node: Node) -> bytes:
        """The packet with the node's modifiers, which replace the client's (uWSGI 2.0.31 behaviour).

        A node that leaves connections open is not sent what is behind the body: it would be another request.
        """
        packet, header = self.packet, node.header
        if self.surplus and (node.keeps or node.takes_clients):
            packet = packet[: -self.surplus]
        if packet[0] == header[0] and packet[3] == header[1]:
            return packet
        return b"%c%b%c%b" % (header[0], packet[1:3], header[1], packet[4:])

    def variables(self) -> Mapping[str, str]:
        """Those of the packet, as far as it is one."""
        variables = {}
        packet = self.packet
        try:
            for name, value in records(packet[_HEADER : _HEADER + int.from_bytes(packet[1:3], "little")]):
                variables[to_text(name)] = to_text(value)
        except PacketError:
            pass
        return variables

    def _understand(self, data: bytes, end: int) -> None:
        """Note what a request is; data is the packet, which ends at end, and what came of the body."""
        try:
            head = read_head(data[_HEADER:end])
        except PacketError as error:
            raise BadRequest(str(error)) from None
        key, self.remote, path, length, idempotent, endless, self.is_head, hops = head
        engine = self.engine
        if engine.force_key:
            key = engine.force_key
        elif engine.mountpoints and key:
            key = with_mountpoint(key, path, engine.mountpoints)
        if not key:
            raise BadRequest("no key")
        self.key = key
        self.idempotent = idempotent
        if endless or (length is None and not idempotent):
            self.body_left = None  # without a length only some methods are known to have no body
        else:
            self.body_size = length or 0
            ahead = len(data) - end
            self.body_left = max(self.body_size - ahead, 0)
            self.surplus = max(ahead - self.body_size, 0)
        if hops or engine.is_crowded():
            data = self._marked(data, end, hops)
        self.packet = data
        self.repeatable = idempotent and self.body_left == 0

    def _marked(self, data: bytes, end: int, hops: int) -> bytes:
        """One hop more. Raises BadRequest for one too many: its nodes are routers that send it round."""
        if hops >= MAX_HOPS:
            self.engine.log_loop(self.key)
            raise BadRequest(f"came through {hops} routers")
        return with_hop(data, end, hops + 1)

    def _read_on(self, first: bytes | None) -> Waits:
        """Wait for the rest of a packet."""
        if first == b"":
            raise BadRequest("closed before the request")
        data = bytearray(first or b"")
        engine = self.engine
        loop, deadline = engine.loop, engine.seconds + engine.header_timeout
        self.limit = min(engine.timeout, engine.header_timeout)
        loop.watch(self.client_fd, IN, self.resume)
        while len(data) < _HEADER or len(data) < _size(data):
            yield
            more = read_client(self.client, _FIRST_READ)
            if more == b"":
                raise BadRequest(f"closed after {len(data)} bytes of the request")
            data += more or b""
            # One limit is for silence, the other for the whole head.
            self.touched, self.limit = engine.seconds, min(engine.timeout, deadline - engine.seconds)
        loop.unwatch(self.client_fd)
        self.limit = engine.timeout
        self._understand(bytes(data), _size(data))


def _size(data: bytes | bytearray) -> int:
    """Of the packet that data begins with."""
    return _HEADER + data[1] + (data[2] << 8)
