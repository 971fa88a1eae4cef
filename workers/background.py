"""Doing what blocks in threads, so that the loop does not wait for it."""

import os
import queue
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from workers.loop import Event, Loop

__all__ = ["Background"]

_T = TypeVar("_T")


class Background:
    """A few threads, which start with the first work and end with the process."""

    def __init__(self, loop: Loop, threads: int) -> None:
        self._loop = loop
        self._threads = threads
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._done: deque[Callable[[], None]] = deque()
        self._writer = -1

    def run(self, work: Callable[[], _T], done: Callable[[_T], None]) -> None:
        """Call work in a thread, and done with its result in the loop. work must not raise."""
        if self._writer < 0:
            reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._loop.watch(reader, select.EPOLLIN, self._take_results)
            for _ in range(self._threads):
                threading.Thread(target=self._run_forever, daemon=True).start()

        def run() -> None:
            result = work()
            self._done.append(lambda: done(result))

        self._work.put(run)

    def _run_forever(self) -> None:
        while True:
            self._work.get()()
            try:
                os.write(self._writer, b"\0")
            except BlockingIOError:
                pass  # the loop has enough to wake up for

    def _take_results(self, event: Event) -> None:
        os.read(event[0], 4096)
        while self._done:
            self._done.popleft()()
