"""Harakiri: the end of a process that is too long at one thing.

An app worker's is its request, a router worker's one turn of its loop: that blocks everybody who is routed
there. The master looks at what they write into their cells; they may not be able to do anything themselves.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator

from fastrouter.memory.cells import App, Worker
from master.child import Child, State
from workers.context import Context

__all__ = ["Harakiri"]

log = logging.getLogger("fastrouter")

_SECOND = 1_000_000_000

_PAUSED = 3 * _SECOND // 2
"""Nanoseconds between two looks, which are a second apart at most, that say that time was lost."""


class Harakiri:
    """Kills those who are overdue."""

    def __init__(self, context: Context) -> None:
        self._state, self._apps = context.state, context.apps
        self._looked = time.monotonic_ns()
        self._threads = context.options.app.threads
        app, router = context.options.app.harakiri, context.options.router.harakiri
        self._limits: dict[str, tuple[int, Callable[[int], Iterator[tuple[memoryview, int]]], str]] = {}
        """By role: nanoseconds, where a child's cells say since when it is busy, and what it is called."""
        if app:
            self._limits["app worker"] = (app * _SECOND, self._of_app, "WORKER")
        if router:
            self._limits["router worker"] = (router * _SECOND, self._of_router, "GATEWAY uWSGI fastrouter")

    def kill_overdue(self, children: Iterable[Child]) -> None:
        """Kill every process that has been busy with one thing for longer than its limit."""
        if not self._limits:
            return
        now = time.monotonic_ns()
        paused = now - self._looked > _PAUSED
        self._looked = now
        if paused:
            return  # the whole machine stood still, or this process; the others may not have noticed yet
        for child in children:
            if child.role.name in self._limits and child.state is State.READY:
                limit, cells_of, called = self._limits[child.role.name]
                overdue = False
                for cells, at in cells_of(child.index):
                    if cells[at] and now - cells[at] > limit:
                        cells[at] = 0  # its process ends now; this is not to be seen again meanwhile
                        overdue = True
                if overdue:
                    log.error("*** HARAKIRI ON %s %d (pid: %d) ***", called, child.index + 1, child.pid)
                    os.kill(child.pid, signal.SIGKILL)

    def _of_app(self, index: int) -> Iterator[tuple[memoryview, int]]:
        for thread in range(index * self._threads, (index + 1) * self._threads):
            yield self._apps.cells(thread), App.BUSY_SINCE

    def _of_router(self, index: int) -> Iterator[tuple[memoryview, int]]:
        yield self._state.worker_cells(index), Worker.BUSY_SINCE
