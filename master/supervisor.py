"""The supervisor: forks the children, reaps them, replaces them, and stops them in order.

Signal handlers do nothing but wake the loop; everything happens in it, one thing after the other.
"""

import logging
import os
import select
import selectors
import signal
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from master.child import Child, Role, State
from master.figures import log_figures
from master.former import Former
from master.harakiri import Harakiri
from master.heritage import Heritage
from master.manager import Manager
from master.reload import SUBSCRIPTION_SERVER, Reload
from workers.context import Context
from workers.process import BOOT_FAILURE

__all__ = ["PID", "ROUTERS", "Supervisor"]

log = logging.getLogger("fastrouter")

PID = struct.Struct("<q")
"""What a child writes into the ready pipe."""

ROUTERS = 1
"""The stop rank of the router workers."""

_BACKLOG_TIME = 1.0
"""Seconds that router workers have to take what waits in the backlogs when they are stopped."""

_MOST_STANDSTILL = 30.0
"""Seconds after a reload in which nothing is announced, while the new router workers do not come up."""

_AT_ONCE = 5.0
"""Seconds that children have to end when they are told to end at once."""

_SIGNALS = (
    signal.SIGCHLD,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGTTIN,
    signal.SIGTTOU,
)


BeChild = Callable[[Context, Role, int, str, int], NoReturn]
"""What a fresh child calls: with its role, index, name and the master's pid."""


