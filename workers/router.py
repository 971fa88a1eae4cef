"""The router worker: keeps the sessions, follows the routing table, is cheap when told to be."""

import errno
import logging
import os
import signal
from _socket import socket as PlainSocket
from collections.abc import Callable
from select import EPOLLIN

from fastrouter.forwarders import Forwarder
from fastrouter.forwarders.fallback import FallbackForwarder
from fastrouter.forwarders.path import PathForwarder, base_template, pattern_template
from fastrouter.forwarders.static import StaticForwarder
from fastrouter.forwarders.subscription import (
    Keys,
    SubscriptionForwarder,
    dotsplit_keys,
    key_and,
    only_the_key,
)
from fastrouter.node import Node
from fastrouter.routes import Routes
from fastrouter.shared import COUNTERS, Counter, Failure, Worker, read_deltas
from workers.context import Context
from workers.fastrouter import read_request
from workers.gate import Gate, Reason
from workers.loop import Event, Loop
from workers.process import raise_descriptor_limit
from workers.session import SWEEP, Session

__all__ = ["Router", "run_router"]

log = logging.getLogger("fastrouter")

_RESERVED_DESCRIPTORS = 64
"""Kept out of the sessions' reach: listeners, pipes, the log, libraries."""

_NOT_THE_NODES_FAULT = frozenset(
    {errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
"""Connect errors that say something about this machine, or that the node is busy, not that it is dead."""


def run_router(context: Context, index: int, ready: Callable[[], None]) -> int:
    """Be router worker number index until told to stop. Returns the exit code."""
    router = Router(context, index)
    router.loop.handle_signals({signal.SIGTERM: router.stop, signal.SIGINT: router.stop_at_once})
    router.start()
    ready()
    router.loop.run()
    router.close_all()
    return 0


class Router:
    """One router worker. What sessions use of it is public."""

    def __init__(self, context: Context, index: int) -> None:
        options = context.options.router
        self.loop = Loop(self._tick, options.events)
        self.timeout = options.timeout
        self.connect_timeout = options.connect_timeout
        self.max_retries = options.max_retries
        self.read_request = read_request
        self.force_key = options.force_key.encode("utf-8", "surrogateescape")
        self.buffer = memoryview(bytearray(options.buffer_size))
        """What every session reads its node's bytes into; nothing stays there beyond one event."""
        self.seconds = 0
        """Counts the seconds since the start, for the ages of sessions."""
        self._counters = context.state.counters(index)
        self._cells = context.state.worker_cells(index)
        self._sessions: set[Session] = set()
        self._max_sessions = max((raise_descriptor_limit() - _RESERVED_DESCRIPTORS) // 2, 1)
        self._full_logged = -1
        self._gate = Gate(self.loop, context.router_listeners, context.app_listeners, self._admit)
        self._can_be_cheap = options.cheap
        self._quiet = options.quiet
        self._name = f"[uWSGI fastrouter pid {os.getpid()}]"
        self._deltas = context.deltas[index].reader
        self._failures = context.failures.writer if context.failures else -1
        self._routes = Routes(
            context.state, context.options.subscription.algorithm, index / options.processes
        )
        self._forwarder = _forwarder(context, self._routes)
        self.candidates = self._forwarder.candidates

    def start(self) -> None:
        """Forget what a predecessor left behind, take over the table, and accept."""
        for at in range(Counter.ACTIVE, len(self._counters), COUNTERS):
            if self._counters[at]:
                self._counters[at] = 0
        self._cells[Worker.SESSIONS] = 0
        self.loop.watch(self._deltas, EPOLLIN, self._follow)
        self._routes.read_all()
        self._cells[Worker.GENERATION] = self._routes.generation
        if self._can_be_cheap:
            self._gate.close(Reason.CHEAP)
        self._update_cheap()
        self._gate.update()

    def stop(self) -> None:
        """Accept nothing new, and end when the last session does."""
        if Reason.DRAINING in self._gate.reasons:
            return
        if Reason.CHEAP not in self._gate.reasons:
            self._gate.accept_waiting()
        self._gate.close(Reason.DRAINING)
        self._end_when_drained()

    def stop_at_once(self) -> None:
        self.loop.running = False

    def close_all(self) -> None:
        """End every session, so that nodes and clients see it now."""
        for session in list(self._sessions):
            session.generator.close()

    def begin(self, node: Node) -> None:
        """Count a request that a node is sent."""
        self._counters[node.counters_at] += 1
        self._counters[node.counters_at + Counter.ACTIVE] += 1

    def end(self, node: Node, sent: int, received: int) -> None:
        """Count what came of it, in bytes."""
        at, counters = node.counters_at, self._counters
        counters[at + Counter.ACTIVE] -= 1
        counters[at + Counter.RX] += sent
        counters[at + Counter.TX] += received

    def no_answer(self, node: Node) -> None:
        """Count a node that closed without a word."""
        self._counters[node.counters_at + Counter.FAILURES] += 1

    def connect_failed(self, session: Session, node: Node, error: int, tries: int) -> None:
        """Count, mark and log a node that could not be reached."""
        self._counters[node.counters_at + Counter.FAILURES] += 1
        if not self._quiet:
            log.warning(
                '[uwsgi-fastrouter] unable to connect() to node "%s" (%d retries): %s',
                node.address,
                tries,
                os.strerror(error),
            )
        if error in _NOT_THE_NODES_FAULT:
            return
        if self._forwarder.mark_failed(node):
            key = session.key.decode("utf-8", "surrogateescape")
            log.warning("[uwsgi-fastrouter] %s => marking %s as failed", key, node.address)
        if self._failures >= 0:
            try:
                os.write(self._failures, Failure(node.slot, node.id).encode())
            except BlockingIOError:
                pass  # the mark in shared memory is there; the next failure, or silence, removes the node
        self._update_cheap()

    def count_error(self) -> None:
        """Count a session that ended otherwise than it should."""
        self._cells[Worker.ERRORS] += 1

    def close_node(self, session: Session, sock: PlainSocket) -> None:
        """Close a session's connection to its node, if it is not closed yet."""
        if session.node_fd >= 0:
            self.loop.forget(session.node_fd)
            session.node_fd = -1
            sock.close()

    def close(self, session: Session) -> None:
        """A session is over."""
        self.loop.forget(session.client)
        os.close(session.client)
        self._sessions.discard(session)
        self._cells[Worker.SESSIONS] = len(self._sessions)
        if self._gate.reasons:
            if len(self._sessions) < self._max_sessions:
                self._gate.reopen(Reason.FULL)
            self._end_when_drained()

    def _admit(self, client: int) -> None:
        os.set_blocking(client, False)
        session = Session(self, client)
        sessions = self._sessions
        sessions.add(session)
        self._cells[Worker.ACCEPTED] += 1
        if len(sessions) >= self._max_sessions and self._gate.close(Reason.FULL):
            self._log_full()
        try:
            next(session.generator)
        except StopIteration:
            pass

    def _log_full(self) -> None:
        """Once a second at most: at the limit, every session that ends and begins passes it."""
        if self._full_logged != self.seconds:
            self._full_logged = self.seconds
            log.error("%s has %d sessions, as many as its descriptors allow", self._name, self._max_sessions)

    def _tick(self) -> None:
        """The sweep: end what is silent for too long, and notice clients that left."""
        self.seconds += 1
        self._gate.reopen(Reason.EXHAUSTED)
        for session in list(self._sessions):
            silent = self.seconds - session.touched
            try:
                if silent > session.limit:
                    session.generator.throw(TimeoutError("nothing happened for too long"))
                elif silent and not session.old:
                    session.old = True
                    session.resume(SWEEP)
            except StopIteration:
                pass  # that was its end

    def _follow(self, event: Event) -> None:
        self._routes.follow(read_deltas(event[0]))
        self._cells[Worker.GENERATION] = self._routes.generation
        self._update_cheap()

    def _update_cheap(self) -> None:
        if not self._can_be_cheap:
            return
        if self._forwarder.is_empty:
            if self._gate.close(Reason.CHEAP):
                log.info("%s no more nodes available. Going cheap...", self._name)
        elif self._gate.reopen(Reason.CHEAP):
            log.info("%s leaving cheap mode...", self._name)
        self._cells[Worker.CHEAP] = Reason.CHEAP in self._gate.reasons

    def _end_when_drained(self) -> None:
        if Reason.DRAINING in self._gate.reasons and not self._sessions:
            self.loop.running = False


def _forwarder(context: Context, routes: Routes) -> Forwarder:
    options = context.options.router
    forwarder = _chosen_forwarder(context, routes)
    if not options.fallback:
        return forwarder
    nodes = [Node(address, slot) for slot, address in enumerate(options.fallback, len(options.to))]
    return FallbackForwarder(forwarder, nodes, options.fallback_on_no_key)


def _chosen_forwarder(context: Context, routes: Routes) -> Forwarder:
    options = context.options.router
    unlisted = options.configured_slots - 1
    match next(iter(options.forwarders), "to"):
        case "use_pattern":
            return PathForwarder(pattern_template(options.use_pattern), unlisted)
        case "subscription_server":
            return SubscriptionForwarder(routes, _keys(context))
        case "use_base":
            return PathForwarder(base_template(options.use_base), unlisted)
    nodes = [Node(address, slot) for slot, address in enumerate(options.to)]
    return StaticForwarder(nodes, context.state, options.gracetime)


def _keys(context: Context) -> Keys:
    """uWSGI has no fallback key with dotsplit; neither has this."""
    if context.options.subscription.dotsplit:
        return dotsplit_keys
    fallback = context.options.router.subscription_fallback_key
    return key_and(fallback.encode("utf-8", "surrogateescape")) if fallback else only_the_key
