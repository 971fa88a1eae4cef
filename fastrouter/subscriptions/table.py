"""The routing table as its one writer, the subscription server, holds it.

Every change goes to the node's slot in shared memory at once, and its slot number to the caller, who tells
the router workers. The shared slots are all there is to know: a new subscription server starts from them.
"""

from collections import Counter as Tally
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from fastrouter.memory.cells import Counter, Slot, Table
from fastrouter.memory.shared import Delta, NodeRecord, SharedState
from fastrouter.text import to_bytes, to_text
from fastrouter.wire.announcement import Announcement

__all__ = ["Entry", "Limits", "Outcome", "SubscriptionTable", "TableFull"]

_SECOND = 1_000_000_000


class TableFull(Exception):
    """There is no room for another node; the message says which limit that is."""


class Outcome(Enum):
    """What an announcement did."""

    NEW_POOL = "new pool"
    NEW_NODE = "new node"
    CHANGED = "changed"
    REFRESHED = "refreshed"
    REMOVED = "removed"
    """No request goes there any more. The node is gone, or drains while it still has some."""
    UNKNOWN = "unknown"
    """An unsubscription of something that is not there."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be announced, beside the number of slots. 0 is no limit."""

    pools: int = 0
    pool_nodes: int = 0
    source_nodes: int = 0


@dataclass(slots=True)
class Entry:
    """A node in the table."""

    key: str
    address: str
    slot: int
    record: NodeRecord
    last_announced: float
    """Monotonic seconds."""
    source: str = ""
    """Who announced it, as far as this process knows."""


