"""Taking over the memory of the program before a reload: its table, and its counts."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fastrouter.memory.cells import COUNTERS, HISTOGRAMS, Counter, Slot, Table, Worker
from fastrouter.memory.outcomes import ERRORS, error_cell
from fastrouter.memory.shared import FORMAT, Layout, NodeRecord, SharedState

__all__ = ["KNOWN_FORMATS", "Takeover", "former_memory"]

_WITHOUT_KEYS = 3

KNOWN_FORMATS = (_WITHOUT_KEYS, FORMAT)
"""Formats of memory that can be taken over."""

_COUNTED = (
    *(Counter.REQUESTS, Counter.RX, Counter.TX, Counter.ACTIVE),
    *(Counter.FAILURES, Counter.UNANSWERED, Counter.TIMEOUTS),
)


class Takeover:
    """Copies the table once, and counts as long as the former router workers go on counting."""

    def __init__(
        self, state: SharedState, former: SharedState, configured: Sequence[str], former_nodes: Sequence[str]
    ) -> None:
        """configured are the addresses of configured nodes, which have the first slots, now and formerly."""
        self._state = state
        self._former = former
        former.keep_from_children()
        self.left_out = 0
        """Nodes that found no room."""
        self._slots: dict[int, tuple[int, NodeRecord]] = {}
        """What is in the former slots: where it is now, and the node."""
        self._configured = _same(former_nodes, configured)
        """The same of configured nodes."""
        first_slot, former_first_slot = len(configured) + 1, len(former_nodes) + 1
        for cell in range(Table.LAST_ID, Table.END):
            state.cells[cell] = former.cells[cell]
        slot = first_slot
        used = min(former.cells[Table.SLOTS_USED], former.layout.slots)
        for former_slot in range(former_first_slot, used):
            record = former.read(former_slot)
            if record is not None and not record.draining:
                if slot < state.layout.slots:
                    self._copy(former_slot, slot, record)
                    slot += 1
                else:
                    self.left_out += 1
        for former_slot, now in self._configured.items():
            self._copy_cells(former_slot, now)
        state.cells[Table.SLOTS_USED] = slot
        state.cells[Table.GENERATION] = former.cells[Table.GENERATION]
        self.count()
        self.take_over_times()

    def count(self) -> None:
        """Take over what was counted meanwhile, for nodes that are still there."""
        retired = self._state.layout.workers
        for cell in (Worker.ACCEPTED, Worker.ERRORS, *map(error_cell, ERRORS)):
            rows = range(self._former.layout.rows)
            counted = sum(self._former.worker_cells(row)[cell] for row in rows)
            self._state.worker_cells(retired)[cell] = counted
        counters = self._state.counters(retired)
        for former_slot, slot in self._still_there():
            for counter in _COUNTED:
                counters[slot * COUNTERS + counter] = self._former.total(former_slot, counter)

    def end(self) -> None:
        """Nobody counts there any more, or has a request."""
        self.count()
        self.take_over_times()
        counters = self._state.counters(self._state.layout.workers)
        for slot in (*(slot for slot, _ in self._slots.values()), *self._configured.values()):
            counters[slot * COUNTERS + Counter.ACTIVE] = 0
        counters.release()
        self._former.close()

    def take_over_times(self) -> None:
        """The same for how long things took; that is more to look at, and not done every second."""
        retired = self._state.histograms(self._state.layout.workers)
        for former_slot, slot in self._still_there():
            for cell, total in enumerate(self._former.times(former_slot)):
                retired[slot * HISTOGRAMS + cell] = total
        retired.release()

    def _still_there(self) -> Iterator[tuple[int, int]]:
        """The slots, formerly and now, of nodes that have not left meanwhile."""
        yield from self._configured.items()
        for former_slot, (slot, record) in self._slots.items():
            now = self._state.read(slot)
            if now is not None and now.id == record.id:
                yield former_slot, slot

    def _copy(self, former_slot: int, slot: int, record: NodeRecord) -> None:
        self._copy_cells(former_slot, slot)
        self._state.write(slot, record)
        self._slots[former_slot] = (slot, record)

    def _copy_cells(self, former_slot: int, slot: int) -> None:
        for cell in range(Slot.LAST_ANNOUNCED, Slot.END):
            at = self._former.slot_cell(former_slot, cell)
            self._state.cells[self._state.slot_cell(slot, cell)] = self._former.cells[at]


def former_memory(format: int, layout: Layout, fd: int) -> SharedState | None:
    """The memory of a former program, which has slots, workers and apps in its layout. None if it is unknown.

    Format 3, of version 0.1.0 in its early days, remembers no keys without a node.
    """
    if format not in KNOWN_FORMATS:
        return None
    return SharedState(replace(layout, keys=0) if format == _WITHOUT_KEYS else layout, fd)


def _same(former: Sequence[str], now: Sequence[str]) -> dict[int, int]:
    """Where what was in a place is now; of several that are the same, the first is the first."""
    places: dict[str, list[int]] = {}
    for place, address in enumerate(now):
        places.setdefault(address, []).append(place)
    return {place: places[address].pop(0) for place, address in enumerate(former) if places.get(address)}
