"""The routing table as its one writer, the subscription server, holds it.

Every change goes to the node's slot in shared memory at once, and its slot number to the caller, who tells
the router workers. The shared slots are all there is to know: a new subscription server starts from them.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import Enum

from fastrouter.shared import MAX_ALGORITHM, Counter, Delta, NodeRecord, SharedState, Slot, Table
from fastrouter.subscription import Announcement
from fastrouter.text import to_bytes, to_text

__all__ = ["Outcome", "SubscriptionTable", "TableFull"]

_SECOND = 1_000_000_000


class TableFull(Exception):
    """There is no slot for another node."""


class Outcome(Enum):
    """What an announcement did."""

    NEW_POOL = "new pool"
    NEW_NODE = "new node"
    CHANGED = "changed"
    REFRESHED = "refreshed"
    REMOVED = "removed"
    UNKNOWN = "unknown"
    """An unsubscription of something that is not there."""


@dataclass(slots=True)
class Entry:
    """A node in the table."""

    key: str
    address: str
    slot: int
    record: NodeRecord
    last_announced: float
    """Monotonic seconds."""


class SubscriptionTable:
    """All pools. first_slot is the number of slots that belong to configured nodes."""

    def __init__(self, state: SharedState, first_slot: int = 0) -> None:
        self._state = state
        self._cells = state.cells
        self._pools: dict[str, dict[str, Entry]] = {}
        self._by_age: OrderedDict[int, Entry] = OrderedDict()
        """By slot, the longest silent first."""
        self._free: deque[int] = deque()
        self._next_slot = max(first_slot, self._cells[Table.SLOTS_USED])
        self._load(first_slot)

    def __len__(self) -> int:
        return len(self._by_age)

    def __contains__(self, key: str) -> bool:
        """Whether a key has nodes."""
        return key in self._pools

    def announce(self, announcement: Announcement, now: float) -> tuple[Outcome, Delta | None]:
        """Add, refresh or remove the announced node at monotonic second now.

        Returns what happened, and the delta to send to the router workers if it changed routing.
        Raises TableFull.
        """
        entry = self._pools.get(announcement.key, {}).get(announcement.address)
        if announcement.unsubscribe:
            if entry is None:
                return Outcome.UNKNOWN, None
            return Outcome.REMOVED, self._remove(entry)
        if entry is None:
            new_pool = announcement.key not in self._pools
            delta = self._add(announcement, now)
            return (Outcome.NEW_POOL if new_pool else Outcome.NEW_NODE), delta
        return self._refresh(entry, announcement, now)

    def fail(self, slot: int, id: int) -> tuple[Entry, Delta] | None:
        """Remove a node that a router worker could not reach; its next announcement brings it back.

        None when it is gone already.
        """
        entry = self._by_age.get(slot)
        if entry is None or entry.record.id != id:
            return None
        return entry, self._remove(entry)

    def expire(self, now: float, tolerance: float) -> list[tuple[Entry, Delta]]:
        """Remove every node that has been silent for more than tolerance seconds."""
        expired = []
        while self._by_age:
            entry = next(iter(self._by_age.values()))
            if now - entry.last_announced <= tolerance:
                break
            expired.append((entry, self._remove(entry)))
        return expired

    def _load(self, first_slot: int) -> None:
        entries = []
        for slot in range(first_slot, self._next_slot):
            record = self._state.read(slot)
            if record is None:
                self._free.append(slot)
                continue
            announced = self._cells[self._state.slot_cell(slot, Slot.LAST_ANNOUNCED)] / _SECOND
            entries.append(Entry(to_text(record.key), to_text(record.address), slot, record, announced))
        for entry in sorted(entries, key=lambda entry: entry.last_announced):
            self._by_age[entry.slot] = entry
        for entry in sorted(entries, key=lambda entry: entry.record.order):
            self._pools.setdefault(entry.key, {})[entry.address] = entry

    def _add(self, announcement: Announcement, now: float) -> Delta:
        slot = self._take_slot()
        id = self._new_id()
        record = _record(announcement, id, order=id)
        entry = Entry(announcement.key, announcement.address, slot, record, now)
        self._pools.setdefault(entry.key, {})[entry.address] = entry
        self._by_age[slot] = entry
        self._note(entry, announcement, now)
        self._cells[self._state.slot_cell(slot, Slot.REST)] = 0
        self._cells[self._state.slot_cell(slot, Slot.RESTS)] = 0
        return self._publish(slot, record)

    def _new_id(self) -> int:
        self._cells[Table.LAST_ID] += 1
        return int(self._cells[Table.LAST_ID])

    def _refresh(self, entry: Entry, announcement: Announcement, now: float) -> tuple[Outcome, Delta | None]:
        self._by_age.move_to_end(entry.slot)
        self._note(entry, announcement, now)
        id = entry.record.id
        if self._cells[self._state.slot_cell(entry.slot, Slot.MARK)] == id:
            id = self._new_id()  # a worker failed to reach it, and nobody told us; it is back
        record = _record(announcement, id, entry.record.order)
        if record == entry.record:
            return Outcome.REFRESHED, None
        entry.record = record
        return Outcome.CHANGED, self._publish(entry.slot, record)

    def _note(self, entry: Entry, announcement: Announcement, now: float) -> None:
        """Keep what an announcement says about a node and routing does not depend on."""
        entry.last_announced = now
        at = self._state.slot_cell(entry.slot, 0)
        self._cells[at + Slot.LAST_ANNOUNCED] = int(now * _SECOND)
        self._cells[at + Slot.CORES] = min(announcement.cores, 2**63)
        self._cells[at + Slot.LOAD] = min(announcement.load, 2**63)

    def _remove(self, entry: Entry) -> Delta:
        pool = self._pools[entry.key]
        del pool[entry.address]
        if not pool:
            del self._pools[entry.key]
        del self._by_age[entry.slot]
        self._free.append(entry.slot)
        return self._publish(entry.slot, None)

    def _publish(self, slot: int, record: NodeRecord | None) -> Delta:
        self._state.write(slot, record)
        self._cells[Table.GENERATION] += 1
        return Delta(self._cells[Table.GENERATION], slot)

    def _take_slot(self) -> int:
        """A slot that no session counts on any more."""
        for _ in range(len(self._free)):
            slot = self._free.popleft()
            if not self._state.total(slot, Counter.ACTIVE):
                return slot
            self._free.append(slot)
        if self._next_slot == self._state.layout.slots:
            raise TableFull
        self._next_slot += 1
        self._cells[Table.SLOTS_USED] = self._next_slot
        return self._next_slot - 1


def _record(announcement: Announcement, id: int, order: int) -> NodeRecord:
    return NodeRecord(
        id,
        order,
        to_bytes(announcement.key),
        to_bytes(announcement.address),
        announcement.modifier1,
        announcement.modifier2,
        announcement.weight,
        announcement.backup,
        announcement.max_conns,
        announcement.algorithm.encode("ascii", "replace")[:MAX_ALGORITHM],
    )
