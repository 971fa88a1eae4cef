"""What keeps a signed announcement from being obeyed twice: the highest time heard of each node, its mark.

Marks are kept in a cache of fixed size, as long as signatures are good for. When it is full, the oldest mark
of the signer who has most of them makes room. Its time becomes that signer's floor: of a node without a mark,
nothing from before the floor is obeyed. So a forgotten mark opens the way to no replay, a signer with many
nodes never runs out of marks, and one who floods the store crowds out nobody but itself.
"""

import hashlib
import logging
from enum import Enum

from fastrouter.cache.store import Cache

__all__ = ["MARK_SIZE", "NAME_SIZE", "Replays", "Verdict", "mark_of"]

log = logging.getLogger("fastrouter")

MARK_SIZE = 16
"""Bytes of a mark: seconds, and the number within the second."""

NAME_SIZE = 32
"""Bytes of its name: of the signer's hash, and of the node's."""

_SIGNER = 8
_FLOOR = bytes(NAME_SIZE - _SIGNER)
"""What stands for a node in the name of a signer's floor."""

_ALMOST = 0.9
"""Share of the store that is in use when it is time to say so."""


class Verdict(Enum):
    """What is known of a time."""

    NEWER = "newer"
    REPLAYED = "replayed"
    """Something as new was heard of the node."""
    OVERTAKEN = "overtaken"
    """Nothing is known of the node, and something newer of its signer had to be forgotten."""


def mark_of(unix: int, sequence: int) -> bytes:
    """What compares as the times do."""
    return min(unix, 2**63).to_bytes(8, "big") + min(sequence, 2**63).to_bytes(8, "big")


class Replays:
    """The marks of one subscription server, which its successor goes on with."""

    def __init__(self, store: Cache, lifetime: int) -> None:
        """lifetime is for how many seconds a mark is kept."""
        self._store = store
        self._lifetime = lifetime
        self._items = store.definition.items
        self._by_signer: dict[bytes, dict[bytes, bytes]] = {}
        """Names and marks, those that were heard of last at the end."""
        self._has_warned = False
        names = store.keys()
        marks = ((name, item.value) for name in names if (item := store.peek(name)) is not None)
        for name, mark in sorted(marks, key=lambda one: one[1]):
            self._note(name, mark)

    def check(self, signer: bytes, node: bytes, mark: bytes, may_equal: bool) -> Verdict:
        """Compare a time with what is known; may_equal says that the same time is new enough."""
        name = _name(signer, node)
        item = self._store.peek(name)
        if item is not None:
            is_newer = mark > item.value or (may_equal and mark == item.value)
            return Verdict.NEWER if is_newer else Verdict.REPLAYED
        floor = self._store.peek(name[:_SIGNER] + _FLOOR)
        return Verdict.NEWER if floor is None or mark > floor.value else Verdict.OVERTAKEN

    def remember(self, signer: bytes, node: bytes, mark: bytes) -> None:
        """Take note of a time."""
        self._keep(_name(signer, node), mark)
        self._warn()

    def _keep(self, name: bytes, mark: bytes) -> None:
        while not self._store.update(name, mark, self._lifetime) and self._by_signer:
            self._forget_one()
        self._note(name, mark)

    def _note(self, name: bytes, mark: bytes) -> None:
        if name[_SIGNER:] != _FLOOR:
            marks = self._by_signer.setdefault(name[:_SIGNER], {})
            marks.pop(name, None)
            marks[name] = mark

    def _forget_one(self) -> None:
        signer, marks = max(self._by_signer.items(), key=lambda one: len(one[1]))
        name = next(iter(marks))
        mark = marks.pop(name)
        if not marks:
            del self._by_signer[signer]
        was_there = self._store.delete(name)
        floor = self._store.peek(signer + _FLOOR)
        # What has expired is too old to be replayed, and needs no floor.
        if was_there and (floor is None or mark > floor.value):
            self._store.update(signer + _FLOOR, mark, self._lifetime)

    def _warn(self) -> None:
        used = sum(map(len, self._by_signer.values())) if not self._has_warned else 0
        if used > _ALMOST * self._items:
            self._has_warned = True
            log.warning(
                "the times of %d signed announcements are kept, and there is room for %d: soon the oldest "
                "ones of the signer who has most of them are forgotten (subscription-max-nodes)",
                used,
                self._items,
            )


def _name(signer: bytes, node: bytes) -> bytes:
    """Neither is longer than a hash, nor can one signer's name be made to look like another's."""
    of_signer, of_node = hashlib.sha256(signer).digest(), hashlib.sha256(node).digest()
    return of_signer[:_SIGNER] + of_node[: NAME_SIZE - _SIGNER]
