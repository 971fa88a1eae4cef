"""The router worker: accepts, keeps the sessions, follows the routing table, is cheap when told to be."""

import logging
import signal
from collections.abc import Callable

from fastrouter.memory.cells import Worker
from workers.access_log import AccessLog, Record
from workers.context import Gateway
from workers.loop import IN, Event, Loop
from workers.process import BOOT_FAILURE, raise_descriptor_limit
from workers.routing.acceptor import Acceptor, Reason
from workers.routing.body_file import BodyFile, BufferingFailed
from workers.routing.engine import Engine
from workers.routing.exchange import SWEEP, Exchange, MakeExchange
from workers.sinks import FileSink
from workers.usercode.loading import LoadError
from workers.usercode.uwsgi_module import install_uwsgi_module

__all__ = ["Router", "run_router"]

log = logging.getLogger("fastrouter")

_RESERVED_DESCRIPTORS = 64
"""Kept out of the sessions' reach: listeners, pipes, the log, libraries."""

_ROOM = 0.9
"""Of the limit of sessions; a worker that has fewer is not full any more."""

_DESCRIPTORS = 2
"""Of a session: its client's and its node's. With post-buffering there may be a file besides."""


def run_router(gateway: Gateway, index: int, ready: Callable[[], None], exchange: MakeExchange) -> int:
    """Be router worker number index of a gateway until told to stop. Returns the exit code."""
    gateway.state.worker_cells(index)[Worker.BUSY_SINCE] = 0  # a predecessor's turn is not this one's
    reader = gateway.first_reader + index
    install_uwsgi_module(gateway.context.caches, gateway.context.options.sockets.socket_timeout, reader)
    try:
        router = Router(gateway, index, exchange)
        if gateway.options.post_buffering:
            BodyFile(gateway.options.post_buffering_dir).close()
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
    """One router worker."""

    def __init__(self, gateway: Gateway, index: int, exchange: MakeExchange) -> None:
        options = gateway.options
        self.loop = Loop(self._tick, options.events)
        self._exchange = exchange
        self._cells = gateway.state.worker_cells(index)
        self._program = gateway.context.program
        self._sessions: set[Exchange] = set()
        self._engine = Engine(gateway, index, self.loop, self._update_cheap)
        each = _DESCRIPTORS + (1 if options.post_buffering else 0)
        by_descriptors = max((raise_descriptor_limit() - _RESERVED_DESCRIPTORS) // each, 1)
        self._max_sessions = min(options.max_sessions or by_descriptors, by_descriptors)
        self._is_full = False
        """That it has all the sessions that it may have was said, and is true still, or almost."""
        self._acceptor = Acceptor(
            self.loop,
            gateway.listeners,
            gateway.context.app_listeners,
            gateway.keys,
            self._engine.nodes.keep_up,
            self._admit,
        )
        self._can_be_cheap = options.cheap
        self._deltas = gateway.deltas[index].reader
        self._access_log: AccessLog | None = None
        if options.log:
            sink = FileSink(gateway.access_log, gateway.access_log_path, gateway.access_log)
            self._access_log = AccessLog(sink, options.log_format, index)
        if options.harakiri:
            self.loop.time_turns(self._cells, Worker.BUSY_SINCE)

    def start(self) -> None:
        """Forget what a predecessor left behind, take over the table, and accept."""
        self._cells[Worker.SESSIONS] = 0
        self.loop.watch(self._deltas, IN, self._follow)
        self._engine.nodes.take_over()
        if self._can_be_cheap:
            self._acceptor.close(Reason.CHEAP)
        if self._program.is_paused:
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

    def _admit(self, client: int, listener: bytes, address: object) -> None:
        session = self._exchange(self._engine, client, listener, address, self._ended)
        if self._access_log is not None:
            session.record = Record()
        sessions = self._sessions
        sessions.add(session)
        self._engine.open = self._cells[Worker.SESSIONS] = len(sessions)
        self._cells[Worker.ACCEPTED] += 1
        if len(sessions) >= self._max_sessions and self._acceptor.close(Reason.FULL):
            self._log_full()
        assert session.generator is not None
        next(session.generator)

    def _ended(self, session: Exchange) -> None:
        if self._access_log is not None:
            self._access_log.write(session.record or Record(), session.key, session.variables())
        self._sessions.discard(session)
        self._engine.open = self._cells[Worker.SESSIONS] = len(self._sessions)
        if self._acceptor.reasons:
            self._acceptor.reopen(Reason.EXHAUSTED)  # there are two descriptors more
            if len(self._sessions) < self._max_sessions:
                self._acceptor.reopen(Reason.FULL)
            self._end_when_drained()

    def _log_full(self) -> None:
        """Once: at the limit, every session that ends and begins passes it."""
        if not self._is_full:
            self._is_full = True
            log.error("%s has %d sessions, as many as it may have", self._engine.name, self._max_sessions)

    def _log_room(self) -> None:
        if self._is_full and len(self._sessions) < _ROOM * self._max_sessions:
            self._is_full = False
            log.info("%s has room again for more sessions", self._engine.name)

    def _tick(self) -> None:
        """The sweep: end what is silent for too long, and notice clients that left."""
        self._engine.seconds += 1
        self._acceptor.reopen(Reason.EXHAUSTED)
        self._log_room()
        if self._program.is_paused:
            self._acceptor.close(Reason.PAUSED)
        else:
            self._acceptor.reopen(Reason.PAUSED)
        for session in list(self._sessions):
            silent = self._engine.seconds - session.touched
            if silent > session.limit and session.generator is not None:
                session.generator.throw(TimeoutError("nothing happened for too long"))
            elif silent and not session.old:
                session.old = True
                session.resume(SWEEP)

    def _follow(self, event: Event) -> None:
        self._engine.nodes.follow()

    def _update_cheap(self) -> None:
        if not self._can_be_cheap:
            return
        if self._engine.nodes.are_none:
            if self._acceptor.close(Reason.CHEAP):
                log.info("%s no more nodes available. Going cheap...", self._engine.name)
        elif self._acceptor.reopen(Reason.CHEAP):
            log.info("%s leaving cheap mode...", self._engine.name)
        self._cells[Worker.CHEAP] = Reason.CHEAP in self._acceptor.reasons

    def _end_when_drained(self) -> None:
        if Reason.DRAINING in self._acceptor.reasons and not self._sessions:
            self.loop.running = False
