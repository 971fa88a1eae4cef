"""Keeping the table in a file, and finding it there after a restart (``subscription-state``)."""

import contextlib
import logging
import os
from collections.abc import Iterator

from fastrouter.memory.cells import Slot, Table
from fastrouter.memory.shared import SharedState
from fastrouter.subscriptions.saved_state import (
    SavedNode,
    StateError,
    TooOld,
    load_state,
    save_state,
    touch_state,
)
from fastrouter.subscriptions.table import Entry, SubscriptionTable
from fastrouter.text import to_text
from fastrouter.wire.announcement import Announcement

__all__ = ["Snapshot"]

log = logging.getLogger("fastrouter")

_EVERY = 5
"""Seconds between two looks at whether there is anything new to save."""


class Snapshot:
    """What the file at path knows of a table. Does nothing without a path."""

    def __init__(self, path: str, state: SharedState, table: SubscriptionTable) -> None:
        self._path = path
        self._state = state
        self._table = table
        self._seconds = 0
        self._saved = -1
        """The table's generation that is in the file."""
        self._is_failing = False

    def left_behind(self) -> Iterator[SavedNode]:
        """The nodes of the program's last run, if this is its first subscription server since."""
        if not self._path or self._state.cells[Table.LAST_ID]:
            return
        count = 0
        try:
            for node in load_state(self._path):
                count += 1
                yield node
        except (OSError, TooOld) as error:
            log.warning("%s: %s", self._path, error)
        except StateError as error:
            log.warning("%s: %s; it is kept as %s.bad", self._path, error, self._path)
            with contextlib.suppress(OSError):
                os.replace(self._path, f"{self._path}.bad")
        if count:
            log.info("%s: %d nodes of the last run", self._path, count)

    def tick(self) -> None:
        """To be called once a second."""
        self._seconds += 1
        if self._seconds % _EVERY == 0:
            self.save()

    def save(self) -> None:
        """Write the file, or only note that it is as good as before. Logs why not, once."""
        if not self._path:
            return
        generation = self._state.cells[Table.GENERATION]
        try:
            if generation == self._saved and os.path.exists(self._path):
                touch_state(self._path)
            else:
                save_state(self._path, map(self._node, self._table))
                self._saved = generation
        except OSError as error:
            if not self._is_failing:
                log.error("cannot save the table in %s: %s", self._path, error.strerror)
            self._is_failing = True
            return
        if self._is_failing:
            log.info("the table is saved in %s again", self._path)
        self._is_failing = False

    def _node(self, entry: Entry) -> SavedNode:
        record, cells = entry.record, self._state.cells
        announcement = Announcement(
            entry.key,
            entry.address,
            traits=record.traits,
            cores=cells[self._state.slot_cell(entry.slot, Slot.CORES)],
            load=cells[self._state.slot_cell(entry.slot, Slot.LOAD)],
        )
        return SavedNode(announcement, to_text(record.resolved))
