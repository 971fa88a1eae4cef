"""A program that is announced: started, watched, taken back before it ends."""

import logging
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from fastrouter.address import host_name, parse_node, show
from fastrouter.options import SubscribeOptions
from fastrouter.packet import HEADER
from fastrouter.subscriber import Subscription
from fastrouter.subscription import Announcement
from workers.announcer import Announcer
from workers.announcing import Transmitter
from workers.background import Background
from workers.loop import Event, Loop
from workers.process import die_with_parent
from workers.resolver import Resolver, look_up

__all__ = ["Announced", "is_up"]

log = logging.getLogger("fastrouter")

_PING = 100
"""modifier1 of uwsgi's ping; the answer has modifier2 1."""

_TO_HEAR = 0.2
"""Seconds that routers without draining have to hear of the end before the program does."""

_FIRST_CHECK, _LAST_CHECK = 0.05, 1.0
"""Seconds between checks of what is down: short at first, a little longer each time."""

_NOT_FOUND, _CANNOT_START = 127, 126
"""Exit codes, as shells have them."""

_TO_END = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_TO_PASS_ON = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)


class Announced:
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
        self._polls = False
        self._loop = Loop(self._tick)
        self._background = Background(self._loop, threads=4)
        self._resolver = Resolver(self._loop, lambda host: self._announcer.announce())
        self._is_up = dict.fromkeys((subscription.address for subscription in subscriptions), False)
        self._next_check = dict.fromkeys(self._is_up, 0.0)
        """Monotonic seconds, by address."""
        self._pause = dict.fromkeys(self._is_up, _FIRST_CHECK)
        """Until the check after the next one, if it is down still."""
        self._announcer = Announcer(
            Transmitter(self._resolver), subscriptions, self._template, options.freq, self._is_up.__getitem__
        )
        self._life = self._live()

    def run(self) -> int:
        """Returns the exit code, once all is over."""
        handlers: dict[signal.Signals, Callable[[], None]] = {signal.SIGCHLD: self._reap}
        handlers |= {number: partial(self._stop, number) for number in _TO_END}
        if self._command:
            handlers |= {number: partial(self._pass_on, number) for number in _TO_PASS_ON}
        self._loop.handle_signals(handlers)
        self._go_on((-1, 0))
        self._loop.run()
        assert self._code is not None
        return self._code if self._code >= 0 else 128 - self._code

    def _live(self) -> Iterator[bool]:
        """From start to end. Yields to wait: True for a moment, False for a signal or the next second."""
        if self._command:
            self._start()
        while self._stop_signal is None and self._code is None:
            self._check_due()
            yield any(
                not self._is_up[address] and self._pause[address] < _LAST_CHECK for address in self._is_up
            )
        if self._announcer.has_announced:
            if self._code is None:
                self._announcer.drain()
                yield from self._wait(self._options.drain)
            self._announcer.unsubscribe()
            yield from self._wait(_TO_HEAR)
        if self._process is None:
            self._code = self._code or 0
        elif self._code is None:
            assert self._stop_signal is not None
            self._pass_on(self._stop_signal)
        while self._code is None:
            yield False

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
            # In a group of its own, so that a terminal's signals come here first.
            self._process = subprocess.Popen(
                self._command,
                process_group=0,
                preexec_fn=lambda: die_with_parent(parent, signal.SIGTERM),  # noqa: PLW1509 - no thread yet
            )
        except OSError as error:
            log.error("cannot start %s: %s", self._command[0], error.strerror)
            self._code = _NOT_FOUND if isinstance(error, FileNotFoundError) else _CANNOT_START

    def _tick(self) -> None:
        self._resolver.tick()
        if self._stop_signal is None:
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
        """Begin to end; told so again, do not wait any longer."""
        if self._stop_signal is not None:
            self._is_impatient = True
        self._stop_signal = number
        self._loop.soon(self._go_on)

    def _pass_on(self, number: signal.Signals) -> None:
        if self._process is not None and self._code is None:
            os.kill(self._process.pid, number)

    def _check_due(self) -> None:
        now = time.monotonic()
        for address, due in self._next_check.items():
            if now >= due:
                self._next_check[address] = float("inf")  # until this one is done
                ping, timeout = self._options.ping, self._options.check_timeout
                self._background.run(
                    partial(is_up, address, ping, timeout), partial(self._has_checked, address)
                )

    def _has_checked(self, address: str, is_up: bool) -> None:
        pause = self._pause[address]
        self._pause[address] = min(1.2 * pause, _LAST_CHECK)
        if is_up:
            self._pause[address] = _FIRST_CHECK
            # Of a program that was started here, its life says enough from here on.
            watched = self._process is None or self._options.ping
            pause = float(self._options.freq) if watched else float("inf")
        self._next_check[address] = time.monotonic() + pause
        if is_up is self._is_up[address] or self._stop_signal is not None:
            return
        self._is_up[address] = is_up
        log.info("%s is %s", address, "up" if is_up else "down")
        self._announcer.begin()
        self._loop.soon(self._go_on)

    def _template(self, subscription: Subscription) -> Announcement:
        return Announcement(
            key="",
            address=subscription.address,
            modifier1=subscription.modifier1,
            modifier2=subscription.modifier2,
            cores=self._options.cores,
            weight=self._options.weight,
            notify=self._options.notify,
        )


def is_up(address: str, ping: bool, timeout: float) -> bool:
    """Whether something accepts at an address and, if ping is asked for, answers one. Blocks."""
    if host := host_name(address):
        hosts = look_up(host)
        if not hosts:
            return False
        address = show((hosts[0], int(address.rpartition(":")[2])))
    family, sockaddr = parse_node(address)
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(sockaddr)
            if not ping:
                # Reset rather than closed: servers log that somebody came and said nothing.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return True
            sock.sendall(HEADER.pack(_PING, 0, 0))
            return sock.recv(HEADER.size)[:1] == bytes([_PING])
    except OSError:
        return False
