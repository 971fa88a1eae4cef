"""The nodes of a router worker: found by key, counted while they have a request, marked when they fail."""

import errno
import logging
import os
from collections.abc import Callable
from typing import Final

from fastrouter.memory.cells import Counter, Table, Worker
from fastrouter.memory.outcomes import NO_NODE, TOO_LATE, UNAVAILABLE
from fastrouter.memory.shared import Failure, read_deltas
from fastrouter.routing.counters import NodeCounters
from fastrouter.routing.forwarders import Forwarder
from fastrouter.routing.health import Health
from fastrouter.routing.node import Node
from fastrouter.routing.pool import Balancing
from fastrouter.routing.routes import Routes
from fastrouter.text import to_text
from workers.context import Gateway
from workers.loop import Loop
from workers.routing.forwarding import make_balancing, make_fallback, make_forwarder
from workers.routing.kept import KeptConnections
from workers.routing.waiting import Ticket, Waiting
from workers.unserved_log import UnservedLog

__all__ = ["Nodes"]

log = logging.getLogger("fastrouter")

_CLOSED_AT_ONCE: Final = frozenset({errno.EPIPE, errno.ECONNRESET})
"""Errors of a node that accepted and closed."""

_NOT_THE_NODES_FAULT: Final = frozenset(
    {errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
"""Connect errors that say something about this machine, or that the node is busy, not that it is dead."""


class Nodes:
    """Knows nothing of sessions: a request is a key and, while it waits for room, a ticket."""

    def __init__(self, gateway: Gateway, index: int, loop: Loop, changed: Callable[[], None]) -> None:
        """changed is called when there may be nodes where there were none, or none any more.

        Raises LoadError for a mapping function that is not there; what its script raises passes through.
        """
        options = gateway.options
        self._label = f"[uwsgi-{gateway.prefix}]"
        self.counters = NodeCounters(gateway.state, index)
        self.health = Health(gateway.state, self.counters, options.max_fails, self._label)
        self.kept = KeptConnections(loop, self._spoke_unasked)
        self.waiting = Waiting(loop)
        self._cells = gateway.state.worker_cells(index)
        self._table_cells = gateway.state.cells
        self._deltas = gateway.deltas[index].reader
        self._failures = gateway.failures.writer if gateway.failures else -1
        balancing: Balancing = make_balancing(gateway, index, self.counters, self.health)
        self._routes = Routes(gateway.state, balancing)
        self.fallback: list[Node] = make_fallback(gateway, self._routes, balancing)
        """The nodes to try when another has failed."""
        self._forwarder: Forwarder = make_forwarder(gateway, index, self._routes, balancing, self.fallback)
        self.candidates = self._forwarder.candidates
        """Yields the nodes to try for a key and a client's address, in order."""
        self.knows = self._forwarder.knows
        """Whether a key has nodes, or had some not long ago."""
        self._unserved = UnservedLog(gateway.state, index, self._label)
        subscription_decides = next(iter(options.forwarders), "") == "subscription_server"
        self._why_unknown = "nobody has announced it" if subscription_decides else "it is mapped to none"
        self._quiet = options.quiet
        self._changed = changed

    @property
    def are_none(self) -> bool:
        """Whether there is no live node at all."""
        return self._forwarder.is_empty

    def take_over(self) -> None:
        """Read the whole table, and forget the requests that a predecessor had when it died."""
        self.counters.reset_active()
        self._routes.read_all()
        self._cells[Worker.GENERATION] = self._routes.generation

    def keep_up(self) -> None:
        """Follow the table now, if it has changed.

        The last change may still wait in the pipe, behind other events of the same turn of the loop.
        """
        if self._table_cells[Table.GENERATION] != self._routes.generation:
            self.follow()

    def follow(self) -> None:
        """Apply the changes of the table that wait in the pipe."""
        try:
            deltas = read_deltas(self._deltas)
        except BlockingIOError:
            return  # they have been read since the event, or are about to be written
        self._routes.follow(deltas)
        self._cells[Worker.GENERATION] = self._routes.generation
        self._changed()

    def take(self, node: Node, ticket: Ticket | None) -> bool:
        """Count a request as one of a node's. False when the node has as many as it may have.

        A request that comes when others wait for the same pool waits behind them.
        """
        if self.waiting.queues and self.waiting.has_others(node.key, ticket):
            return False
        self.counters.hold(node, 1)
        if self.health.admits(node):
            return True
        self.counters.hold(node, -1)
        return False

    def leave(self, node: Node) -> None:
        """A node has one request less. The next one that waits for room there is called."""
        self.counters.hold(node, -1)
        if self.waiting.queues:
            self.waiting.call(node.key)

    def failed(self, key: bytes, node: Node, kind: int) -> None:
        """Count a request without an answer (UNANSWERED, TIMEOUTS). A node that fails repeatedly rests."""
        self.counters.failed(node, kind)
        rest = self.health.failed(node)
        if rest:
            log.warning(
                "%s %s => %s gave no answer again and again and rests for %d seconds",
                self._label,
                to_text(key),
                node.address,
                rest,
            )

    def connect_failed(self, key: bytes, node: Node, error: int, tries: int) -> int:
        """Count, mark and log a node that could not be reached. Returns the status that says so."""
        if error in _CLOSED_AT_ONCE:
            self.failed(key, node, Counter.UNANSWERED)
            return UNAVAILABLE
        self.counters.failed(node)
        if not self._quiet:
            log.warning(
                '%s unable to connect() to node "%s" (%d retries): %s',
                self._label,
                node.address,
                tries,
                os.strerror(error),
            )
        if error not in _NOT_THE_NODES_FAULT:
            self._mark(key, node)
        return TOO_LATE if error == errno.ETIMEDOUT else UNAVAILABLE

    def _mark(self, key: bytes, node: Node) -> None:
        """Tell every worker, and the subscription server, that a node cannot be reached."""
        if node not in self.fallback and self._forwarder.mark_failed(node):
            log.warning("%s %s => marking %s as failed", self._label, to_text(key), node.address)
        if self._failures >= 0:
            try:
                os.write(self._failures, Failure(node.slot, node.id).encode())
            except BlockingIOError:
                pass  # the mark in shared memory is there; the next failure, or silence, removes the node
        self._changed()

    def no_node(self, key: bytes, second: int) -> int:
        """Note a request for a key that has no node. Returns the status that says so."""
        if self.knows(key):
            self._unserved.note(key, "all that it had are gone, or could not be reached", second)
            return UNAVAILABLE
        self._unserved.note(key, self._why_unknown, second)
        return NO_NODE

    def distrust(self, key: bytes, node: Node) -> None:
        """A node has sent more than its answer. Another client might have been sent the rest of it."""
        if self.kept.distrust(node.sockaddr):
            self._log_distrust(f"{to_text(key)} => {node.address} sent more than its answer")

    def _spoke_unasked(self, address: object) -> None:
        if self.kept.distrust(address):
            self._log_distrust(f"a node at {address} said something before it was asked")

    def _log_distrust(self, what: str) -> None:
        self._cells[Worker.SURPLUS] += 1
        log.error("%s %s; its connections are kept no more", self._label, what)
