"""Which nodes are announced, by key: what statistics are about."""

from operator import itemgetter

from fastrouter.memory.cells import Table
from fastrouter.memory.shared import SharedState

__all__ = ["Census"]


class Census:
    """The slots of announced nodes. They are looked through only when routing has changed."""

    def __init__(self, state: SharedState, first_slot: int) -> None:
        """first_slot is the first one of announced nodes."""
        self.pools: dict[bytes, list[int]] = {}
        """Slots by key, in the order of first announcements. Replaced as a whole, never changed."""
        self.nodes = 0
        self.first_slot = first_slot
        self._state = state
        self._generation = -1

    def take(self) -> None:
        """See who is there now."""
        state = self._state
        generation = state.cells[Table.GENERATION]
        if generation == self._generation:
            return
        found = []
        for slot in range(self.first_slot, state.cells[Table.SLOTS_USED]):
            place = state.place(slot)
            if place is not None:
                found.append((*place, slot))
        pools: dict[bytes, list[int]] = {}
        for _, key, slot in sorted(found, key=itemgetter(0)):
            pools.setdefault(key, []).append(slot)
        self.pools, self.nodes = pools, len(found)
        self._generation = generation

    def first(self, most: int) -> dict[bytes, list[int]]:
        """The first pools, until they have as many nodes as are to be told of, or a few more."""
        if self.nodes <= most:
            return self.pools
        listed, nodes = {}, 0
        for key, slots in self.pools.items():
            if nodes >= most:
                break
            listed[key] = slots
            nodes += len(slots)
        return listed
