"""What is particular to the fastrouter: reading a uwsgi packet and finding its key."""

from collections.abc import Generator
from select import EPOLLIN

from fastrouter.packet import HEADER, PacketError
from fastrouter.request import Head, read_head
from workers.loop import Event
from workers.session import BadRequest, Request, Session, read_client

__all__ = ["read_request"]

_FIRST_READ = 16384
"""Enough for almost every packet in one call; a longer one is read on."""


def read_request(session: Session) -> Generator[None, Event, Request]:
    """Read the header and all variables of a packet, and what came with them of the body.

    Raises BadRequest for what is no packet or has no key, OSError when the client fails.
    """
    data = read_client(session.client, _FIRST_READ)
    if data is None or len(data) < HEADER.size or len(data) < _size(data):
        data = yield from _read_on(session, data)
    end = _size(data)
    try:
        head = read_head(data[HEADER.size : end])
    except PacketError as error:
        raise BadRequest(str(error)) from None
    if not head.key:
        raise BadRequest("no key")
    alone = len(data) == end
    return Request(head.key, data, _body_left(head, len(data) - end), head.idempotent and alone)


def _size(data: bytes | bytearray) -> int:
    """Of the packet that data begins with."""
    return HEADER.size + data[1] + (data[2] << 8)


def _read_on(session: Session, first: bytes | None) -> Generator[None, Event, bytes]:
    """Wait for the rest of a packet."""
    if first == b"":
        raise BadRequest("closed before the request")
    data = bytearray(first or b"")
    loop = session.router.loop
    loop.watch(session.client, EPOLLIN, session.resume)
    while len(data) < HEADER.size or len(data) < _size(data):
        yield
        more = read_client(session.client, _FIRST_READ)
        if more == b"":
            raise BadRequest(f"closed after {len(data)} bytes of the request")
        data += more or b""
        session.touched = session.router.seconds
    loop.unwatch(session.client)
    return bytes(data)


def _body_left(head: Head, got: int) -> int | None:
    """Bytes of the body to expect. Where no length is said, only methods without a body have none."""
    if head.upgrade or (head.length is None and not head.idempotent):
        return None
    return max((head.length or 0) - got, 0)
