"""What is particular to the fastrouter: reading a uwsgi packet and finding its key."""

from collections.abc import Generator
from typing import Final

from fastrouter.wire.packet import PacketError
from fastrouter.wire.request import MAX_HOPS, read_head, with_hop, with_mountpoint
from workers.loop import IN, Event
from workers.routing.relay import read_client
from workers.routing.session import BadRequest, Session

__all__ = ["read_request"]

_HEADER: Final = 4
"""Bytes of a packet's header."""

_FIRST_READ: Final = 16384
"""Enough for almost every packet in one call; a longer one is read on."""


def read_request(session: Session) -> Generator[None, Event, None] | None:
    """Read the header and all variables of a packet, and what came with them of the body, into the session.

    As a rule they are there; what is returned otherwise waits for them. Both raise BadRequest for what is no
    packet or has no key, OSError when the client fails.
    """
    data = read_client(session.client, _FIRST_READ)
    if data is None or len(data) < _HEADER:
        return _read_on(session, data)
    end = _size(data)
    if len(data) < end:
        return _read_on(session, data)
    _understand(session, data, end)
    return None


def _understand(session: Session, data: bytes, end: int) -> None:
    """Note what a request is; data is the packet, which ends at end, and what came of the body."""
    try:
        head = read_head(data[_HEADER:end])
    except PacketError as error:
        raise BadRequest(str(error)) from None
    key, session.remote, path, length, idempotent, endless, session.is_head, hops = head
    router = session.router
    if router.force_key:
        key = router.force_key
    elif router.mountpoints and key:
        key = with_mountpoint(key, path, router.mountpoints)
    if not key:
        raise BadRequest("no key")
    session.key = key
    session.idempotent = idempotent
    if endless or (length is None and not idempotent):
        session.body_left = None  # nobody knows; where no length is said, only some methods have no body
    else:
        session.body_size = length or 0
        ahead = len(data) - end
        session.body_left = max(session.body_size - ahead, 0)
        session.surplus = max(ahead - session.body_size, 0)
    if hops or router.is_crowded():
        data = _marked(session, data, end, hops)
    session.packet = data
    session.repeatable = idempotent and session.body_left == 0


def _marked(session: Session, data: bytes, end: int, hops: int) -> bytes:
    """One hop more. Raises BadRequest for one too many: its nodes are routers that send it round."""
    if hops >= MAX_HOPS:
        session.router.log_loop(session)
        raise BadRequest(f"came through {hops} routers")
    return with_hop(data, end, hops + 1)


def _size(data: bytes | bytearray) -> int:
    """Of the packet that data begins with."""
    return _HEADER + data[1] + (data[2] << 8)


def _read_on(session: Session, first: bytes | None) -> Generator[None, Event, None]:
    """Wait for the rest of a packet."""
    if first == b"":
        raise BadRequest("closed before the request")
    data = bytearray(first or b"")
    router = session.router
    loop, deadline = router.loop, router.seconds + router.header_timeout
    session.limit = min(router.timeout, router.header_timeout)
    loop.watch(session.client_fd, IN, session.resume)
    while len(data) < _HEADER or len(data) < _size(data):
        yield
        more = read_client(session.client, _FIRST_READ)
        if more == b"":
            raise BadRequest(f"closed after {len(data)} bytes of the request")
        data += more or b""
        # One limit is for silence, the other for the whole head.
        session.touched, session.limit = router.seconds, min(router.timeout, deadline - router.seconds)
    loop.unwatch(session.client_fd)
    session.limit = router.timeout
    _understand(session, bytes(data), _size(data))
