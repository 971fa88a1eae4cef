"""What concerns the whole program, whatever gateways it has: written by the master, read by all children."""

import mmap
import os
from typing import Final

from fastrouter.memory.memfd import shared_memory

__all__ = ["ProgramCells"]

_PAUSED: Final = 0
_SILENT: Final = 1
_SIZE: Final = 16
"""Bytes."""


class ProgramCells:
    """Made before any fork, and inherited by every child, which looks there once a second.

    A reload hands the memory over, so that what is paused stays so.
    """

    def __init__(self, fd: int = -1, private: bool = False) -> None:
        """fd is memory that is there already. private: what is written is for us alone."""
        self.fd = shared_memory("fastrouter-program", _SIZE) if fd < 0 else fd
        self._memory = mmap.mmap(self.fd, _SIZE, access=mmap.ACCESS_COPY if private else mmap.ACCESS_WRITE)
        self._cells = memoryview(self._memory).cast("Q")

    def close(self) -> None:
        """Give the mapping back."""
        self._cells.release()
        self._memory.close()
        os.close(self.fd)

    @property
    def is_paused(self) -> bool:
        """Gateways are to accept nothing, and the application is not to be announced."""
        return bool(self._cells[_PAUSED])

    @is_paused.setter
    def is_paused(self, value: bool) -> None:
        self._cells[_PAUSED] = value

    @property
    def is_silent(self) -> bool:
        """Announcers are to send nothing at all."""
        return bool(self._cells[_SILENT])

    @is_silent.setter
    def is_silent(self, value: bool) -> None:
        self._cells[_SILENT] = value
