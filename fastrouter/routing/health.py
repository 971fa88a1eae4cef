"""Which nodes are fit for a request: those that fail again and again rest, and come back by degrees.

A failure is a connection that closed without an answer, or gave none in time. (A node that cannot be
connected to is another matter: an announced one leaves the table, a configured one is left out for its
gracetime.) After max_fails of them in a row, as one worker sees it, a node rests for 1 second, then 2, 4, up
to 64. After a rest it is on trial: one request beside those that it had, then two, four, and so on with every
answer, and with every few seconds that pass, until nothing tells it from the others; a failure on trial is
another, longer rest. All workers see rests and trials in shared memory.

Who is alone never rests: a bad answer is no worse than none.
"""

import logging
import time
from typing import Final

from fastrouter.memory.shared import SharedState
from fastrouter.routing.counters import NodeCounters
from fastrouter.routing.node import Node
from fastrouter.text import to_text

__all__ = ["Health"]

log = logging.getLogger("fastrouter")

_SECOND: Final = 1_000_000_000
_LONGEST_REST = 64
_WELL = 64
"""Requests at a time that end a trial."""

_STEP = 4 * _SECOND
"""Time that counts as much as an answer on trial: the one request may be a long one."""

_RESTS: Final = 1
_TRIAL: Final = 2
"""Where these cells are, from a node's REST. TRIAL has the requests that the node had when its rest began in
its upper half, and in the lower how many it may have beside those."""


class Health:
    """The view of one router worker. max_fails is 0 when nobody ever rests."""

    def __init__(self, state: SharedState, counters: NodeCounters, max_fails: int, label: str = "") -> None:
        """label is what log lines begin with."""
        self._cells = state.cells
        self._counters = counters
        self._max_fails = max_fails
        self._label = label

    def is_resting(self, node: Node) -> bool:
        until: int = self._cells[node.rest_at]
        return until != 0 and until > time.monotonic_ns()

    def admits(self, node: Node) -> bool:
        """Whether a node may have one more request, which is counted as its own already."""
        if node.max_conns and self._counters.active(node) > node.max_conns:
            return False
        return not self._cells[node.rest_at] or self._passes_trial(node)

    def answered(self, node: Node) -> None:
        node.failures = 0
        if self._cells[node.rest_at] and not self.is_resting(node):
            self._extend_trial(node)

    def failed(self, node: Node) -> int:
        """Note a failure. Returns the seconds of the rest that begins with it; 0 for none."""
        if not self._max_fails or len(node.peers) < 2:
            return 0
        node.failures += 1
        on_trial = self._cells[node.rest_at] != 0
        if self.is_resting(node) or (node.failures < self._max_fails and not on_trial):
            return 0
        node.failures = 0
        rests = self._cells[node.rest_at + _RESTS] + 1
        seconds: int = min(2 ** min(rests - 1, 32), _LONGEST_REST)
        self._cells[node.rest_at + _RESTS] = rests
        self._cells[node.rest_at + _TRIAL] = self._counters.active(node) << 32 | 1
        self._cells[node.rest_at] = time.monotonic_ns() + seconds * _SECOND
        return seconds

    def _passes_trial(self, node: Node) -> bool:
        if self.is_resting(node):
            return True  # it was chosen all the same, so there is nobody else
        if all(self._cells[peer.rest_at] for peer in node.peers):
            return True
        allowed = self._allowed(node)
        before: int = self._cells[node.rest_at + _TRIAL] >> 32
        return allowed > _WELL or self._counters.active(node) <= before + allowed

    def _extend_trial(self, node: Node) -> None:
        if 2 * self._allowed(node) > _WELL:
            self._cells[node.rest_at + _RESTS] = 0
            self._cells[node.rest_at] = 0
            log.info("%s %s => %s is well again", self._label, to_text(node.key), node.address)
        else:
            trial = self._cells[node.rest_at + _TRIAL]
            self._cells[node.rest_at + _TRIAL] = trial + (trial & 0xFFFFFFFF)

    def _allowed(self, node: Node) -> int:
        """Requests that a node on trial may have by now, beside those from before its rest."""
        waited: int = time.monotonic_ns() - self._cells[node.rest_at]
        allowed: int = self._cells[node.rest_at + _TRIAL] & 0xFFFFFFFF
        return allowed << min(waited // _STEP, 32)
