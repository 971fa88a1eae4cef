"""A cache in shared memory.

Whoever reads needs no lock: items are replaced as a whole (halves.py), and a ring of the latest changes keeps
every process's own index of the keys up to date. Writers hold a record lock, which the kernel takes back from
the dead; what a dead one had begun is finished by the next. Expired items are not seen by anybody, and make
room when that is needed.
"""

import fcntl
import logging
import mmap
import operator
import os
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from fastrouter.cache.definition import CacheError, Definition
from fastrouter.files import open_to_write
from fastrouter.memory.double_buffer import HEAD, DoubleBuffer
from fastrouter.memory.memfd import shared_memory

__all__ = ["Cache", "Item", "check_store", "number_in"]

log = logging.getLogger("fastrouter")

_MAGIC = 0x66_72_63_61_63_68_65_31
_HEADER = 16
_RING = 1024
"""Changes that a reader may be behind before it reads everything again."""

_GENERATION, _PENDING = 4, 5
"""Header cells: the number of changes; the changing slot plus 1, or 0. The first four say what this is."""

_SWEEP = 1.0
_LOOKED_AT = 64
"""Items to compare when one has to go; of thousands, the least used of this many does as well."""

_USE_CELLS = 2
"""Of one item and one reader: its hits, and the monotonic nanoseconds of the last."""

_ITEM = struct.Struct("<QQH")
"""When it expires (seconds of the epoch, 0 for never), the hits when it was stored, the size of its key."""


class Item(NamedTuple):
    key: bytes
    value: bytes
    expires: int
    """Seconds of the epoch, 0 for never."""
    hits_before: int


def number_in(value: bytes) -> int:
    """The number that inc and its like keep: 8 bytes, signed, in the machine's order."""
    return int.from_bytes(value[:8], sys.byteorder, signed=True)


def _divide(value: int, by: int) -> int:
    """As C does: towards zero; and by zero it is zero (uWSGI 2.0.31 behaviour)."""
    quotient = abs(value) // abs(by) if by else 0
    return quotient if (value < 0) == (by < 0) else -quotient


_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "inc": operator.add,
    "dec": operator.sub,
    "mul": operator.mul,
    "div": _divide,
}