class Supervisor:
    """Keeps the children of all roles until it is told to stop."""

    def __init__(
        self,
        context: Context,
        roles: Sequence[Role],
        be_child: BeChild,
        on_ready: Callable[[], None],
        heritage: Callable[[], Heritage],
        former: Former,
    ) -> None:
        """heritage is what the next program gets at a reload, but for children; former are its own."""
        self._context = context
        self._children = [Child(role, index) for role in roles for index in range(role.count)]
        self._be_child = be_child
        self._refuse_at = float("inf")
        self._on_ready = on_ready
        self._all_ready = False
        self._exit_code = 0
        self._stop_signal: signal.Signals | None = None
        self._rank = -1
        """Of the roles that are being stopped."""
        self._deadline = float("inf")
        self._harakiri = Harakiri(context)
        self._born = time.monotonic()
        self._former = former
        self._wanted = context.options.router.processes
        self._processes = 0
        """Router workers that a reload is to make, 0 for as many as are configured then."""
        self._manager = Manager(os.environ)
        self._waits_for_table = any(role.after == SUBSCRIPTION_SERVER for role in roles)
        self._heritage = heritage
        self._reload = Reload(
            context,
            self._children,
            self._with_children,
            _SIGNALS,
            self._are_signals_waiting,
            self._manager,
        )
        self._selector = selectors.DefaultSelector()
        self._signal_reader, self._signal_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # From here on no signal ends the program but through run().
        signal.set_wakeup_fd(self._signal_writer, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda number, frame: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # a reload leaves them blocked

    def run(self) -> int:
        """Supervise until stopped. Returns the exit code of the program."""
        self._selector.register(self._signal_reader, selectors.EVENT_READ, self._take_signals)
        assert self._context.ready is not None
        self._selector.register(self._context.ready.reader, selectors.EVENT_READ, self._take_ready)
        self._reap()  # what died before anybody listened
        while True:
            self._start_due(time.monotonic())
            if self._stop_signal is not None and not self._go_on_stopping():
                return self._exit_code
            if self._stop_signal is None:
                if self._reload.begin_if_touched():
                    self._begin_reload(0)
                self._reload.go_on()
            self._former.go_on(time.monotonic())
            self._manager.go_on(time.monotonic())
            for key, _ in self._selector.select(self._wait()):
                key.data()
            self._harakiri.kill_overdue(self._children)

    def _wait(self) -> float:
        """Seconds until something is due, one at most."""
        now = time.monotonic()
        due = [child.due for child in self._children if child.state is State.WAITING and child.due > now]
        return max(0.0, min([*due, self._deadline, now + 1.0]) - now)

    def _start_due(self, now: float) -> None:
        if self._stop_signal is not None:
            return
        for child in self._children:
            if child.role.name == SUBSCRIPTION_SERVER and self._is_the_table_kept():
                continue
            if child.state is State.WAITING and child.due <= now and self._may_start(child.role):
                again = child.born > 0
                try:
                    child.forked(self._fork(child), now)
                except OSError as error:
                    log.error("cannot fork %s: %s; trying again", child.name, error.strerror)
                    child.due = now + 1.0
                    continue
                log.info("%s %s (pid: %d)", "respawned" if again else "spawned", child.name, child.pid)

    def _fork(self, child: Child) -> int:
        parent = os.getpid()
        # A signal must not reach the child while it still has the master's handlers and pipe.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
        finally:
            if os.getpid() == parent:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if pid:
            return pid
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        # A terminal's SIGINT is for the master alone, which stops the children in order.
        os.setpgid(0, 0)
        self._selector.close()
        os.close(self._signal_reader)
        os.close(self._signal_writer)
        return self._be_child(self._context, child.role, child.index, child.name, parent)

    def _is_the_table_kept(self) -> bool:
        """Whether nothing may change in the table: former router workers, which do not hear of it, accept."""
        if self._reload.is_due:
            return True
        waited = time.monotonic() - self._born
        return self._former.are_serving and not self._waits_for_table and waited < _MOST_STANDSTILL

    def _may_start(self, role: Role) -> bool:
        return all(child.was_ready for child in self._children if child.role.name == role.after)

    def _take_ready(self) -> None:
        assert self._context.ready is not None
        data = os.read(self._context.ready.reader, 4096)
        ready = {pid for (pid,) in PID.iter_unpack(data)}
        for child in self._children:
            if child.pid in ready:
                child.ready()
        if self._former.are_serving and all(
            child.was_ready or (child.role.name == SUBSCRIPTION_SERVER and not self._waits_for_table)
            for child in self._children
        ):
            # Requests are sent to the former application until the table names the new one.
            self._former.replace(time.monotonic() + self._context.options.master.mercy, but="app worker")
        if not self._all_ready and all(child.was_ready for child in self._children):
            self._all_ready = True
            self._former.replace(time.monotonic() + self._context.options.master.mercy)
            log.info("ready")
            self._on_ready()
            self._manager.is_ready(f"{len(self._children)} processes")

    def _take_signals(self) -> None:
        for number in os.read(self._signal_reader, 64):
            match signal.Signals(number):
                case signal.SIGCHLD:
                    self._reap()
                case signal.SIGTERM:
                    self._stop(signal.SIGTERM)
                case signal.SIGINT | signal.SIGQUIT:
                    self._stop(signal.SIGINT)
                case signal.SIGUSR1:
                    log_figures(self._children, self._context)
                case signal.SIGHUP:
                    self._begin_reload(0)
                case signal.SIGTTIN:
                    self._begin_reload(self._wanted + 1)
                case signal.SIGTTOU:
                    self._begin_reload(max(self._wanted - 1, 1))

    def _begin_reload(self, processes: int) -> None:
        """With so many router workers; 0 for as many as are configured."""
        if self._stop_signal is None:
            self._processes = processes
            self._wanted = processes or self._context.options.router.processes
            self._reload.begin()

    def _are_signals_waiting(self) -> bool:
        return bool(select.select([self._signal_reader], [], [], 0)[0])

    def _with_children(self) -> Heritage:
        """What the next program gets."""
        heritage = self._heritage()
        heritage.processes = self._processes
        heritage.children = {str(child.pid): child.role.name for child in self._children if child.is_alive}
        heritage.children |= self._former.roles
        return heritage

    def _reap(self) -> None:
        """Take every dead child. Unknown ones are orphans, inherited as PID 1; they need no words."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            if self._former.take_end(pid) or self._reload.take_end(pid, code):
                continue
            for child in self._children:
                if child.pid == pid:
                    self._buried(child, code)

    def _buried(self, child: Child, code: int) -> None:
        pid, expected = child.pid, child.state is State.STOPPING or code == 0
        delay = child.died(time.monotonic(), code)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if expected:
            log.info("%s is gone (pid: %d)", child.name, pid)
        elif (
            code == BOOT_FAILURE
            and not self._former.roles
            and not any(other.was_ready for other in self._children if other.role is child.role)
        ):
            log.error(
                "%s cannot start (pid: %d); there is no point in trying again, stopping", child.name, pid
            )
            self._exit_code = BOOT_FAILURE
            if self._stop_signal is None:
                self._stop(signal.SIGINT)
        elif delay > 1:
            log.error("%s died of %s (pid: %d), %d times in a row; next try in %.0f s",
                      child.name, how, pid, child.deaths, delay)  # fmt: skip
        else:
            log.error("%s died of %s (pid: %d)", child.name, how, pid)

    def _stop(self, how: signal.Signals) -> None:
        """Begin to stop, or stop faster: gracefully, at once, with force."""
        if self._stop_signal is not None:
            how = signal.SIGINT if self._stop_signal is signal.SIGTERM else signal.SIGKILL
        words = {signal.SIGTERM: "gracefully", signal.SIGINT: "at once", signal.SIGKILL: "with force"}
        log.info("stopping %s...", words[how])
        self._manager.is_stopping()
        self._former.stop(how)
        self._reload.stop()
        self._stop_signal = how
        mercy = self._context.options.master.mercy if how is signal.SIGTERM else _AT_ONCE
        self._deadline = time.monotonic() + mercy
        if self._rank >= 0:
            self._signal_rank()

    def _go_on_stopping(self) -> bool:
        """See to it that the next rank is told to end when the one before is gone. False when all are."""
        if time.monotonic() >= self._deadline and self._stop_signal is not signal.SIGKILL:
            log.warning("some children did not end in time")
            self._former.stop(signal.SIGKILL)
            self._stop_signal = signal.SIGKILL
            self._deadline = float("inf")
            self._signal_rank()
        while not any(child.is_alive for child in self._children if child.role.stop_rank <= self._rank):
            if not any(child.is_alive for child in self._children):
                return bool(self._former.roles)
            self._rank += 1
            self._signal_rank()
            if self._rank == ROUTERS:
                self._refuse_at = time.monotonic() + _BACKLOG_TIME
        if time.monotonic() >= self._refuse_at:
            self._refuse_at = float("inf")
            self._refuse_connections()
        return True

    def _refuse_connections(self) -> None:
        """No router worker will accept again: who connects now shall know, and go elsewhere."""
        used_by_app = {listener.name for listener in self._context.app_listeners}
        for listener in self._context.router_listeners:
            if not listener.inherited and listener.name not in used_by_app:
                try:
                    listener.socket.shutdown(socket.SHUT_RD)
                except OSError as error:
                    log.debug("%s: %s", listener.name, error)

    def _signal_rank(self) -> None:
        assert self._stop_signal is not None
        for child in self._children:
            if child.is_alive and child.role.stop_rank <= self._rank:
                child.state = State.STOPPING
                os.kill(child.pid, self._stop_signal)
