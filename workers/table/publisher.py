"""Telling the router workers what has changed in the table."""

import os
import select
from collections.abc import Sequence

from fastrouter.memory.cells import Table
from fastrouter.memory.shared import EVERY_SLOT, Delta, SharedState
from workers.loop import Event, Loop

__all__ = ["Publisher"]


class Publisher:
    """Writes deltas down the workers' pipes. Who falls behind is told to read the whole table."""

    def __init__(self, loop: Loop, state: SharedState, pipes: Sequence[int]) -> None:
        self._loop = loop
        self._cells = state.cells
        self._pipes = pipes
        self._behind: set[int] = set()
        """Pipes that were full; their workers read the whole table when there is room again."""

    def publish(self, delta: Delta) -> None:
        data = delta.encode()
        for pipe in self._pipes:
            if pipe not in self._behind:
                try:
                    os.write(pipe, data)
                except BlockingIOError:
                    self._behind.add(pipe)
                    self._loop.watch(pipe, select.EPOLLOUT, self._catch_up)

    def publish_slot(self, slot: int) -> None:
        """Have every worker read a slot that was changed."""
        self._cells[Table.GENERATION] += 1
        self.publish(Delta(self._cells[Table.GENERATION], slot))

    def publish_all(self) -> None:
        """Have every worker read the whole table."""
        self.publish_slot(EVERY_SLOT)

    def _catch_up(self, event: Event) -> None:
        os.write(event[0], Delta(self._cells[Table.GENERATION], EVERY_SLOT).encode())
        self._behind.remove(event[0])
        self._loop.unwatch(event[0])
