"""One router worker's counters of all nodes, and the sums over all workers."""

from fastrouter.memory.cells import COUNTERS, HISTOGRAMS, Counter, Histogram
from fastrouter.memory.shared import SharedState
from fastrouter.routing.node import Node

__all__ = ["NodeCounters"]


class NodeCounters:
    """Counts what this worker does with nodes. Every other worker sees it."""

    def __init__(self, state: SharedState, worker: int) -> None:
        self._own = state.counters(worker)
        self._times = state.histograms(worker)
        self._cells = state.cells
        self._first = state.layout.counters_at + Counter.ACTIVE
        self._step = state.layout.slots * COUNTERS
        self._rows = state.layout.rows

    def reset_active(self) -> None:
        """Forget the requests that a predecessor had when it died."""
        for at in range(Counter.ACTIVE, len(self._own), COUNTERS):
            if self._own[at]:
                self._own[at] = 0

    def hold(self, node: Node, change: int) -> None:
        """One request more (1) or less (-1) that a node has."""
        self._own[node.counters_at + Counter.ACTIVE] += change

    def active(self, node: Node) -> int:
        """The requests that a node has now, over all workers, those from before a reload included."""
        at = self._first + node.counters_at
        active = 0
        for _ in range(self._rows):
            active += self._cells[at]
            at += self._step
        return active

    def connected(self, node: Node) -> None:
        """Count a request that a node is sent."""
        self._own[node.counters_at] += 1

    def failed(self, node: Node, kind: int = Counter.FAILURES) -> None:
        """Count a failure; Counter.UNANSWERED or TIMEOUTS when it was not the connection that failed."""
        self._own[node.counters_at + Counter.FAILURES] += 1
        if kind != Counter.FAILURES:
            self._own[node.counters_at + kind] += 1

    def took(self, node: Node, what: int, nanoseconds: int) -> None:
        """Note how long something took: Histogram.CONNECT or RESPONSE."""
        at = node.slot * HISTOGRAMS + what
        bucket = (nanoseconds // Histogram.FIRST).bit_length()
        if bucket >= Histogram.BUCKETS:
            bucket = Histogram.BUCKETS - 1
        self._times[at + bucket] += 1
        self._times[at + Histogram.SUM] += nanoseconds

    def moved(self, node: Node, sent: int, received: int) -> None:
        """Count bytes sent to a node and received from it."""
        self._own[node.counters_at + Counter.RX] += sent
        self._own[node.counters_at + Counter.TX] += received
