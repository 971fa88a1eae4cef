"""Harakiri: the end of an app worker whose request takes too long."""

import logging
import os
import signal
import time
from collections.abc import Sequence

from fastrouter.shared import App
from master.child import Child
from workers.context import Context

__all__ = ["Harakiri"]

log = logging.getLogger("fastrouter")


class Harakiri:
    """Looks at the app workers' cells; the workers do nothing for it, since they may not be able to."""

    def __init__(self, context: Context) -> None:
        self._limit = context.options.app.harakiri * 1_000_000_000
        self._threads = context.options.app.threads
        self._state = context.state

    def kill_overdue(self, children: Sequence[Child]) -> None:
        """Kill every app worker with a request older than the limit."""
        if not self._limit:
            return
        now = time.monotonic_ns()
        for child in children:
            if child.role.name == "app worker" and child.is_alive and self._is_overdue(child.index, now):
                log.error("*** HARAKIRI ON WORKER %d (pid: %d) ***", child.index + 1, child.pid)
                os.kill(child.pid, signal.SIGKILL)

    def _is_overdue(self, index: int, now: int) -> bool:
        overdue = False
        for thread in range(index * self._threads, (index + 1) * self._threads):
            cells = self._state.app_cells(thread)
            since = cells[App.BUSY_SINCE]
            if since and now - since > self._limit:
                cells[App.BUSY_SINCE] = 0  # its process ends now; this is not to be seen again meanwhile
                overdue = True
        return overdue
