"""The router worker: keeps the sessions, follows the routing table, is cheap when told to be."""

import errno
import logging
import os
import signal
from collections.abc import Callable

from fastrouter.memory.cells import Counter, Table, Worker
from fastrouter.memory.outcomes import NO_NODE, TOO_LATE, UNAVAILABLE, error_cell
from fastrouter.memory.shared import Failure, read_deltas
from fastrouter.routing.counters import NodeCounters
from fastrouter.routing.health import Health
from fastrouter.routing.node import Node
from fastrouter.routing.routes import Routes
from fastrouter.text import to_bytes, to_text
from fastrouter.wire.request import MAX_HOPS
from workers.access_log import AccessLog, Record
from workers.context import Context
from workers.gateways.fastrouter import read_request
from workers.loop import IN, Event, Loop
from workers.process import BOOT_FAILURE, raise_descriptor_limit
from workers.routing.acceptor import Acceptor, Reason
from workers.routing.body import BodyFile, BufferingFailed
from workers.routing.forwarding import make_balancing, make_fallback, make_forwarder
from workers.routing.kept import KeptConnections
from workers.routing.session import SWEEP, Session
from workers.routing.waiting import Waiting
from workers.sinks import FileSink
from workers.unserved_log import UnservedLog
from workers.usercode.loading import LoadError
from workers.usercode.uwsgi_module import install_uwsgi_module

__all__ = ["Router", "run_router"]

log = logging.getLogger("fastrouter")

_RESERVED_DESCRIPTORS = 64
"""Kept out of the sessions' reach: listeners, pipes, the log, libraries."""

_ROOM = 0.9
"""Of the limit of sessions; who has fewer is full no longer."""

_DESCRIPTORS = 2
"""Of a session: its client's and its node's. With post-buffering there may be a file besides."""

_CROWD = 64
"""Sessions."""

_LOOP_LOGGED_EVERY = 60
"""Seconds."""

_CLOSED_AT_ONCE = frozenset({errno.EPIPE, errno.ECONNRESET})
"""Errors of a node that accepted and closed."""

