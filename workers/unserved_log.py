"""Says which keys have no node, in the log and in the statistics.

Clients choose keys, so that both are bounded.
"""

import logging

from fastrouter.memory.cells import UNSERVED
from fastrouter.memory.shared import SharedState
from fastrouter.statistics.unserved import UnservedKeys
from fastrouter.text import printable, to_text

__all__ = ["UnservedLog"]

log = logging.getLogger("fastrouter")

_EVERY = 60
"""Seconds between two lines about the same key."""


class UnservedLog:
    """Of one router worker."""

    def __init__(self, state: SharedState, worker: int, label: str) -> None:
        """label is what log lines begin with."""
        self._label = label
        self._keys = UnservedKeys(state, worker)
        self._said: dict[bytes, int] = {}
        """When something was said of a key, in the order of that. Never of more than UNSERVED a minute."""
        self._silent_since = -_EVERY

    def note(self, key: bytes, why: str, second: int) -> None:
        """Count a request for a key that has no node, and log it unless that was done not long ago."""
        self._keys.count(key)
        for one, said in list(self._said.items()):
            if second - said < _EVERY:
                break
            del self._said[one]
        if key in self._said:
            return
        if len(self._said) < UNSERVED:
            self._said[key] = second
            log.warning("%s no node for %s: %s", self._label, printable(to_text(key)), why)
        elif second - self._silent_since >= _EVERY:
            self._silent_since = second
            log.warning("%s more than %d keys without a node in a minute", self._label, UNSERVED)
