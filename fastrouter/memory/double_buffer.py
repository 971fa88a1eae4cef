"""Records in shared memory that are replaced as a whole, without a lock for those who read them.

Each slot has room for two records. The one writer fills the half that is not in use and then moves the slot's
sequence number, whose lowest bit says which half counts. A reader that has copied a half before it is used
again has a whole record; a writer that dies half-way has changed nothing. The checksum guards the beginning
of the next use, processors that reorder stores, and files that outlive a crash of the machine.
"""

import struct
import zlib

__all__ = ["HEAD", "DoubleBuffer"]

HEAD = struct.Struct("<II")
"""What stands before each record: its checksum and its size."""

_TRIES = 100
"""Reads of one record that nobody is writing, before it is given up."""


class DoubleBuffer:
    """Slots in memory, with size bytes for each half, and their sequence numbers in cells."""

    def __init__(self, memory: memoryview, size: int, cells: memoryview, first: int, step: int) -> None:
        """Slot n's sequence number is cells[first + n * step]."""
        self._memory = memory
        self._size = size
        self._cells = cells
        self._first = first
        self._step = step

    def release(self) -> None:
        """Give the view of the memory back."""
        self._memory.release()

    def write(self, slot: int, record: bytes) -> None:
        """Replace the record in a slot; an empty one means that there is none."""
        at = self._first + slot * self._step
        sequence = self._cells[at] + 1
        start = (2 * slot + (sequence & 1)) * self._size
        whole = HEAD.pack(zlib.crc32(record), len(record)) + record
        self._memory[start : start + len(whole)] = whole
        self._cells[at] = sequence

    def read(self, slot: int) -> bytes:
        """The record in a slot, whole; empty when there is none, or when the memory is damaged."""
        at = self._first + slot * self._step
        tries = 0
        while tries < _TRIES:
            sequence = self._cells[at]
            start = (2 * slot + (sequence & 1)) * self._size
            checksum, size = HEAD.unpack_from(self._memory, start)
            start += HEAD.size
            size = min(size, self._size - HEAD.size)
            record = bytes(self._memory[start : start + size])
            # The next record goes to the other half; only the one after that would have spoilt this.
            moved = self._cells[at] - sequence
            if moved <= 1 and zlib.crc32(record) == checksum:
                return record
            tries += not moved  # a writer that is this fast is no damage
        return b""
