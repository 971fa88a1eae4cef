"""Forwarder for nodes that a function names (``fastrouter-use-code-string``)."""

import logging
import time
from collections.abc import Callable, Iterator

from fastrouter.routing.forwarders.adhoc import AdhocNodes, UnlistedForwarder
from fastrouter.routing.node import Node
from fastrouter.text import to_text

__all__ = ["CodeForwarder"]

log = logging.getLogger("fastrouter")

_SLOW = 0.05
"""Seconds; everybody else waits for as long."""


class CodeForwarder(UnlistedForwarder):
    """Calls the function for every request; it returns ``ADDRESS[,MODIFIER1]`` as str or bytes, or None."""

    def __init__(self, function: Callable[[bytes], object], name: str, nodes: AdhocNodes) -> None:
        self._function = function
        self._name = name
        self._nodes = nodes
        self._unknown = b""
        """The last key, if there was nothing for it."""

    def candidates(self, key: bytes, remote: bytes) -> Iterator[Node]:
        node = self._nodes.read(self._call(key))
        if node is not None:
            self._unknown = b""
            yield node
        else:
            self._unknown = key

    def knows(self, key: bytes) -> bool:
        return key != self._unknown  # asking would be another call, and the function may count them

    def _call(self, key: bytes) -> str:
        """The function's answer; empty when it has none, or fails."""
        started = time.monotonic()
        try:
            answer = self._function(key)
        except (Exception, SystemExit):
            log.exception("%s failed for %s", self._name, to_text(key))
            return ""
        seconds = time.monotonic() - started
        if seconds > _SLOW:
            log.warning(
                "%s took %.0f ms for %s; nothing else moved", self._name, 1000 * seconds, to_text(key)
            )
        if isinstance(answer, bytes):
            return to_text(answer)
        return answer if isinstance(answer, str) else ""
