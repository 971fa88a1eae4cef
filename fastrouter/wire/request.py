"""What routing needs to know of a request packet."""

from typing import Final

from fastrouter.wire.packet import PacketError

__all__ = ["MAX_HOPS", "MAX_KEY", "Head", "decimal", "read_head", "with_hop", "with_mountpoint"]

MAX_KEY: Final = 255
"""Longest key, in bytes; a longer value is ignored as if the variable were absent."""


MAX_HOPS: Final = 8
"""Routers that a request may come through, once it is marked."""

_HOPS: Final = b"UWSGI_FASTROUTER_HOPS"
"""The mark: a variable with one digit."""

_MAX_BLOCK: Final = 65535

Head = tuple[bytes, bytes, bytes, int | None, bool, bool, bool, int]
"""What read_head returns; a plain tuple, as it is made for every request:

the key, empty when the packet names none;
REMOTE_ADDR, the client's address as the web server saw it;
PATH_INFO;
CONTENT_LENGTH in bytes, 0 when empty, None when absent;
whether the method is GET, HEAD, OPTIONS or TRACE, and so may be sent again to another node (RFC 9110, 9.2.2);
whether only the end of the connection can tell where the body ends: a websocket's, or a chunked one's;
whether the method is HEAD, whose answer has no body;
how many routers have marked it, 0 when it has no mark.
"""

_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})


def read_head(block: bytes) -> Head:
    """Find the key and the shape of the body in a block of variables.

    The key rules are those of uWSGI 2.0.31, in packet order: SERVER_NAME fills an empty key, HTTP_HOST sets
    it, UWSGI_FASTROUTER_KEY sets and locks it. The loop is written out because it runs for every variable of
    every request. Raises PacketError when the block is malformed.
    """
    key = method = remote = path = b""
    locked = upgrade = chunked = False
    length: int | None = None
    hops, at, end = 0, 0, len(block)
    try:
        while at < end:
            start = at + 2
            stop = start + block[at] + (block[at + 1] << 8)
            at = stop + 2 + block[stop] + (block[stop + 1] << 8)
            # By the length of their names alone, most variables are dismissed without a copy of the name.
            size = stop - start
            if size == 9:
                name = block[start:stop]
                if name == b"PATH_INFO":
                    path = block[stop + 2 : at]
                elif name == b"HTTP_HOST" and not locked and at - stop <= MAX_KEY + 2:
                    key = block[stop + 2 : at]
            elif size == 11:
                name = block[start:stop]
                if name == b"REMOTE_ADDR":
                    remote = block[stop + 2 : at]
                elif name == b"SERVER_NAME" and not key and at - stop <= MAX_KEY + 2:
                    key = block[stop + 2 : at]
            elif size == 14:
                name = block[start:stop]
                if name == b"REQUEST_METHOD":
                    method = block[stop + 2 : at]
                elif name == b"CONTENT_LENGTH":
                    length = decimal(block[stop + 2 : at])
            elif size == 20 and block[start:stop] == b"UWSGI_FASTROUTER_KEY":
                if at - stop <= MAX_KEY + 2:
                    key, locked = block[stop + 2 : at], True
            elif size == 12 and block[start:stop] == b"HTTP_UPGRADE":
                upgrade = at > stop + 2
            elif size == 21 and block[start:stop] == _HOPS:
                hops = decimal(block[stop + 2 : at])
            elif size == 22 and block[start:stop] == b"HTTP_TRANSFER_ENCODING":
                chunked = at > stop + 2
            elif not size:
                raise PacketError(f"empty name at byte {start}")
    except IndexError:
        raise PacketError("a record runs over the end of the block") from None
    if at != end:
        raise PacketError("a value runs over the end of the block")
    endless = upgrade or (chunked and length is None)
    return key, remote, path, length, method in _IDEMPOTENT, endless, method == b"HEAD", hops


def with_hop(packet: bytes, end: int, hops: int) -> bytes:
    """A packet whose block ends at end, marked with a number of hops. A full one stays as it is.

    The last of a repeated variable counts, so a mark that is there already need not be found.
    """
    record = b"\x15\0%b\x01\0%d" % (_HOPS, hops)
    size = end - 4 + len(record)
    if size > _MAX_BLOCK:
        return packet
    return b"%b%c%c%b%b%b" % (packet[:1], size & 0xFF, size >> 8, packet[3:end], record, packet[end:])


def with_mountpoint(key: bytes, path: bytes, segments: int) -> bytes:
    """The key and the first segments of the path: ``foo.com/a/b`` (``subscription-mountpoints``)."""
    parts = path.split(b"/", segments + 1)[1 : segments + 1]
    return b"/".join([key, *parts]).rstrip(b"/")


def decimal(text: bytes) -> int:
    """The number that the leading digits of text say, 0 without any (as C's atoi reads it)."""
    if not text:
        return 0
    if text.isdigit():
        return int(text[:19])
    digits = 0
    while digits < len(text) and text[digits : digits + 1].isdigit():
        digits += 1
    return int(text[: min(digits, 19)] or 0)
