"""The supervisor: what happens to the children, on signals, on commands, at their deaths, until the end.

Signal handlers do nothing but wake the loop; everything happens in it, one thing after the other.
"""

import logging
import os
import select
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial

from fastrouter.memory.shared import read_whole
from fastrouter.options.hook import parse_touch_hook
from master.child import Child, Kind
from master.children import HANDLED, BeChild, Children
from master.control.hooks import HookError, run_touch_hook
from master.control.touch import Touched
from master.harakiri import Harakiri
from master.reloading.handover import Handover
from master.reloading.predecessors import Predecessors
from master.reloading.reload import Reload
from master.roles import GATEWAY_RANK, roles
from master.statistics_log import log_statistics
from master.surroundings import Surroundings
from master.system.systemd import Systemd
from workers.context import Context
from workers.process import BOOT_FAILURE

__all__ = ["PID", "Supervisor"]

log = logging.getLogger("fastrouter")

PID = struct.Struct("<q")
"""What a child writes into the ready pipe."""

_BACKLOG_TIME = 1.0
"""Seconds that router workers have to take what waits in the backlogs when they are stopped."""

_MOST_STANDSTILL = 30.0
"""Seconds after a reload in which nothing is announced, while the new router workers do not come up."""

_HEARSAY = 2.0
"""Seconds in which an announcement reaches every router worker, however busy the machine is."""

_MOST_DEATHS = 3
"""Of a child that was never ready: so often in a row says that the program after a reload is no good."""

_AT_ONCE = 5.0
"""Seconds that children have to end when they are told to end at once."""


