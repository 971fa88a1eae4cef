"""The memory that all processes share: node records, marks and counters.

The master maps it once, before any fork. Every cell is an aligned 64-bit number with one writer, stored in
one instruction, so that no reader needs a lock and no dead process can hold one. A node record is longer than
a cell; see halves.py for how it is replaced.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fastrouter.memory.cells import (
    APP_CELLS,
    COUNTERS,
    HEADER_CELLS,
    HISTOGRAMS,
    SLOT_CELLS,
    UNSERVED,
    WORKER_CELLS,
    Counter,
    Slot,
    Unserved,
)
from fastrouter.memory.double_buffer import HEAD, DoubleBuffer
from fastrouter.memory.memfd import shared_memory
from fastrouter.text import to_bytes, to_text
from fastrouter.wire.traits import MAX_ALGORITHM, PLAIN, Traits

__all__ = [
    "EVERY_SLOT",
    "FORMAT",
    "AppState",
    "Delta",
    "Failure",
    "Layout",
    "NodeRecord",
    "SharedState",
    "read_deltas",
    "read_failures",
    "read_whole",
]

FORMAT = 4
"""Of everything that follows; a program that is loaded anew takes over only what it understands."""


_RECORD_HEAD = struct.Struct("<QQHBBHHHIBBQ???")
_MAX_RESOLVED = 64
"""Bytes of a numeric address; the longest has 47."""

_HALF = 704
"""Bytes for one record: its head, a key and an address of at most 255 bytes each, names, some to grow."""
_KEY_HALF = HEAD.size + 256
"""Bytes for one key that has no node."""
assert HEAD.size + _RECORD_HEAD.size + 2 * 255 + MAX_ALGORITHM + _MAX_RESOLVED <= _HALF


class NodeRecord(NamedTuple):
    """What routing needs to know of a node."""

    id: int
    """Differs for every node that ever used the slot."""
    order: int
    """Position in its pool: nodes are kept in the order of their first announcement."""
    key: bytes
    address: bytes
    traits: Traits = PLAIN
    resolved: bytes = b""
    """The numeric address that stands for one with a host name."""
    since: int = 0
    """Monotonic nanoseconds of its first announcement, or of the first after it had failed or left."""
    draining: bool = False
    """It gets no more requests, and is only here for those that it still has."""

    def encode(self) -> bytes:
        traits = self.traits
        algorithm = to_bytes(traits.algorithm)[:MAX_ALGORITHM]
        head = _RECORD_HEAD.pack(
            self.id,
            self.order,
            traits.weight,
            traits.modifier1,
            traits.modifier2,
            len(self.key),
            len(self.address),
            traits.backup,
            traits.max_conns,
            len(algorithm),
            len(self.resolved),
            self.since,
            self.draining,
            traits.fd_passing,
            traits.keepalive,
        )
        return head + self.key + self.address + algorithm + self.resolved


_PAIR = struct.Struct("<QQ")

EVERY_SLOT = 2**64 - 1
"""The slot of a delta that stands for the whole table."""


class Delta(NamedTuple):
    """What goes down a router worker's pipe when routing changes."""

    generation: int
    """Of the table after the change."""
    slot: int

    def encode(self) -> bytes:
        return bytes(_PAIR.pack(self.generation, self.slot))


class Failure(NamedTuple):
    """What a router worker tells the subscription server about a node that it cannot reach."""

    slot: int
    id: int

    def encode(self) -> bytes:
        return bytes(_PAIR.pack(self.slot, self.id))


def read_deltas(pipe: int) -> Iterator[Delta]:
    """What waits in a pipe. Writes of one delta are atomic (pipe(7)), so only whole ones come out."""
    return map(Delta._make, _PAIR.iter_unpack(read_whole(pipe, _PAIR.size)))


def read_failures(pipe: int) -> Iterator[Failure]:
    return map(Failure._make, _PAIR.iter_unpack(read_whole(pipe, _PAIR.size)))


def read_whole(pipe: int, size: int) -> bytes:
    """What waits in a pipe of messages of size bytes. What is no whole message is not ours."""
    data = os.read(pipe, _MOST_MESSAGES * size)
    return data[: len(data) - len(data) % size]


_MOST_MESSAGES = 4096