class Cache:
    """One cache, as every process that was forked after it was made sees it."""

    def __init__(
        self, definition: Definition, readers: int, fd: int = -1, private: bool = False, locks: int = -1
    ) -> None:
        """readers is the number of processes that count hits on their own (router workers).

        fd is the memory of the same cache in the program before this one, or in another one, which is used
        if it fits; private: what is written is for us alone. locks is the descriptor of a file whose bytes
        writers lock, one a cache; without it they lock the cache's memory, and keep its descriptor for that.

        Raises CacheError when the store is another's, OSError when it cannot be used.
        """
        self.definition = definition
        self.name = definition.name
        self._readers = readers
        half = _half(definition)
        cells = _cells(definition)
        size = 8 * cells + 2 * half * definition.items
        fits = fd >= 0 and os.fstat(fd).st_size == size
        self.fd = fd if fits else _open(definition, size)
        """Of its memory."""
        self._locked = (locks, 1, zlib.crc32(definition.name.encode())) if locks >= 0 else (self.fd, 0, 0)
        """The descriptor, length and start of what writers lock."""
        access = mmap.ACCESS_COPY if private else mmap.ACCESS_WRITE
        self._memory = mmap.mmap(self.fd, size, access=access)
        whole = memoryview(self._memory)
        self._cells = whole[: 8 * cells].cast("Q")
        self._records_buffer = DoubleBuffer(whole[8 * cells :], half, self._cells, _HEADER + _RING, 1)
        uses = (readers + 1) * definition.items * _USE_CELLS
        self._uses = memoryview(mmap.mmap(-1, 8 * uses)).cast("Q")
        self._slots: dict[bytes, int] = {}
        self._keys: dict[int, bytes] = {}
        self._generation = 0
        self._next = 0
        self._swept = -_SWEEP
        self._thread_lock = threading.RLock()
        self._check_store()
        self._read_all()

    def close_descriptor(self) -> None:
        """Have no way to change the size of the memory; what is in it can still be changed.

        For a process that keeps the cache until its end: the mapping has a descriptor of its own (mmap.mmap).
        """
        assert self._locked[0] != self.fd, "writers need it"
        about = os.fstat(self.fd)
        for fd in map(int, os.listdir("/proc/self/fd")):
            try:
                if os.path.samestat(os.fstat(fd), about):
                    os.close(fd)
            except OSError:
                pass  # that of the listing itself
        self.fd = -1

    def close(self) -> None:
        """Give the memory back."""
        self._cells.release()
        self._records_buffer.release()
        self._memory.close()
        os.close(self.fd)

    # For everybody, without a lock.

    def peek(self, key: bytes) -> Item | None:
        """The item, without counting a hit."""
        self._follow()
        slot = self._slots.get(key)
        return None if slot is None else self._item(slot, key)

    def look_up(self, key: bytes, reader: int) -> tuple[Item, int] | None:
        """The item, and how often it was asked for before. The caller is the only one with its number."""
        item = self.peek(key)
        slot = self._slots.get(key)
        if item is None or slot is None:
            return None
        hits = self._hits(slot)
        at = self._use(reader, slot)
        self._uses[at] += 1
        self._uses[at + 1] = time.monotonic_ns()
        return item, max(hits - item.hits_before, 0)  # those before a restart are forgotten

    def keys(self) -> list[bytes]:
        self._follow()
        return [key for key in list(self._slots) if self.peek(key) is not None]

    # For everybody but router workers, which must not wait.

    def get(self, key: bytes) -> Item | None:
        """The item; counts a hit."""
        with self._lock():
            found = self.look_up(key, self._readers)
            return found[0] if found else None

    def set(self, key: bytes, value: bytes, expires: int = 0) -> bool:
        """Store a new item for so many seconds, 0 for ever. False when there is one, or no room."""
        with self._lock():
            return self.peek(key) is None and self._store(key, value, expires)

    def update(self, key: bytes, value: bytes, expires: int = 0) -> bool:
        """Store an item, new or not. False when there is no room. The hits go on."""
        with self._lock():
            return self._store(key, value, expires)

    def delete(self, key: bytes) -> bool:
        """False when there is no such item."""
        with self._lock():
            found = self.peek(key) is not None
            if found:
                self._publish(self._slots[key], b"")
            return found

    def clear(self) -> None:
        with self._lock():
            self._remove_all()

    def compute(self, key: bytes, operation: str, number: int, expires: int = 0) -> bool:
        """inc, dec, mul or div the signed 64-bit number that is the value. False when it is no number."""
        with self._lock():
            item = self.peek(key)
            if item is not None and len(item.value) != 8:
                return False
            value = number_in(item.value) if item else self.definition.math_initial
            value = _OPERATIONS[operation](value, number)
            value = (value + (1 << 63)) % (1 << 64) - (1 << 63)
            return self._store(key, value.to_bytes(8, sys.byteorder, signed=True), expires)

    # The rest is private.

    def _check_store(self) -> None:
        definition = self.definition
        wanted = (_MAGIC, definition.items, definition.blocksize, definition.keysize)
        if not any(self._cells[: len(wanted)]):
            for at, number in enumerate(wanted):
                self._cells[at] = number
        elif tuple(self._cells[: len(wanted)]) != wanted:
            raise CacheError(
                f"{definition.store} is the store of another cache; give store_delete to replace it"
            )

    def _use(self, reader: int, slot: int) -> int:
        return (reader * self.definition.items + slot) * _USE_CELLS

    def _hits(self, slot: int) -> int:
        return sum(self._uses[self._use(reader, slot)] for reader in range(self._readers + 1))

    def _item(self, slot: int, key: bytes) -> Item | None:
        record = self._records_buffer.read(slot)
        if len(record) < _ITEM.size:
            return None
        expires, hits_before, size = _ITEM.unpack_from(record)
        if record[_ITEM.size : _ITEM.size + size] != key or 0 < expires <= _now():
            return None
        return Item(key, record[_ITEM.size + size :], expires, hits_before)

    def _follow(self) -> None:
        """Bring the index up to date."""
        if self._cells[_GENERATION] != self._generation:
            with self._thread_lock:
                self._catch_up(self._cells[_GENERATION])

    def _catch_up(self, generation: int) -> None:
        for number in range(max(self._generation, generation - _RING) + 1, generation + 1):
            self._index(self._cells[_HEADER + number % _RING])
        if self._cells[_GENERATION] - self._generation >= _RING:
            self._read_all()
        else:
            self._generation = generation

    def _read_all(self) -> None:
        self._generation = self._cells[_GENERATION]
        for slot in range(self.definition.items):
            if self._cells[_HEADER + _RING + slot]:  # it was used at least once
                self._index(slot)

    def _index(self, slot: int) -> None:
        old = self._keys.pop(slot, None)
        if old is not None and self._slots.get(old) == slot:
            del self._slots[old]
        record = self._records_buffer.read(slot) if slot < self.definition.items else b""
        if len(record) >= _ITEM.size:
            _, _, size = _ITEM.unpack_from(record)
            key = record[_ITEM.size : _ITEM.size + size]
            self._keys[slot] = key
            self._slots[key] = slot

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with self._thread_lock:
            fd, length, start = self._locked
            fcntl.lockf(fd, fcntl.LOCK_EX, length, start)
            try:
                pending = self._cells[_PENDING]
                if 0 < pending <= self.definition.items:
                    self._announce(pending - 1)  # of one who died in between
                self._follow()
                yield
            finally:
                fcntl.lockf(fd, fcntl.LOCK_UN, length, start)

    def _publish(self, slot: int, record: bytes) -> None:
        self._cells[_PENDING] = slot + 1
        self._records_buffer.write(slot, record)
        self._announce(slot)
        self._follow()

    def _announce(self, slot: int) -> None:
        generation = self._cells[_GENERATION] + 1
        self._cells[_HEADER + generation % _RING] = slot
        self._cells[_GENERATION] = generation
        self._cells[_PENDING] = 0

    def _store(self, key: bytes, value: bytes, expires: int) -> bool:
        definition = self.definition
        if not 0 < len(key) <= definition.keysize or not 0 < len(value) <= definition.blocksize:
            return False
        seconds = expires or definition.expires
        ends = _now() + seconds if seconds and not (definition.no_expire or definition.lru) else 0
        item = self.peek(key)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._free_slot()
            if slot is None:
                return False
        if item is None:
            hits = self._hits(slot)
            self._uses[self._use(self._readers, slot) + 1] = time.monotonic_ns()
        else:
            hits = item.hits_before
        self._publish(slot, _ITEM.pack(ends, hits, len(key)) + key + value)
        return True

    def _free_slot(self) -> int | None:
        if len(self._keys) == self.definition.items and not self._make_room():
            return None
        while self._next in self._keys:
            self._next = (self._next + 1) % self.definition.items
        return self._next

    def _make_room(self) -> bool:
        definition = self.definition
        if definition.lru:
            self._publish(self._little_used(), b"")
        elif not self._remove_expired():
            if not definition.clear_on_full:
                if not definition.ignore_full:
                    log.warning('*** DANGER cache "%s" is FULL !!! ***', self.name)
                return False
            self._remove_all()
        return True

    def _remove_expired(self) -> bool:
        """Look for what has expired, once a second at most. False when there was nothing."""
        now = time.monotonic()
        if self.definition.no_expire or now - self._swept < _SWEEP:
            return False
        self._swept = now
        expired = [slot for key, slot in self._slots.items() if self.peek(key) is None]
        for slot in expired:
            self._publish(slot, b"")
        return bool(expired)

    def _little_used(self) -> int:
        """Of some slots of a full cache, others each time, the one that was not used for longest."""
        items = self.definition.items
        some = [(self._next + step) % items for step in range(min(items, _LOOKED_AT))]
        self._next = (self._next + len(some)) % items
        return min(some, key=self._last_used)

    def _last_used(self, slot: int) -> int:
        return max(self._uses[self._use(reader, slot) + 1] for reader in range(self._readers + 1))

    def _remove_all(self) -> None:
        for slot in list(self._keys):
            self._publish(slot, b"")