class Supervisor:
    """Keeps the children of all roles until it is told to stop."""

    def __init__(
        self,
        context: Context,
        be_child: BeChild,
        former: Predecessors,
        surroundings: Surroundings,
    ) -> None:
        """former are the children of the program before a reload."""
        found = roles(context)
        self._context = context
        self._predecessors = former
        self._on_ready = surroundings.on_ready
        self._handover = surroundings.handover
        self._private = surroundings.private
        self._fifo = surroundings.fifo
        self._log_handler = surroundings.log
        self._write_pidfile = surroundings.write_pidfile
        self._children = Children(context, found, be_child, self._leave)
        self._harakiri = Harakiri(context)
        self._systemd = Systemd(os.environ)
        self._reload = Reload(
            context,
            self._children,
            self._with_children,
            self._are_signals_waiting,
            self._systemd,
            surroundings.fallback,
        )
        self._touched = self._watched_files()
        self._commands = self._known_commands()
        self._waits_for_table = any(Kind.SUBSCRIPTION_SERVER in role.after for role in found)
        self._begin()

    def _begin(self) -> None:
        self._refuse_at = float("inf")
        self._all_ready = False
        self._retire_at = float("inf")
        """When the last of the former children are told to end."""
        self._exit_code = 0
        self._stop_signal: signal.Signals | None = None
        self._rank = -1
        """Of the roles that are being stopped."""
        self._deadline = float("inf")
        self._born = time.monotonic()
        self._more = self._context.more_workers
        """Workers of each gateway beside those that are configured; less than none for fewer."""
        self._is_brutal = False
        """The reload that is under way gives no mercy."""
        self._selector = selectors.DefaultSelector()
        self._signal_reader, self._signal_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # From here on no signal ends the program but through run().
        signal.set_wakeup_fd(self._signal_writer, warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, lambda number, frame: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)  # a reload leaves them blocked

    def _watched_files(self) -> Touched:
        master, logs = self._context.options.master, self._context.options.log
        hooks = [parse_touch_hook(text) for text in self._context.options.hooks.hook_touch]
        return Touched(
            {
                **{partial(run_touch_hook, hook): [file] for file, hook in hooks},
                self._begin_reload: master.touch_reload,
                self._reload_app: master.touch_workers_reload,
                self._chain_reload_app: master.touch_chain_reload,
                self._log_handler.reopen: logs.touch_reopen,
                self._log_handler.rotate: logs.touch_rotate,
            }
        )

    def _known_commands(self) -> dict[str, Callable[[], None]]:
        """Of the FIFO: what uWSGI's do, as far as there is such a thing here."""
        slots = {str(slot): lambda slot=slot: self._activate_fifo(slot) for slot in range(10)}
        return slots | {
            "+": self._more_workers,
            "-": self._less_workers,
            "c": self._chain_reload_app,
            "l": self._log_handler.reopen,
            "L": self._log_handler.rotate,
            "p": self._pause_or_resume,
            "P": self._write_pidfile,
            "q": self._stop,
            "Q": self._stop_at_once,
            "r": self._begin_reload,
            "R": lambda: self._begin_reload(is_brutal=True),
            "s": self._log_statistics,
            "S": self._silence_or_not,
            "w": self._reload_app,
            "W": lambda: self._children.replace(Kind.APP, signal.SIGINT),
        }

    def run(self) -> int:
        """Supervise until stopped. Returns the exit code of the program."""
        self._selector.register(self._signal_reader, selectors.EVENT_READ, self._take_signals)
        assert self._context.ready is not None
        self._selector.register(self._context.ready.reader, selectors.EVENT_READ, self._take_ready)
        if self._fifo.fd >= 0:
            self._selector.register(self._fifo.fd, selectors.EVENT_READ, self._take_commands)
        self._reap()  # what died before anybody listened
        while True:
            now = time.monotonic()
            if self._stop_signal is None:
                if not self._reload.is_going_back:
                    kept = self._is_the_table_kept()
                    self._children.start_due(now, Kind.SUBSCRIPTION_SERVER if kept else None)
                self._touched.look()
                self._children.go_on()
                self._reload.go_on()
            elif not self._go_on_stopping():
                return self._exit_code
            if now >= self._retire_at:
                self._retire_at = float("inf")
                self._predecessors.replace(now)
            self._predecessors.go_on(now)
            self._systemd.go_on(now)
            self._log_handler.rotate_if_large()
            for key, _ in self._selector.select(self._wait()):
                key.data()
            self._harakiri.kill_overdue(self._children)

    def kill_children(self) -> None:
        """Something has failed here: nobody would look after them."""
        self._children.signal(signal.SIGKILL, sys.maxsize)

    def _wait(self) -> float:
        """Seconds until something is due, one at most."""
        now = time.monotonic()
        due = min(self._children.next_due(now), self._deadline, self._retire_at)
        return max(0.0, min(due, now + 1.0) - now)

    def _leave(self) -> None:
        """In a fresh child: let go of what is the master's."""
        self._selector.close()
        os.close(self._signal_reader)
        os.close(self._signal_writer)
        for fd in (*self._fifo.descriptors.values(), *self._private()):
            os.close(fd)

    def _is_the_table_kept(self) -> bool:
        """Whether nothing may change in the table: former router workers, which do not hear of it, accept."""
        if self._reload.is_due:
            return True
        waited = time.monotonic() - self._born
        return self._predecessors.are_serving and not self._waits_for_table and waited < _MOST_STANDSTILL

    def _take_ready(self) -> None:
        assert self._context.ready is not None
        data = read_whole(self._context.ready.reader, PID.size)
        self._children.are_ready({pid for (pid,) in PID.iter_unpack(data)})
        now = time.monotonic()
        if self._predecessors.are_serving and all(
            child.was_ready or (child.role.kind is Kind.SUBSCRIPTION_SERVER and not self._waits_for_table)
            for child in self._children
        ):
            # Requests are sent to the former application until the table names the new one.
            self._predecessors.replace(now, but=Kind.APP.value)
        if not self._all_ready and self._children.are_all_ready:
            self._all_ready = True
            self._reload.let_go_of_fallback()
            # Whoever sends requests to the former application has to hear of the new one first.
            self._retire_at = now + (_HEARSAY if self._context.options.announcer.is_wanted else 0.0)
            try:
                self._on_ready()
            except HookError as error:
                log.error("%s", error)
                self._exit_code = 1
                self._stop_at_once()
                return
            log.info("ready")
            self._systemd.is_ready(f"{len(self._children)} processes")

    def _take_signals(self) -> None:
        actions = {
            signal.SIGCHLD: self._reap,
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop_at_once,
            signal.SIGQUIT: self._stop_at_once,
            signal.SIGUSR1: self._log_statistics,
            signal.SIGHUP: self._begin_reload,
            signal.SIGTTIN: self._more_workers,
            signal.SIGTTOU: self._less_workers,
            signal.SIGTSTP: self._pause_or_resume,
        }
        for number in os.read(self._signal_reader, 64):
            actions[signal.Signals(number)]()

    def _take_commands(self) -> None:
        for command in self._fifo.read():
            if command in self._commands:
                self._commands[command]()
            elif command.isalnum():
                log.warning("master fifo: there is no command %s here", command)

    def _activate_fifo(self, slot: int) -> None:
        self._selector.unregister(self._fifo.fd)
        self._fifo.activate(slot)
        self._selector.register(self._fifo.fd, selectors.EVENT_READ, self._take_commands)

    def _log_statistics(self) -> None:
        log_statistics(self._children, self._context)

    def _more_workers(self) -> None:
        self._begin_reload(self._more + 1)

    def _less_workers(self) -> None:
        self._begin_reload(self._more - 1)

    def _reload_app(self) -> None:
        self._children.replace(Kind.APP, signal.SIGTERM)

    def _chain_reload_app(self) -> None:
        self._children.replace_in_turn(Kind.APP)

    def _pause_or_resume(self) -> None:
        program = self._context.program
        program.is_paused = not program.is_paused
        log.info("paused" if program.is_paused else "resumed")

    def _silence_or_not(self) -> None:
        program = self._context.program
        program.is_silent = not program.is_silent
        log.info("subscriptions %s", "blocked" if program.is_silent else "re-enabled")

    def _begin_reload(self, more_workers: int = 0, is_brutal: bool = False) -> None:
        """With so many workers of each gateway more than are configured."""
        if self._stop_signal is None:
            most = max((gateway.options.processes for gateway in self._context.gateways), default=1)
            self._more = max(more_workers, 1 - most)
            self._is_brutal = is_brutal
            self._reload.begin()

    def _are_signals_waiting(self) -> bool:
        return bool(select.select([self._signal_reader], [], [], 0)[0])

    def _with_children(self) -> Handover:
        """What the next program gets."""
        self._predecessors.catch_up()
        handover = self._handover()
        handover.more_workers = self._more
        handover.is_brutal = self._is_brutal
        handover.children = {str(child.pid): child.role.name for child in self._children if child.is_alive}
        handover.children |= self._predecessors.roles
        return handover

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
            if self._predecessors.take_end(pid) or self._reload.take_end(pid, code):
                continue
            for child in self._children:
                if child.pid == pid:
                    self._buried(child, code)

    def _buried(self, child: Child, code: int) -> None:
        pid = child.pid
        if self._children.buried(child, code, time.monotonic(), may_give_up=not self._predecessors.roles):
            if not self._all_ready and not child.was_ready and child.deaths >= _MOST_DEATHS:
                self._reload.go_back()
            return
        log.error("%s cannot start (pid: %d); there is no point in trying again, stopping", child.name, pid)
        self._exit_code = BOOT_FAILURE
        if self._stop_signal is None:
            self._stop_at_once()

    def _stop(self) -> None:
        self._begin_to_stop(signal.SIGTERM)

    def _stop_at_once(self) -> None:
        self._begin_to_stop(signal.SIGINT)

    def _begin_to_stop(self, how: signal.Signals) -> None:
        """Begin to stop, or stop faster: gracefully, at once, with force."""
        if self._stop_signal is not None:
            how = signal.SIGINT if self._stop_signal is signal.SIGTERM else signal.SIGKILL
        words = {signal.SIGTERM: "gracefully", signal.SIGINT: "at once", signal.SIGKILL: "with force"}
        log.info("stopping %s...", words[how])
        self._systemd.is_stopping()
        self._predecessors.stop(how)
        self._reload.stop()
        self._stop_signal = how
        mercy = self._context.options.master.mercy if how is signal.SIGTERM else _AT_ONCE
        self._deadline = time.monotonic() + mercy
        if self._rank >= 0:
            self._children.signal(how, self._rank)

    def _go_on_stopping(self) -> bool:
        """See to it that the next rank is told to end when the one before is gone. False when all are."""
        assert self._stop_signal is not None
        if time.monotonic() >= self._deadline and self._stop_signal is not signal.SIGKILL:
            log.warning("some children did not end in time")
            self._predecessors.stop(signal.SIGKILL)
            self._stop_signal = signal.SIGKILL
            self._deadline = float("inf")
            self._children.signal(self._stop_signal, self._rank)
        while not self._children.is_alive(self._rank):
            if not any(child.is_alive for child in self._children):
                return bool(self._predecessors.roles)
            self._rank += 1
            self._children.signal(self._stop_signal, self._rank)
            if self._rank == GATEWAY_RANK:
                self._refuse_at = time.monotonic() + _BACKLOG_TIME
        if time.monotonic() >= self._refuse_at:
            self._refuse_at = float("inf")
            self._refuse_connections()
        return True

    def _refuse_connections(self) -> None:
        """No gateway will accept again: who connects now shall know, and go elsewhere."""
        used_by_app = {listener.name for listener in self._context.app_listeners}
        listeners = [one for gateway in self._context.gateways for one in gateway.listeners]
        for listener in listeners:
            if not listener.inherited and listener.name not in used_by_app:
                try:
                    listener.socket.shutdown(socket.SHUT_RD)
                except OSError as error:
                    log.debug("%s: %s", listener.name, error)
