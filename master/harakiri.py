"""Harakiri: the end of a process that is too long at one thing.

An app worker's is its request, a router worker's one turn of its loop: that blocks everybody who is routed
there. The master looks at what they write into their cells; they may not be able to do anything themselves.
"""

import logging
import os
import signal
import time
from collections.abc import Iterable, Iterator

from fastrouter.memory.cells import App, Worker
from master.child import Child, Kind, Role, State
from workers.context import Context

__all__ = ["Harakiri"]

log = logging.getLogger("fastrouter")

_SECOND = 1_000_000_000

_PAUSED = 3 * _SECOND // 2
"""Nanoseconds between two looks, which are a second apart at most, that say that time was lost."""


class Harakiri:
    """Kills those who are overdue."""

    def __init__(self, context: Context) -> None:
        self._apps = context.apps
        self._looked = time.monotonic_ns()
        self._threads = context.options.app.threads
        self._app_limit = context.options.app.harakiri

    def kill_overdue(self, children: Iterable[Child]) -> None:
        """Kill every process that has been busy with one thing for longer than its limit."""
        now = time.monotonic_ns()
        paused = now - self._looked > _PAUSED
        self._looked = now
        if paused:
            return  # the whole machine stood still, or this process; the others may not have noticed yet
        for child in children:
            limit, called = self._limit_of(child.role)
            if not limit or child.state is not State.READY:
                continue
            overdue = False
            for cells, at in self._busy_since(child):
                if cells[at] and now - cells[at] > limit * _SECOND:
                    cells[at] = 0  # its process ends now; this is not to be seen again meanwhile
                    overdue = True
            if overdue:
                log.error("*** HARAKIRI ON %s %d (pid: %d) ***", called, child.index + 1, child.pid)
                os.kill(child.pid, signal.SIGKILL)

    def _limit_of(self, role: Role) -> tuple[int, str]:
        """Seconds, 0 for none, and what uWSGI calls such a process."""
        if role.kind is Kind.APP:
            return self._app_limit, "WORKER"
        if role.kind is Kind.GATEWAY and role.gateway is not None:
            return role.gateway.options.harakiri, f"GATEWAY uWSGI {role.gateway.prefix}"
        return 0, ""

    def _busy_since(self, child: Child) -> Iterator[tuple[memoryview, int]]:
        """The cells that say since when a child has been at one thing: where they are, and which."""
        if child.role.gateway is not None:
            yield child.role.gateway.state.worker_cells(child.index), Worker.BUSY_SINCE
            return
        for thread in range(child.index * self._threads, (child.index + 1) * self._threads):
            yield self._apps.cells(thread), App.BUSY_SINCE
