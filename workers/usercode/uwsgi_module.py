"""What the user's code gets when it says ``import uwsgi``: the functions of the cache.

Signatures and results are those of uWSGI 2.0.31: positional arguments, str or bytes, None for what failed.
The cache is a name, or name@address of one that another program serves, or nothing for the first.
"""

import socket
import sys
from collections.abc import Mapping
from types import ModuleType

from fastrouter.address import AddressError, parse_node
from fastrouter.cache.store import Cache, number_in
from fastrouter.cache.wire import Call, call_packet, parse_reply
from fastrouter.wire.packet import HEADER, PacketError

__all__ = ["install_uwsgi_module"]

Text = str | bytes


def install_uwsgi_module(caches: Mapping[str, Cache], timeout: float, reader: int | None = None) -> None:
    """Make ``import uwsgi`` work.

    timeout, in seconds, is for caches elsewhere; reader is the number of a router worker, whose reads wait
    for nobody.
    """
    module = ModuleType("uwsgi", __doc__)
    functions = CacheFunctions(caches, timeout, reader)
    for name in dir(functions):
        if name.startswith("cache_"):
            setattr(module, name, getattr(functions, name))
    sys.modules["uwsgi"] = module


class CacheFunctions:
    """Each method becomes a function of the module."""

    def __init__(self, caches: Mapping[str, Cache], timeout: float, reader: int | None) -> None:
        self._caches = caches
        self._timeout = timeout
        self._reader = reader

    def cache_get(self, key: Text, cache: str | None = None, /) -> bytes | None:
        """The value, or None."""
        if cache and "@" in cache:
            return self._call(cache, "get", key)
        return self._read(key, cache)

    def cache_set(self, key: Text, value: Text, expires: int = 0, cache: str | None = None, /) -> bool | None:
        """Store a new item. None when there is one of that key, or when it failed."""
        if cache and "@" in cache:
            return _done(self._call(cache, "set", key, value, expires) is not None)
        local = self._local(cache)
        return _done(local is not None and local.set(_bytes(key), _bytes(value), expires))

    def cache_update(
        self, key: Text, value: Text, expires: int = 0, cache: str | None = None, /
    ) -> bool | None:
        """Store an item, new or not."""
        if cache and "@" in cache:
            return _done(self._call(cache, "update", key, value, expires) is not None)
        local = self._local(cache)
        return _done(local is not None and local.update(_bytes(key), _bytes(value), expires))

    def cache_del(self, key: Text, cache: str | None = None, /) -> bool | None:
        if cache and "@" in cache:
            return _done(self._call(cache, "del", key) is not None)
        local = self._local(cache)
        return _done(local is not None and local.delete(_bytes(key)))

    def cache_exists(self, key: Text, cache: str | None = None, /) -> bool | None:
        if cache and "@" in cache:
            return _done(self._call(cache, "exists", key) is not None)
        local = self._local(cache)
        return _done(local is not None and local.peek(_bytes(key)) is not None)

    def cache_clear(self, cache: str | None = None, /) -> bool | None:
        if cache and "@" in cache:
            return _done(self._call(cache, "clear") is not None)
        local = self._local(cache)
        if local is not None:
            local.clear()
        return _done(local is not None)

    def cache_keys(self, cache: str | None = None, /) -> list[bytes]:
        """Raises ValueError when there is no such cache here."""
        local = self._local(cache)
        if local is None:
            raise ValueError("no local uWSGI cache available")
        return local.keys()

    def cache_num(self, key: Text, cache: str | None = None, /) -> int:
        """The number that cache_inc and its like keep, 0 when there is none."""
        value = self._read(key, cache)
        return number_in(value) if value else 0

    def cache_inc(self, key: Text, by: int = 1, expires: int = 0, cache: str | None = None, /) -> bool | None:
        return self._compute("inc", key, by, expires, cache)

    def cache_dec(self, key: Text, by: int = 1, expires: int = 0, cache: str | None = None, /) -> bool | None:
        return self._compute("dec", key, by, expires, cache)

    def cache_mul(self, key: Text, by: int = 2, expires: int = 0, cache: str | None = None, /) -> bool | None:
        return self._compute("mul", key, by, expires, cache)

    def cache_div(self, key: Text, by: int = 2, expires: int = 0, cache: str | None = None, /) -> bool | None:
        return self._compute("div", key, by, expires, cache)

    def _compute(self, operation: str, key: Text, by: int, expires: int, cache: str | None) -> bool | None:
        local = self._local(cache)
        return _done(local is not None and local.compute(_bytes(key), operation, by, expires))

    def _read(self, key: Text, cache: str | None) -> bytes | None:
        local = self._local(cache)
        if local is None:
            return None
        if self._reader is not None:
            found = local.look_up(_bytes(key), self._reader)
            return found[0].value if found else None
        item = local.get(_bytes(key))
        return item.value if item else None

    def _local(self, name: str | None) -> Cache | None:
        if name:
            return self._caches.get(name)
        return next(iter(self._caches.values()), None)

    def _call(
        self, cache: str, command: str, key: Text = b"", value: Text = b"", expires: int = 0
    ) -> bytes | None:
        """Ask a cache elsewhere. Returns the value, empty where there is none to give; None for a failure."""
        name, _, address = cache.partition("@")
        try:
            packet = call_packet(Call(command, name, _bytes(key), _bytes(value), expires))
            family, sockaddr = parse_node(address)
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.settimeout(self._timeout)
                sock.connect(sockaddr)
                sock.sendall(packet)
                with sock.makefile("rb") as stream:
                    head = stream.read(HEADER.size)
                    reply = parse_reply(stream.read(HEADER.unpack(head)[1])) if len(head) == 4 else None
                    return stream.read(reply.size) if reply else None
        except (OSError, AddressError, PacketError):
            return None


def _done(success: bool) -> bool | None:
    return success or None


def _bytes(text: Text) -> bytes:
    return text.encode() if isinstance(text, str) else text
