"""The uwsgi packet: a 4-byte header and a block of length-prefixed names and values.

The rules are those of uWSGI 2.0.31's router-side parser: little-endian 16-bit lengths, empty values are
fine, empty names are not, and the block must be used up exactly.
"""

import struct
from collections.abc import Iterable, Iterator

__all__ = [
    "HEADER",
    "MAX_BLOCK",
    "REQUEST",
    "SUBSCRIPTION",
    "PacketError",
    "encode",
    "encode_block",
    "records",
]

HEADER = struct.Struct("<BHB")
"""modifier1, size of the block, modifier2"""

MAX_BLOCK = 0xFFFF
"""Largest block: the size field has 16 bits and the protocol no continuation."""

REQUEST = 0
"""modifier1 of a WSGI request"""

SUBSCRIPTION = 224
"""modifier1 of an announcement"""

_LENGTH = struct.Struct("<H")


class PacketError(ValueError):
    """The bytes are not a uwsgi packet."""


def records(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the (name, value) records of a block in order.

    Raises PacketError at the first record that is malformed; the records before it have been yielded.
    """
    at, end = 0, len(block)
    while at < end:
        name, at = _field(block, at, "name")
        if not name:
            raise PacketError(f"empty name before byte {at}")
        value, at = _field(block, at, "value")
        yield name, value


def _field(block: bytes, at: int, what: str) -> tuple[bytes, int]:
    start = at + 2
    if start > len(block):
        raise PacketError(f"the length of a {what} is cut off at byte {at}")
    stop = start + _LENGTH.unpack_from(block, at)[0]
    if stop > len(block):
        raise PacketError(f"a {what} runs over the end of the block at byte {at}")
    return block[start:stop], stop


def encode_block(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Join (name, value) pairs to a block.

    Raises PacketError when a field or the whole is larger than the format can say.
    """
    parts: list[bytes] = []
    for name, value in pairs:
        if len(name) > MAX_BLOCK or len(value) > MAX_BLOCK:
            raise PacketError(f"{name[:40]!r} is longer than {MAX_BLOCK} bytes")
        parts += (_LENGTH.pack(len(name)), name, _LENGTH.pack(len(value)), value)
    return b"".join(parts)


def encode(pairs: Iterable[tuple[bytes, bytes]], modifier1: int = REQUEST, modifier2: int = 0) -> bytes:
    """Make a whole packet. Raises PacketError when it would be larger than MAX_BLOCK."""
    block = encode_block(pairs)
    if len(block) > MAX_BLOCK:
        raise PacketError(f"{len(block)} bytes of variables, at most {MAX_BLOCK} fit in a packet")
    return HEADER.pack(modifier1, len(block), modifier2) + block
