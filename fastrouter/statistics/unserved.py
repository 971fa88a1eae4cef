"""Keys that were asked for and had no node: the last ones of each router worker, and how often."""

from collections import Counter

from fastrouter.memory.cells import UNSERVED, Unserved
from fastrouter.memory.shared import SharedState
from fastrouter.text import to_text

__all__ = ["UnservedKeys", "unserved_keys"]


class UnservedKeys:
    """Those of one router worker, which alone writes them."""

    def __init__(self, state: SharedState, worker: int) -> None:
        self._keys, self._cells = state.unserved(worker)
        there = {place: self._keys.read(place) for place in range(UNSERVED)}  # a predecessor's
        self._places = {key: place for place, key in there.items() if key}
        """In the order in which they were asked for last."""
        self._free = [place for place, key in there.items() if not key]

    def count(self, key: bytes) -> None:
        """Count a request. Where there is no room, the key that was not asked for longest is forgotten."""
        place = self._places.pop(key, None)
        if place is None:
            place = self._free.pop() if self._free else self._places.pop(next(iter(self._places)))
            self._cells[place * Unserved.END + Unserved.REQUESTS] = 0
            self._keys.write(place, key)
        self._places[key] = place
        self._cells[place * Unserved.END + Unserved.REQUESTS] += 1


def unserved_keys(state: SharedState) -> dict[str, int]:
    """Requests by key, over all router workers, most of them first."""
    requests: Counter[str] = Counter()
    for worker in range(state.layout.workers):
        keys, cells = state.unserved(worker)
        for place in range(UNSERVED):
            key, count = keys.read(place), cells[place * Unserved.END + Unserved.REQUESTS]
            if key and key == keys.read(place):  # or the count may be another's
                requests[to_text(key)] += count
    return dict(requests.most_common())
