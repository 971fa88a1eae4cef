"""The event loop of the router workers, the subscription server and the announcer.

Each watched descriptor has one function, called with the (descriptor, events) pair that epoll reported; a
generator's ``send`` will do, and is done with when the generator ends.

A descriptor that is closed while its event still waits in the batch may by then be another connection's;
so whoever closes one that is watched says so, and such events are dropped.
"""

import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["EDGE", "ERR", "EXCLUSIVE", "HUP", "IN", "OUT", "PAUSE", "RDHUP", "Event", "Loop"]

# As in epoll_ctl(2). Literals, unlike the names in select, cost nothing where they are used for every event.
IN: Final = 0x001
OUT: Final = 0x004
ERR: Final = 0x008
HUP: Final = 0x010
RDHUP: Final = 0x2000
EDGE: Final = 0x80000000
"""Report what becomes so, once, and not what is so again and again (EPOLLET)."""
EXCLUSIVE: Final = 0x10000000
"""Wake one of those who wait for the same socket, instead of all."""


Event = tuple[int, int]
"""(descriptor, EPOLL* bits)"""

PAUSE: Final = 0.01
"""Seconds; what is worth waiting for, but tells nobody when it happens."""

_RESUMED = 32
"""How many to resume at a time, first come, first served: a crowd that waits must not keep others waiting."""

_NO_EVENT: Event = (-1, 0)


class Loop:
    """Waits for events until stopped, and calls tick once a second."""

    def __init__(self, tick: Callable[[], None], max_events: int = 64) -> None:
        self._epoll = select.epoll()
        self.register = self._epoll.register
        """The system call alone, for who keeps handlers itself."""
        self.handlers: dict[int, Callable[[Event], object]] = {}
        self.running = True
        self._left: set[int] = set()
        """Descriptors left in this turn, which may be somebody else's by now: their events are void."""
        self._max_events = max_events
        self._signal_handlers: dict[int, Callable[[], None]] = {int(signal.SIGALRM): tick}
        self._paused: deque[Callable[[Event], object]] = deque()
        self._soon: deque[Callable[[Event], object]] = deque()
        self._poll: Callable[[float, int], list[Event]] = self._epoll.poll
        self._resume_at = 0.0

    def watch(self, fd: int, events: int, handler: Callable[[Event], object]) -> None:
        """Call handler at events on fd; on one watched already, change what is watched for."""
        if fd in self.handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self.handlers[fd] = handler

    def take_over(self, fd: int, events: int, handler: Callable[[Event], object]) -> int:
        """Have the events for which fd is watched already. Returns events."""
        self.handlers[fd] = handler
        return events

    def watch_or_not(self, fd: int, events: int, handler: Callable[[Event], object]) -> int:
        """Watch for events, or stop watching when there are none to watch for. Returns events."""
        if events:
            self.watch(fd, events, handler)
        else:
            # Even when nothing is asked for, a peer that has closed is reported, again and again.
            self.unwatch(fd)
        return events

    def unwatch(self, fd: int) -> None:
        """Stop watching a descriptor that stays open."""
        if fd in self.handlers:
            self._epoll.unregister(fd)
            self.forget(fd)

    def forget(self, fd: int) -> None:
        """A watched descriptor is about to be closed."""
        if fd in self.handlers:
            del self.handlers[fd]
            self._left.add(fd)

    def pause(self, handler: Callable[[Event], object]) -> None:
        """Call handler once, with an event of no descriptor, in PAUSE seconds or when its turn comes."""
        if not self._paused:
            self._resume_at = time.monotonic() + PAUSE
        self._paused.append(handler)

    def soon(self, handler: Callable[[Event], object]) -> None:
        """Call handler once, with an event of no descriptor, before the next wait."""
        self._soon.append(handler)

    def time_turns(self, cells: memoryview, cell: int) -> None:
        """Write into a cell, in monotonic nanoseconds, when the current turn began; 0 while waiting."""

        def poll(timeout: float, max_events: int) -> list[Event]:
            cells[cell] = 0
            events = self._epoll.poll(timeout, max_events)
            cells[cell] = time.monotonic_ns()
            return events

        self._poll = poll

    def handle_signals(self, handlers: Mapping[signal.Signals, Callable[[], None]]) -> None:
        """Call a function, in the loop, after its signal has arrived; and tick, from now on."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # The interpreter writes the number of each signal to the pipe; the handlers have nothing to do.
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._signal_handlers.update({int(number): handler for number, handler in handlers.items()})
        for number in self._signal_handlers:
            signal.signal(number, lambda number, frame: None)
        # One timer for the whole process: a time limit on every wait would cost the kernel a timer each.
        signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
        self.watch(reader, IN, self._take_signals)

    def run(self) -> None:
        """Go round until running is false."""
        poll, handlers, left = self._poll, self.handlers, self._left
        while self.running:
            for event in poll(PAUSE if self._paused else -1, self._max_events):
                fd = event[0]
                handler = handlers.get(fd)
                if handler is not None and fd not in left:
                    try:
                        handler(event)
                    except StopIteration:
                        pass  # the session that ran there is over
            left.clear()
            if self._soon or self._paused:
                self._resume_waiting()

    def _resume_waiting(self) -> None:
        now = time.monotonic()
        if self._paused and now >= self._resume_at:
            self._resume_at = now + PAUSE
            for _ in range(min(len(self._paused), _RESUMED)):
                self._soon.append(self._paused.popleft())
        while self._soon:
            try:
                self._soon.popleft()(_NO_EVENT)
            except StopIteration:
                pass  # it is over by now
        self._left.clear()

    def _take_signals(self, event: Event) -> None:
        for number in os.read(event[0], 64):
            self._signal_handlers[number]()