def check_store(definition: Definition) -> None:
    """Raises CacheError and OSError when a cache could not be made, for reasons of its file."""
    if definition.store:
        there = os.path.exists(definition.store)
        size = 8 * _cells(definition) + 2 * _half(definition) * definition.items
        os.close(_open_store(definition, size))
        if not there:
            os.unlink(definition.store)


def _half(definition: Definition) -> int:
    """Bytes of one record."""
    return HEAD.size + _ITEM.size + definition.keysize + definition.blocksize


def _cells(definition: Definition) -> int:
    return _HEADER + _RING + definition.items


def _now() -> int:
    return int(time.time())  # noqa: TID251 - an expiry is an absolute time, on the wire and in a store


def _open(definition: Definition, size: int) -> int:
    if not definition.store:
        return shared_memory(f"cache {definition.name}", size)
    fd = _open_store(definition, size)
    if os.fstat(fd).st_size not in (0, size):
        log.warning("%s is the store of a cache of another size: it is begun anew", definition.store)
        os.ftruncate(fd, 0)
    try:
        os.posix_fallocate(fd, 0, size)  # a full disk is to be noticed now, and not in the middle of a write
    except OSError as error:
        os.close(fd)
        raise OSError(error.errno, f"{error.strerror}; {size} bytes are needed", definition.store) from None
    return fd


def _open_store(definition: Definition, size: int) -> int:
    """Raises CacheError when it is another's, and may not be deleted."""
    fd, _ = open_to_write(definition.store, os.O_RDWR, 0o600)
    if os.fstat(fd).st_size not in (0, size) and not definition.store_delete:
        os.close(fd)
        raise CacheError(f"{definition.store} is the store of another cache; give store_delete to replace it")
    return fd