_NOT_THE_NODES_FAULT = frozenset(
    {errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
"""Connect errors that say something about this machine, or that the node is busy, not that it is dead."""


def run_router(context: Context, index: int, ready: Callable[[], None]) -> int:
    """Be router worker number index until told to stop. Returns the exit code."""
    context.state.worker_cells(index)[Worker.BUSY_SINCE] = 0  # a predecessor's turn is not this one's
    install_uwsgi_module(context.caches, context.options.sockets.socket_timeout, index)
    try:
        router = Router(context, index)
        if router.post_buffering:
            BodyFile(router.post_buffering_dir).close()
    except (LoadError, BufferingFailed) as error:
        log.error("cannot route: %s", error)
        return BOOT_FAILURE
    except (Exception, SystemExit):
        log.exception("cannot route")
        return BOOT_FAILURE
    router.loop.handle_signals(
        {
            signal.SIGTERM: router.stop,
            signal.SIGINT: router.stop_at_once,
        }
    )
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
        self.header_timeout = options.header_timeout
        self.connect_timeout = options.connect_timeout
        self.queue_timeout = options.queue_timeout
        self.max_retries = options.max_retries
        self.post_buffering = options.post_buffering
        self.post_buffering_dir = options.post_buffering_dir
        self.answers_errors = options.answer_errors
        self.passes_clients = not context.options.sockets.no_fd_passing
        self.read_request = read_request
        self.force_key = to_bytes(options.force_key)
        self.mountpoints = context.options.subscription.mountpoints if options.subscription_server else 0
        self.buffer = memoryview(bytearray(options.buffer_size))
        """What every session reads its node's bytes into; nothing stays there beyond one event."""
        self.seconds = 0
        """Counts the seconds since the start, for the ages of sessions."""
        self.queue = Waiting(self.loop)
        self.kept = KeptConnections(self.loop, self._spoke_unasked)
        self.counters = NodeCounters(context.state, index)
        self.health = Health(context.state, self.counters, options.max_fails)
        self._cells = context.state.worker_cells(index)
        self._table_cells = context.state.cells
        self._sessions: set[Session] = set()
        each = _DESCRIPTORS + (1 if options.post_buffering else 0)
        by_descriptors = max((raise_descriptor_limit() - _RESERVED_DESCRIPTORS) // each, 1)
        self._max_sessions = min(options.max_sessions or by_descriptors, by_descriptors)
        self._is_full = False
        """That it has all the sessions that it may have was said, and is true still, or almost."""
        self._acceptor = Acceptor(
            self.loop, context.router_listeners, context.app_listeners, self.keep_up, self._admit
        )
        self._can_be_cheap = options.cheap
        self._quiet = options.quiet
        self._loop_logged_at = -_LOOP_LOGGED_EVERY
        self._name = f"[uWSGI fastrouter pid {os.getpid()}]"
        self._deltas = context.deltas[index].reader
        self._failures = context.failures.writer if context.failures else -1
        balancing = make_balancing(context, index, self.counters, self.health)
        self._routes = Routes(context.state, balancing)
        self.fallback = make_fallback(context, self._routes, balancing)
        self._forwarder = make_forwarder(context, index, self._routes, balancing, self.fallback)
        self.candidates = self._forwarder.candidates
        self.knows = self._forwarder.knows
        self._unserved = UnservedLog(context.state, index)
        subscription_decides = next(iter(options.forwarders), "") == "subscription_server"
        self._why_unknown = "nobody has announced it" if subscription_decides else "it is mapped to none"
        self._access_log: AccessLog | None = None
        if options.log:
            sink = FileSink(context.access_log, context.access_log_path, context.access_log)
            self._access_log = AccessLog(sink, options.log_format, index)
        if options.harakiri:
            self.loop.time_turns(self._cells, Worker.BUSY_SINCE)

    def start(self) -> None:
        """Forget what a predecessor left behind, take over the table, and accept."""
        self.counters.reset_active()
        self._cells[Worker.SESSIONS] = 0
        self.loop.watch(self._deltas, IN, self._follow)
        self._routes.read_all()
        self._cells[Worker.GENERATION] = self._routes.generation
        if self._can_be_cheap:
            self._acceptor.close(Reason.CHEAP)
        if self._table_cells[Table.PAUSED]:
            self._acceptor.close(Reason.PAUSED)
        self._update_cheap()
        self._acceptor.update()

    def stop(self) -> None:
        """Accept nothing new, and end when the last session does."""
        if Reason.DRAINING in self._acceptor.reasons:
            return
        if Reason.CHEAP not in self._acceptor.reasons:
            self._acceptor.accept_waiting()
        self._acceptor.close(Reason.DRAINING)
        self._end_when_drained()

    def stop_at_once(self) -> None:
        self.loop.running = False

    def close_all(self) -> None:
        """End every session, so that nodes and clients see it now."""
        for session in list(self._sessions):
            if session.generator is not None:
                session.generator.close()

    def is_alone(self) -> bool:
        """Whether there is no other session, so that nothing matters but how soon the client has its answer.

        Among many, what costs least is to let them run abreast: clients that hear of their ends one by one
        come back one by one.
        """
        return len(self._sessions) == 1

    def is_crowded(self) -> bool:
        """Whether there are so many sessions that one request may have made them all, in a circle of routers.

        Then each is marked when it is passed on, and too many marks end it.
        """
        return len(self._sessions) > _CROWD

    def log_loop(self, session: Session) -> None:
        """A request goes in circles; said once in a while."""
        if self.seconds >= self._loop_logged_at + _LOOP_LOGGED_EVERY:
            self._loop_logged_at = self.seconds
            key = to_text(session.key)
            log.error("%s a request for %s came through %d routers: a loop", self._name, key, MAX_HOPS)

    def distrust(self, session: Session, node: Node) -> None:
        """A node has sent more than its answer: another client might have been told that."""
        if self.kept.distrust(node.sockaddr):
            self._log_distrust(f"{to_text(session.key)} => {node.address} sent more than its answer")

    def _spoke_unasked(self, address: object) -> None:
        if self.kept.distrust(address):
            self._log_distrust(f"a node at {address} said something before it was asked")

    def _log_distrust(self, what: str) -> None:
        self._cells[Worker.SURPLUS] += 1
        log.error("[uwsgi-fastrouter] %s; its connections are kept no more", what)

    def take(self, session: Session, node: Node) -> bool:
        """Count a session's request as one of a node's. False when that has as many as it may have.

        Who comes when others wait for the same pool waits behind them.
        """
        if self.queue.waiting and self.queue.has_others(node.key, session):
            return False
        self.counters.hold(node, 1)
        if self.health.admits(node):
            session.node = node
            if session.waits_for is not None:
                self.queue.discard(session)
            return True
        self.counters.hold(node, -1)
        return False

    def leave(self, session: Session) -> None:
        """A session has done with its node, if it has one; what waits for room there may come."""
        node = session.node
        if node is not None:
            session.node = None
            self.disconnect(session)
            self.counters.hold(node, -1)
            if self.queue.waiting:
                self.queue.wake(node.key)

    def disconnect(self, session: Session) -> None:
        """Close a session's connection to its node, if there is one."""
        if session.sock is not None:
            self.loop.forget(session.node_fd)
            session.sock.close()
            session.sock = None

    def failed(self, session: Session, node: Node, kind: int) -> None:
        """Count a node that gave no answer (UNANSWERED, TIMEOUTS), and see whether it had better rest."""
        self.counters.failed(node, kind)
        rest = self.health.failed(node)
        if rest:
            log.warning(
                "[uwsgi-fastrouter] %s => %s gave no answer again and again and rests for %d seconds",
                to_text(session.key),
                node.address,
                rest,
            )

    def connect_failed(self, session: Session, node: Node, error: int, tries: int) -> int:
        """Count, mark and log a node that could not be reached. Returns the status that says so."""
        if error in _CLOSED_AT_ONCE:
            self.failed(session, node, Counter.UNANSWERED)
            return UNAVAILABLE
        self.counters.failed(node)
        if not self._quiet:
            log.warning(
                '[uwsgi-fastrouter] unable to connect() to node "%s" (%d retries): %s',
                node.address,
                tries,
                os.strerror(error),
            )
        if error not in _NOT_THE_NODES_FAULT:
            if node not in self.fallback and self._forwarder.mark_failed(node):
                key = to_text(session.key)
                log.warning("[uwsgi-fastrouter] %s => marking %s as failed", key, node.address)
            self._report(Failure(node.slot, node.id))
            self._update_cheap()
        return TOO_LATE if error == errno.ETIMEDOUT else UNAVAILABLE

    def no_node(self, key: bytes) -> int:
        """Note a request for a key that has no node. Returns the status that says so."""
        if self.knows(key):
            self._unserved.note(key, "all that it had are gone, or could not be reached", self.seconds)
            return UNAVAILABLE
        self._unserved.note(key, self._why_unknown, self.seconds)
        return NO_NODE

    def _report(self, failure: Failure) -> None:
        if self._failures >= 0:
            try:
                os.write(self._failures, failure.encode())
            except BlockingIOError:
                pass  # the mark in shared memory is there; the next failure, or silence, removes the node

    def count_error(self, problem: int) -> None:
        """Count a session that ended otherwise than it should, by the status that says how."""
        self._cells[Worker.ERRORS] += 1
        self._cells[error_cell(problem)] += 1

    def close(self, session: Session) -> None:
        """A session is over."""
        self.leave(session)
        if session.waits_for is not None:
            self.queue.discard(session)
        if session.body is not None:
            session.body.close()
        self.loop.unwatch(session.client_fd)  # a node may have it, too: closing alone would not end the watch
        session.client.close()
        if self._access_log is not None:
            self._access_log.write(session.record or Record(), session.key, session.packet)
        self._sessions.discard(session)
        self._cells[Worker.SESSIONS] = len(self._sessions)
        if self._acceptor.reasons:
            self._acceptor.reopen(Reason.EXHAUSTED)  # there are two descriptors more
            if len(self._sessions) < self._max_sessions:
                self._acceptor.reopen(Reason.FULL)
            self._end_when_drained()

    def _admit(self, client: int) -> None:
        session = Session(self, client)
        if self._access_log is not None:
            session.record = Record()
        sessions = self._sessions
        sessions.add(session)
        self._cells[Worker.SESSIONS] = len(sessions)
        self._cells[Worker.ACCEPTED] += 1
        if len(sessions) >= self._max_sessions and self._acceptor.close(Reason.FULL):
            self._log_full()
        assert session.generator is not None
        next(session.generator)

    def _log_full(self) -> None:
        """Once: at the limit, every session that ends and begins passes it."""
        if not self._is_full:
            self._is_full = True
            log.error("%s has %d sessions, as many as it may have", self._name, self._max_sessions)

    def _log_room(self) -> None:
        if self._is_full and len(self._sessions) < _ROOM * self._max_sessions:
            self._is_full = False
            log.info("%s has room again for more sessions", self._name)

    def _tick(self) -> None:
        """The sweep: end what is silent for too long, and notice clients that left."""
        self.seconds += 1
        self._acceptor.reopen(Reason.EXHAUSTED)
        self._log_room()
        if self._table_cells[Table.PAUSED]:
            self._acceptor.close(Reason.PAUSED)
        else:
            self._acceptor.reopen(Reason.PAUSED)
        for session in list(self._sessions):
            silent = self.seconds - session.touched
            if silent > session.limit and session.generator is not None:
                session.generator.throw(TimeoutError("nothing happened for too long"))
            elif silent and not session.old:
                session.old = True
                session.resume(SWEEP)

    def keep_up(self) -> None:
        """Follow the table now. Its last change may still wait in the pipe, behind other events."""
        if self._table_cells[Table.GENERATION] != self._routes.generation:
            self._follow((self._deltas, IN))

    def _follow(self, event: Event) -> None:
        try:
            deltas = read_deltas(event[0])
        except BlockingIOError:
            return  # they have been read since the event, or are about to be written
        self._routes.follow(deltas)
        self._cells[Worker.GENERATION] = self._routes.generation
        self._update_cheap()

    def _update_cheap(self) -> None:
        if not self._can_be_cheap:
            return
        if self._forwarder.is_empty:
            if self._acceptor.close(Reason.CHEAP):
                log.info("%s no more nodes available. Going cheap...", self._name)
        elif self._acceptor.reopen(Reason.CHEAP):
            log.info("%s leaving cheap mode...", self._name)
        self._cells[Worker.CHEAP] = Reason.CHEAP in self._acceptor.reasons

    def _end_when_drained(self) -> None:
        if Reason.DRAINING in self._acceptor.reasons and not self._sessions:
            self.loop.running = False