class SubscriptionTable:
    """All pools. first_slot is the number of slots that belong to configured nodes."""

    def __init__(self, state: SharedState, first_slot: int = 0, limits: Limits | None = None) -> None:
        self._state = state
        self._cells = state.cells
        self._limits = limits or Limits()
        self._pools: dict[str, dict[str, Entry]] = {}
        self._by_age: OrderedDict[int, Entry] = OrderedDict()
        """By slot, the longest silent first."""
        self._draining: dict[tuple[str, str], Entry] = {}
        """By key and address."""
        self._by_source: Tally[str] = Tally()
        """Numbers of nodes."""
        self._free: deque[int] = deque()
        self._next_slot = max(first_slot, self._cells[Table.SLOTS_USED])
        self._load(first_slot)

    def __len__(self) -> int:
        return len(self._by_age)

    def __contains__(self, key: str) -> bool:
        """Whether a key has nodes."""
        return key in self._pools

    def __iter__(self) -> Iterator[Entry]:
        """Every node that gets requests, the longest silent first."""
        return iter(self._by_age.values())

    def knows(self, announcement: Announcement) -> bool:
        """Whether the announced node is there."""
        return announcement.address in self._pools.get(announcement.key, ())

    def resolved(self, announcement: Announcement) -> str:
        """What the name of an announced node stood for when it was announced last; empty when it is new."""
        entry = self._pools.get(announcement.key, {}).get(announcement.address)
        return to_text(entry.record.resolved) if entry else ""

    def announce(
        self, announcement: Announcement, now: float, source: str = "", resolved: str = ""
    ) -> tuple[Outcome, Delta | None]:
        """Add, refresh or remove the announced node at monotonic second now.

        source is who announced it; resolved is the numeric address that its host name stands for. Returns
        what happened, and the delta to send to the router workers if it changed routing. Raises TableFull.
        """
        entry = self._pools.get(announcement.key, {}).get(announcement.address)
        if announcement.unsubscribe or announcement.drain:
            if entry is None:
                return Outcome.UNKNOWN, None
            return Outcome.REMOVED, self._retire(entry)
        if entry is None:
            new_pool = announcement.key not in self._pools
            delta = self._add(announcement, now, source, resolved)
            return (Outcome.NEW_POOL if new_pool else Outcome.NEW_NODE), delta
        if source != entry.source:
            self._count_source(entry.source, -1)
            self._count_source(source, 1)
            entry.source = source
        return self._refresh(entry, announcement, now, resolved)

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
            expired.append((entry, self._retire(entry)))
        return expired

    def drained(self) -> list[tuple[Entry, Delta]]:
        """Remove every node that drained and has had its last answer."""
        done = [entry for entry in self._draining.values() if not self._is_busy(entry.slot)]
        for entry in done:
            del self._draining[entry.key, entry.address]
        return [(entry, self._free_slot(entry)) for entry in done]

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
            if entry.record.draining:
                self._draining[entry.key, entry.address] = entry
            else:
                self._by_age[entry.slot] = entry
                self._count_source("", 1)
        for entry in sorted(self, key=lambda entry: entry.record.order):
            self._pools.setdefault(entry.key, {})[entry.address] = entry

    def _add(self, announcement: Announcement, now: float, source: str, resolved: str) -> Delta:
        self._check_limits(announcement.key, source)
        entry = self._draining.pop((announcement.key, announcement.address), None)
        slot = self._take_slot() if entry is None else entry.slot  # it has changed its mind
        id = self._new_id()
        record = _record(announcement, id, id, resolved, int(now * _SECOND))
        entry = Entry(announcement.key, announcement.address, slot, record, now, source)
        self._pools.setdefault(entry.key, {})[entry.address] = entry
        self._by_age[slot] = entry
        self._count_source(source, 1)
        self._state.begin_counts(slot)
        self._note(entry, announcement, now)
        self._state.forget_rests(slot)
        return self._publish(slot, record)

    def _check_limits(self, key: str, source: str) -> None:
        limits, pool = self._limits, self._pools.get(key)
        if pool is None and limits.pools and len(self._pools) >= limits.pools:
            raise TableFull(f"there are {limits.pools} keys (subscription-max-pools)")
        if pool and limits.pool_nodes and len(pool) >= limits.pool_nodes:
            raise TableFull(f"{key} has {limits.pool_nodes} nodes (subscription-max-pool-nodes)")
        if source and limits.source_nodes and self._by_source[source] >= limits.source_nodes:
            many = f"{source} has announced {limits.source_nodes} nodes"
            raise TableFull(f"{many} (subscription-max-source-nodes)")

    def _new_id(self) -> int:
        self._cells[Table.LAST_ID] += 1
        return int(self._cells[Table.LAST_ID])

    def _refresh(
        self, entry: Entry, announcement: Announcement, now: float, resolved: str
    ) -> tuple[Outcome, Delta | None]:
        self._by_age.move_to_end(entry.slot)
        self._note(entry, announcement, now)
        id, since = entry.record.id, entry.record.since
        moved = to_bytes(resolved) != entry.record.resolved
        if moved or self._cells[self._state.slot_cell(entry.slot, Slot.MARK)] == id:
            # It is another machine now, or a worker failed to reach it, and nobody told us; it is back.
            id, since = self._new_id(), int(now * _SECOND)
            self._state.forget_rests(entry.slot)
        record = _record(announcement, id, entry.record.order, resolved, since)
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
        self._cells[at + Slot.REQUESTS_AT_LAST] = self._state.total(entry.slot, Counter.REQUESTS)

    def _retire(self, entry: Entry) -> Delta:
        """Let a node have no more requests; it goes when it has none left."""
        if not self._is_busy(entry.slot):
            return self._remove(entry)
        self._leave_pool(entry)
        self._draining[entry.key, entry.address] = entry
        entry.record = entry.record._replace(draining=True)
        return self._publish(entry.slot, entry.record)

    def _remove(self, entry: Entry) -> Delta:
        self._leave_pool(entry)
        return self._free_slot(entry)

    def _leave_pool(self, entry: Entry) -> None:
        pool = self._pools[entry.key]
        del pool[entry.address]
        if not pool:
            del self._pools[entry.key]
        del self._by_age[entry.slot]
        self._count_source(entry.source, -1)

    def _count_source(self, source: str, change: int) -> None:
        self._by_source[source] += change
        if not self._by_source[source]:
            del self._by_source[source]

    def _free_slot(self, entry: Entry) -> Delta:
        self._free.append(entry.slot)
        return self._publish(entry.slot, None)

    def _publish(self, slot: int, record: NodeRecord | None) -> Delta:
        self._state.write(slot, record)
        self._cells[Table.GENERATION] += 1
        return Delta(self._cells[Table.GENERATION], slot)

    def _is_busy(self, slot: int) -> bool:
        return self._state.total(slot, Counter.ACTIVE) > 0

    def _take_slot(self) -> int:
        """A slot that no session counts on any more."""
        for _ in range(len(self._free)):
            slot = self._free.popleft()
            if not self._is_busy(slot):
                return slot
            self._free.append(slot)
        if self._next_slot == self._state.layout.slots:
            raise TableFull("the table is full (subscription-max-nodes)")
        self._next_slot += 1
        self._cells[Table.SLOTS_USED] = self._next_slot
        return self._next_slot - 1


def _record(announcement: Announcement, id: int, order: int, resolved: str, since: int) -> NodeRecord:
    return NodeRecord(
        id,
        order,
        to_bytes(announcement.key),
        to_bytes(announcement.address),
        announcement.traits,
        to_bytes(resolved),
        since,
    )
