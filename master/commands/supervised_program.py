"""A program that is announced: started, watched, taken back before it ends."""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from fastrouter.options import SubscribeOptions
from fastrouter.subscriptions.subscriber import Subscription
from fastrouter.wire.announcement import Announcement
from master.commands.reachability import Reachability, trouble
from workers.announcing.rounds import Announcer
from workers.announcing.transmitter import Transmitter
from workers.loop import Event, Loop
from workers.process import die_with_parent
from workers.resolver import Resolver

__all__ = ["SupervisedProgram"]

log = logging.getLogger("fastrouter")

_TO_HEAR = 0.2
"""Seconds that routers without draining have to hear of the end before the program does."""

_NOT_FOUND, _CANNOT_START = 127, 126
"""Exit codes, as shells have them."""

_TO_END = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_TO_PASS_ON = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)


class SupervisedProgram:
    """The life of one program, or of announcing something that runs already when there is none to start."""

    def __init__(
        self, options: SubscribeOptions, subscriptions: Sequence[Subscription], command: Sequence[str]
    ) -> None:
        self._options = options
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._code: int | None = None
        self._stop_signal: signal.Signals | None = None
        self._is_impatient = False
        self._has_passed_on = False
        self._shares_terminal = os.isatty(0)
        self._polls = False
        self._loop = Loop(self._tick)
        self._resolver = Resolver(self._loop, lambda host: self._has_changed())
        addresses = {subscription.address for subscription in subscriptions}
        check = partial(_check, options)
        self._reachability = Reachability(self._loop, addresses, check, self._has_changed)
        # Who takes clients or keeps connections knows this program, and might take a greeting amiss.
        self._greets = not (options.fd_passing or options.keepalive)
        self._is_announcing = False
        self._announcer = Announcer(
            Transmitter(self._resolver), subscriptions, self._template, options.freq, self._reachability.is_up
        )
        self._life = self._live()

    def run(self) -> int:
        """Returns the exit code, once all is over."""
        to_pass_on, to_end = (_TO_PASS_ON, _TO_END) if self._command else ((), (*_TO_END, signal.SIGHUP))
        handlers: dict[signal.Signals, Callable[[], None]] = {signal.SIGCHLD: self._reap}
        handlers |= {number: partial(self._stop, number) for number in to_end}
        handlers |= {number: partial(self._pass_on, number) for number in to_pass_on}
        self._loop.handle_signals(handlers)
        self._go_on((-1, 0))
        self._loop.run()
        # At its end the interpreter takes the handlers away, and the next tick would kill it.
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert self._code is not None
        return self._code if self._code >= 0 else 128 - self._code

    def _live(self) -> Iterator[bool]:
        """From start to end. Yields to wait: True for a moment, False for a signal or the next second."""
        if self._command:
            if not self._options.shared:
                yield from self._look_whether_free()
            if self._code is None and self._stop_signal is None:
                self._start()
        # Of a program that was started here, its life says enough once it is up.
        is_watched = self._process is None or self._options.ping
        every = float(self._options.freq) if is_watched else float("inf")
        self._is_announcing = True
        while self._stop_signal is None and self._code is None:
            self._reachability.go_on(every, self._greets)
            yield self._reachability.someone_is_awaited
        self._is_announcing = False
        if self._announcer.has_announced:
            yield from self._take_back()
        if self._process is None:
            self._code = self._code or 0
        elif self._code is None:
            assert self._stop_signal is not None
            self._has_passed_on = True
            if not self._has_heard_itself(self._stop_signal):
                self._pass_on(self._stop_signal)
        while self._code is None:
            yield False

    def _look_whether_free(self) -> Iterator[bool]:
        """What runs at the address already would be taken for the program, and taken back when that ends."""
        self._reachability.go_on(float("inf"))
        deadline = time.monotonic() + self._options.check_timeout
        while not self._reachability.are_done and self._stop_signal is None and time.monotonic() < deadline:
            yield True
        if self._reachability.any_is_up:
            log.error("something accepts there already; stop it, or see --shared")
            self._code = _CANNOT_START
        self._reachability.begin_anew()

    def _take_back(self) -> Iterator[bool]:
        if self._code is None:
            log.info("asking for no more requests")
            self._announcer.drain()
            yield from self._wait(self._options.drain)
        self._announcer.unsubscribe()
        yield from self._wait(_TO_HEAR)

    def _wait(self, seconds: float) -> Iterator[bool]:
        deadline = time.monotonic() + seconds
        while self._code is None and not self._is_impatient and time.monotonic() < deadline:
            yield True

    def _go_on(self, event: Event) -> None:
        try:
            if next(self._life) and not self._polls:
                self._polls = True
                self._loop.pause(self._poll)
        except StopIteration:
            self._loop.running = False

    def _poll(self, event: Event) -> None:
        self._polls = False
        self._go_on(event)

    def _start(self) -> None:
        parent = os.getpid()
        try:
            self._process = subprocess.Popen(
                self._command,
                # With a terminal it has to be in the group that may use that; otherwise it hears of the end
                # from here alone.
                process_group=None if self._shares_terminal else 0,
                preexec_fn=lambda: die_with_parent(parent, signal.SIGTERM),  # noqa: PLW1509 - no thread yet
            )
        except OSError as error:
            log.error("cannot start %s: %s", self._command[0], error.strerror)
            self._code = _NOT_FOUND if isinstance(error, FileNotFoundError) else _CANNOT_START

    def _tick(self) -> None:
        self._resolver.tick()
        if self._is_announcing:
            self._announcer.tick()
        self._loop.soon(self._go_on)

    def _reap(self) -> None:
        """Take every dead child; as PID 1 of a container, others' too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if self._process is not None and pid == self._process.pid:
                self._code = self._process.returncode = os.waitstatus_to_exitcode(status)
                self._loop.soon(self._go_on)

    def _stop(self, number: signal.Signals) -> None:
        """Begin to end; told so again, do not wait any longer; after that the program is to know."""
        if self._has_passed_on:
            self._pass_on(number)
        if self._stop_signal is not None:
            self._is_impatient = True
        self._stop_signal = number
        self._loop.soon(self._go_on)

    def _has_heard_itself(self, number: signal.Signals) -> bool:
        """Whether a signal is the terminal's, which it sends to the program as well."""
        return self._shares_terminal and number in (signal.SIGINT, signal.SIGQUIT)

    def _pass_on(self, number: signal.Signals) -> None:
        if self._process is not None and self._code is None:
            os.kill(self._process.pid, number)

    def _has_changed(self) -> None:
        if self._is_announcing:
            self._announcer.begin()
        self._loop.soon(self._go_on)

    def _template(self, subscription: Subscription) -> Announcement:
        return Announcement(
            key="",
            address=subscription.address,
            traits=subscription.traits._replace(
                fd_passing=self._options.fd_passing, keepalive=self._options.keepalive
            ),
            cores=self._options.cores,
            notify=self._options.notify,
        )


def _check(options: SubscribeOptions, address: str, greets: bool) -> str:
    return trouble(address, options.ping, greets, options.check_timeout)