def _decode(record: bytes) -> NodeRecord:
    fields = _RECORD_HEAD.unpack_from(record)
    id_, order, weight, modifier1, modifier2, *sizes, since, draining, fd_passing, keepalive = fields
    key_size, address_size, backup, max_conns, algorithm_size, resolved_size = sizes
    key_end = _RECORD_HEAD.size + key_size
    address_end = key_end + address_size
    algorithm_end = address_end + algorithm_size
    return NodeRecord(
        id_,
        order,
        record[_RECORD_HEAD.size : key_end],
        record[key_end:address_end],
        Traits(
            modifier1,
            modifier2,
            weight,
            backup,
            max_conns,
            to_text(record[address_end:algorithm_end]),
            fd_passing,
            keepalive,
        ),
        record[algorithm_end : algorithm_end + resolved_size],
        since,
        draining,
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """How many of each; decides where everything is."""

    slots: int
    workers: int
    apps: int = 0
    """Threads of app workers whose cells are in between; since they have memory of their own, none."""
    keys: int = UNSERVED
    """Keys without a node that are remembered for each worker."""

    @property
    def rows(self) -> int:
        """One a router worker, and one, written by the master, for those from before a reload."""
        return self.workers + 1

    @property
    def workers_at(self) -> int:
        return HEADER_CELLS

    @property
    def apps_at(self) -> int:
        return self.workers_at + self.rows * WORKER_CELLS

    @property
    def slots_at(self) -> int:
        return self.apps_at + self.apps * APP_CELLS

    @property
    def counters_at(self) -> int:
        return self.slots_at + self.slots * SLOT_CELLS

    @property
    def histograms_at(self) -> int:
        return self.counters_at + self.rows * self.slots * COUNTERS

    @property
    def unserved_at(self) -> int:
        return self.histograms_at + self.rows * self.slots * HISTOGRAMS

    def slot_cell(self, slot: int, cell: int = 0) -> int:
        """Where a slot's cell is."""
        return self.slots_at + slot * SLOT_CELLS + cell

    @property
    def records_at(self) -> int:
        """In bytes."""
        return 8 * (self.unserved_at + self.workers * self.keys * Unserved.END)

    @property
    def keys_at(self) -> int:
        """In bytes: of keys that have no node."""
        return self.records_at + 2 * _HALF * self.slots

    @property
    def size(self) -> int:
        """In bytes. Pages that are never touched cost nothing."""
        return self.keys_at + 2 * _KEY_HALF * self.keys * self.workers


_NO_TIMES = memoryview(bytes(8 * HISTOGRAMS)).cast("Q")


class AppState:
    """The cells of app workers' threads. They are apart from all else: application code can write there."""

    def __init__(self, threads: int) -> None:
        self._cells = memoryview(mmap.mmap(-1, max(8 * APP_CELLS * threads, 1))).cast("B")

    def cells(self, thread: int) -> memoryview:
        """The cells of thread number thread, over all app workers, from 0."""
        at = 8 * APP_CELLS * thread
        return self._cells[at : at + 8 * APP_CELLS].cast("Q")


class SharedState:
    """The mapping. Made by the master and inherited by every child."""

    def __init__(self, layout: Layout, fd: int = -1, private: bool = False) -> None:
        """fd is memory that is there already, in just this layout.

        private: what is written is for us alone.
        """
        self.layout = layout
        self.fd = fd
        if fd < 0:
            self.fd = shared_memory("fastrouter", layout.size)
        self._memory = mmap.mmap(
            self.fd, layout.size, access=mmap.ACCESS_COPY if private else mmap.ACCESS_WRITE
        )
        whole = memoryview(self._memory)
        self.cells = whole[: layout.records_at].cast("Q")
        self._records = whole[layout.records_at : layout.keys_at]
        self._keys = whole[layout.keys_at :]
        first = layout.slot_cell(0, Slot.SEQUENCE)
        self._records_buffer = DoubleBuffer(self._records, _HALF, self.cells, first, SLOT_CELLS)

    def keep_from_children(self) -> None:
        """No process that is forked from here on has the mapping."""
        self._memory.madvise(mmap.MADV_DONTFORK)

    def close(self) -> None:
        """Give the mapping back. Nothing may hold a view of it any more."""
        self.cells.release()
        self._records.release()
        self._keys.release()
        self._memory.close()
        os.close(self.fd)

    def worker_cells(self, worker: int) -> memoryview:
        """The cells of router worker number worker, from 0."""
        at = self.layout.workers_at + worker * WORKER_CELLS
        return self.cells[at : at + WORKER_CELLS]

    def counters(self, worker: int) -> memoryview:
        """One worker's counters of all nodes: COUNTERS cells a slot."""
        size = self.layout.slots * COUNTERS
        at = self.layout.counters_at + worker * size
        return self.cells[at : at + size]

    def histograms(self, worker: int) -> memoryview:
        """One worker's histograms of all nodes: HISTOGRAMS cells a slot."""
        size = self.layout.slots * HISTOGRAMS
        at = self.layout.histograms_at + worker * size
        return self.cells[at : at + size]

    def unserved(self, worker: int) -> tuple[DoubleBuffer, memoryview]:
        """The keys without a node that one worker was asked for, and Unserved's cells of each."""
        size = UNSERVED * Unserved.END
        at = self.layout.unserved_at + worker * size
        cells = self.cells[at : at + size]
        room = 2 * _KEY_HALF * UNSERVED
        keys = self._keys[worker * room : (worker + 1) * room]
        return DoubleBuffer(keys, _KEY_HALF, cells, Unserved.SEQUENCE, Unserved.END), cells

    def total(self, slot: int, counter: int) -> int:
        """One counter of one node, summed over all router workers, former ones included."""
        step = self.layout.slots * COUNTERS
        at = self.layout.counters_at + slot * COUNTERS + counter
        return sum(self.cells[at + step * row] for row in range(self.layout.rows))

    def times(self, slot: int) -> list[int]:
        """The cells of one node's histograms, each summed over all router workers, former ones included."""
        first, step = self.layout.histograms_at + slot * HISTOGRAMS, self.layout.slots * HISTOGRAMS
        starts = range(first, first + self.layout.rows * step, step)
        return [
            sum(column) for column in zip(*(self.cells[at : at + HISTOGRAMS] for at in starts), strict=True)
        ]

    def slot_cell(self, slot: int, cell: int) -> int:
        """Where in cells a slot's cell is."""
        return self.layout.slot_cell(slot, cell)

    def begin_counts(self, slot: int) -> None:
        """What is counted from here on is a new node's."""
        for cell, counter in (
            (Slot.REQUESTS_BEFORE, Counter.REQUESTS),
            (Slot.RX_BEFORE, Counter.RX),
            (Slot.TX_BEFORE, Counter.TX),
            (Slot.FAILURES_BEFORE, Counter.FAILURES),
            (Slot.UNANSWERED_BEFORE, Counter.UNANSWERED),
            (Slot.TIMEOUTS_BEFORE, Counter.TIMEOUTS),
        ):
            self.cells[self.slot_cell(slot, cell)] = self.total(slot, counter)
        # Nobody has a request there, so nobody writes; at worst a time that is being noted is the former's.
        for worker in range(self.layout.rows):
            at = self.layout.histograms_at + (worker * self.layout.slots + slot) * HISTOGRAMS
            self.cells[at : at + HISTOGRAMS] = _NO_TIMES

    def forget_rests(self, slot: int) -> None:
        """Somebody else is in a slot now."""
        self.cells[self.slot_cell(slot, Slot.REST)] = 0
        self.cells[self.slot_cell(slot, Slot.RESTS)] = 0

    def write(self, slot: int, record: NodeRecord | None) -> None:
        """Put a record in a slot, or with None empty it."""
        self._records_buffer.write(slot, record.encode() if record else b"")

    def read(self, slot: int) -> NodeRecord | None:
        """The record in a slot, whole, or None when the slot is empty, or there is no such slot."""
        record = self._records_buffer.read(slot) if slot < self.layout.slots else b""
        return _decode(record) if len(record) >= _RECORD_HEAD.size else None

    def place(self, slot: int) -> tuple[int, bytes] | None:
        """Order and key of the record in a slot, which are had sooner than the whole of it."""
        record = self._records_buffer.read(slot) if slot < self.layout.slots else b""
        if len(record) < _RECORD_HEAD.size:
            return None
        _, order, _, _, _, key_size, *_ = _RECORD_HEAD.unpack_from(record)
        return order, record[_RECORD_HEAD.size : _RECORD_HEAD.size + key_size]
