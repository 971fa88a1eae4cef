"""What all sessions of a router worker share: the loop, the clock, the limits, the buffer."""

import logging
import os
from collections.abc import Callable

from fastrouter.memory.cells import Worker
from fastrouter.memory.outcomes import error_cell
from fastrouter.text import to_bytes, to_text
from fastrouter.wire.request import MAX_HOPS
from workers.context import Gateway
from workers.loop import Loop
from workers.routing.nodes import Nodes

__all__ = ["Engine"]

log = logging.getLogger("fastrouter")

_CROWD = 64
"""Sessions."""

_LOOP_LOGGED_EVERY = 60
"""Seconds."""


class Engine:
    """One a router worker. A session reads what it needs here; it owns nothing of it."""

    def __init__(self, gateway: Gateway, index: int, loop: Loop, changed: Callable[[], None]) -> None:
        """changed is called as Nodes says. Raises what Nodes raises."""
        options = gateway.options
        self.loop = loop
        self.nodes = Nodes(gateway, index, loop, changed)
        self.seconds = 0
        """Counts the seconds since the start, for the ages of sessions."""
        self.open = 0
        """The number of sessions."""
        self.buffer = memoryview(bytearray(options.buffer_size))
        """Every session reads its node's bytes into it; nothing stays there beyond one event."""
        self.timeout = options.timeout
        self.header_timeout = options.header_timeout
        self.connect_timeout = options.connect_timeout
        self.queue_timeout = options.queue_timeout
        self.max_retries = options.max_retries
        self.post_buffering = options.post_buffering
        self.post_buffering_dir = options.post_buffering_dir
        self.answers_errors = options.answer_errors
        self.passes_clients = options.PASSES_CLIENTS and not gateway.context.options.sockets.no_fd_passing
        self.xclient = options.xclient
        self.send_proxy = options.send_proxy
        self.force_key = to_bytes(options.force_key)
        subscription = gateway.context.options.subscription
        self.mountpoints = subscription.mountpoints if options.subscription_server else 0
        self.name = f"[uWSGI {gateway.prefix} pid {os.getpid()}]"
        self._cells = gateway.state.worker_cells(index)
        self._loop_logged_at = -_LOOP_LOGGED_EVERY

    def is_alone(self) -> bool:
        """Whether there is no other session, so that nothing matters but how soon the client has its answer.

        Among many, it costs least to let them run abreast: clients that hear of their ends one by one come
        back one by one.
        """
        return self.open == 1

    def is_crowded(self) -> bool:
        """Whether there are so many sessions that one request may have made them all, in a circle of routers.

        Then each is marked when it is passed on, and too many marks end it.
        """
        return self.open > _CROWD

    def log_loop(self, key: bytes) -> None:
        """Log that a request goes in circles, once a minute at most."""
        if self.seconds >= self._loop_logged_at + _LOOP_LOGGED_EVERY:
            self._loop_logged_at = self.seconds
            log.error(
                "%s a request for %s came through %d routers: a loop", self.name, to_text(key), MAX_HOPS
            )

    def count_error(self, problem: int) -> None:
        """Count a session that ended without an answer, by the status that says why."""
        self._cells[Worker.ERRORS] += 1
        self._cells[error_cell(problem)] += 1
