"""The cache protocol: uwsgi packets with modifier1 111, one request a connection.

modifier2 17 is what uWSGI's own functions speak (a dictionary, then the value); 0, 1, 2 and 5 are the older
commands, which know the first cache only. There is no error reply: what fails is answered with nothing.
uWSGI 2.0.31 puts four bytes of a memory address in front of a value (modifier2 0 and 5) where its
documentation promises a header; here it is a header.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastrouter.cache.store import Cache, Item
from fastrouter.wire.packet import HEADER, MAX_BLOCK, PacketError, encode, records
from fastrouter.wire.request import decimal

__all__ = ["CACHE", "Call", "Reply", "answer_call", "call_packet", "parse_reply"]

CACHE = 111
"""modifier1"""

_GET, _SET, _DELETE, _STREAM, _DICTIONARY = 0, 1, 2, 5, 17

Caches = Mapping[str, Cache]

_LENGTH = struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class Call:
    """A request to a cache elsewhere."""

    command: str
    """get, set, update, del, exists or clear"""
    cache: str = ""
    key: bytes = b""
    value: bytes = b""
    expires: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    size: int
    """Bytes of the value, which follows."""


def call_packet(call: Call) -> bytes:
    """The whole request. Raises PacketError when the key is too long."""
    pairs = [(b"cmd", call.command.encode()), (b"key", call.key)]
    if call.value:
        pairs.append((b"size", b"%d" % len(call.value)))
    if call.expires:
        pairs.append((b"expires", b"%d" % call.expires))
    if call.cache:
        pairs.append((b"cache", call.cache.encode()))
    return encode([pair for pair in pairs if pair[1]], CACHE, _DICTIONARY) + call.value


def parse_reply(block: bytes) -> Reply | None:
    """Read the variables of a reply; None when it is not one of success. Raises PacketError."""
    values = dict(records(block))
    return Reply(decimal(values.get(b"size", b""))) if values.get(b"status") == b"ok" else None


def answer_call(caches: Caches, modifier2: int, block: bytes, read: Callable[[int], bytes]) -> bytes:
    """Do what a packet asks for; read gives so many bytes of what follows it. Returns the reply, if any.

    Raises PacketError.
    """
    first = next(iter(caches.values()), None)
    if first is None:
        return b""
    if modifier2 == _DICTIONARY:
        return _dictionary(caches, first, block, read)
    if modifier2 in (_GET, _STREAM):
        item = first.get(block)
        if item is None or len(item.value) > MAX_BLOCK:
            return HEADER.pack(CACHE, 0, 0) if modifier2 == _STREAM else b""
        if modifier2 == _STREAM:
            return HEADER.pack(CACHE, 0, 1) + item.value
        return HEADER.pack(CACHE, len(item.value), 0) + item.value
    if modifier2 == _SET:
        key, value = _array(block)
        first.set(key, value)
    elif modifier2 == _DELETE:
        first.delete(block)
    return b""


def _dictionary(caches: Caches, first: Cache, block: bytes, read: Callable[[int], bytes]) -> bytes:
    values = dict(records(block))
    name = values.get(b"cache", b"").decode("utf-8", "replace")
    cache = caches.get(name) if name else first
    if cache is None:
        return b""
    command, key = values.get(b"cmd", b""), values.get(b"key", b"")
    if command in (b"set", b"update"):
        size, expires = decimal(values.get(b"size", b"")), decimal(values.get(b"expires", b""))
        if size > cache.definition.blocksize:
            return b""
        store = cache.set if command == b"set" else cache.update
        return _ok() if store(key, read(size), expires) else b""
    if command == b"get":
        item = cache.get(key)
        return _ok(item) if item else b""
    if command == b"exists":
        return _ok() if cache.peek(key) else b""
    if command == b"del":
        return _ok() if cache.delete(key) else b""
    if command == b"clear":
        cache.clear()
        return _ok()
    return b""


def _ok(item: Item | None = None) -> bytes:
    pairs = [(b"status", b"ok")]
    if item is None:
        return encode(pairs, CACHE, _DICTIONARY)
    pairs.append((b"size", b"%d" % len(item.value)))
    if item.expires:
        pairs.append((b"expires", b"%d" % item.expires))
    return encode(pairs, CACHE, _DICTIONARY) + item.value


def _array(block: bytes) -> tuple[bytes, bytes]:
    """The first two of the length-prefixed items that a packet is made of."""
    items, at = [], 0
    while at + 2 <= len(block):
        (size,) = _LENGTH.unpack_from(block, at)
        at += 2 + size
        if at > len(block):
            break
        items.append(block[at - size : at])
    if len(items) < 2:
        raise PacketError("expected a key and a value")
    return items[0], items[1]
