"""Loading the program anew (SIGHUP), with its configuration, its code and its application.

First a dry run: another process reads the configuration, binds what is new and loads the application.
Only when that has gone well does the program replace itself; otherwise nothing has happened but a line in
the log. The subscription servers end before that, and what is announced meanwhile waits in their sockets; all
other children serve on until their successors are ready.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from fastrouter.memory.memfd import to_be_sealed
from master.child import Kind, State
from master.children import HANDLED, Children
from master.reloading.dry_run import PASSED
from master.reloading.former_program import run_again, who_is_who
from master.reloading.handover import Handover, HandoverError
from master.system.capabilities import kept_over_exec
from master.system.systemd import Systemd
from workers.context import Context

__all__ = ["Reload"]

log = logging.getLogger("fastrouter")

_MOST_SAID = 65536
_MOST_SECONDS = 60.0
"""For a dry run."""
_TO_END = 5.0
"""Seconds for the subscription server to end."""


class Reload:
    """At most one reload at a time."""

    def __init__(
        self,
        context: Context,
        children: Children,
        handover: Callable[[], Handover],
        are_signals_waiting: Callable[[], bool],
        manager: Systemd,
        fallback: dict[str, int],
    ) -> None:
        """are_signals_waiting says whether some were sent and not taken yet; fallback is the handover's."""
        self._context = context
        self._children = children
        self._handover = handover
        self._are_signals_waiting = are_signals_waiting
        self._tell = manager
        self._fallback = fallback
        self.is_going_back = False
        """The program before the last reload is to run again, in place of this one."""
        self._dry_run: subprocess.Popen[bytes] | None = None
        self._said = -1
        """A file for what the dry run writes."""
        self._options = -1
        """A file for the options that it has found good."""
        self._is_asked_again = False
        self._deadline = float("inf")
        self.is_due = False
        """The dry run has gone well, and the subscription server is to end, and not to come back."""

    def begin(self) -> None:
        """Try it in a dry run; once more when that is done, if a dry run is under way."""
        self.let_go_of_fallback()
        if self._dry_run is not None or self.is_due:
            self._is_asked_again = True
            return
        log.info("reloading...")
        self._tell.is_reloading()
        self._is_asked_again = False
        self._said, self._options = os.memfd_create("dry run"), to_be_sealed("options")
        handover = self._handover()
        handover.dry_run, handover.options, handover.is_sealed = True, self._options, True
        self._deadline = time.monotonic() + _MOST_SECONDS
        try:
            # What it says goes to the log through us: it would write over the beginning of a file.
            with kept_over_exec(self._capabilities()):
                self._dry_run = subprocess.Popen(
                    self._command(),
                    env=handover.hand_over(self._context.environment),
                    cwd=self._context.started_in,
                    pass_fds=handover.descriptors,
                    stdin=subprocess.DEVNULL,
                    stdout=self._said,
                    stderr=self._said,
                )
        except OSError as error:
            self._give_up(str(error))

    def stop(self) -> None:
        """The program ends instead."""
        self._is_asked_again = False
        if self._dry_run is not None:
            self._dry_run.kill()

    def take_end(self, pid: int, code: int) -> bool:
        """A child that is none of the others has ended. False when it is not the dry run."""
        if self._dry_run is None or pid != self._dry_run.pid:
            return False
        self._dry_run.returncode = code
        self._dry_run = None
        said = os.pread(self._said, _MOST_SAID, 0).decode("utf-8", "replace")
        if self._is_asked_again:
            self._close_files()
            self.begin()
        elif problem := self._problem(code):
            for line in said.splitlines():
                log.error("%s", line)
            self._give_up(problem)
        else:
            os.close(self._said)
            self._end_servers()
        return True

    def _problem(self, code: int) -> str:
        """What was wrong with a dry run that ended with that code; empty when nothing was."""
        if code == PASSED:
            try:
                Handover(options=self._options, is_sealed=True).read_options()
            except HandoverError as error:
                return str(error)
            return ""
        return "see above" if code else "the application ended the dry run, with exit code 0"

    def go_back(self) -> bool:
        """Have the program from before the reload run again. False when there is none."""
        if not self._fallback or self.is_going_back:
            return self.is_going_back
        log.error("the program cannot start its processes; going back to the one from before the reload")
        self.is_going_back = True
        self._end_servers()
        return True

    def let_go_of_fallback(self) -> None:
        """This program goes on, whatever happens."""
        for fd in self._fallback.values():
            os.close(fd)
        self._fallback.clear()

    def _end_servers(self) -> None:
        """The subscription servers are to end, and not to come back: the next program has its own."""
        self._deadline = time.monotonic() + _TO_END
        self.is_due = True
        self._signal_servers(signal.SIGTERM)

    def go_on(self) -> None:
        """Become the next program when all is ready for it. Does not return then."""
        if time.monotonic() > self._deadline:
            self._deadline = float("inf")
            if self._dry_run is not None:
                log.error("the reload takes too long")
                self._dry_run.kill()
            else:
                log.warning("a subscription server did not end in %.0f seconds", _TO_END)
                self._signal_servers(signal.SIGKILL)
        if self.is_due and not any(child.is_alive for child in self._children.of(Kind.SUBSCRIPTION_SERVER)):
            self._become_the_next()

    def _signal_servers(self, number: signal.Signals) -> None:
        for child in self._children.of(Kind.SUBSCRIPTION_SERVER):
            if child.is_alive:
                child.told_to_end(number)

    def _become_the_next(self) -> None:
        handover = self._handover()
        handover.options, handover.is_sealed = self._options, True
        handover.is_asked_again = self._is_asked_again
        # A signal that comes from here on is the next program's, which begins by handling it.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            if self._are_signals_waiting():
                return  # what came before is for us, and may be the order to end
            os.chdir(self._context.started_in)
            with kept_over_exec(self._capabilities()):
                if self.is_going_back:
                    handover.fallback = self._fallback
                    run_again(handover, who_is_who(handover), self._context.environment)
                handover.keep_open()
                os.execve(sys.executable, self._command(), handover.hand_over(self._context.environment))
        except OSError as error:
            self.is_due = self.is_going_back = False
            self.let_go_of_fallback()
            if self._options >= 0:
                os.close(self._options)
            self._tell.is_ready("the last reload has failed; going on as before")
            log.error("cannot reload: %s; going on as before", error)
            for child in self._children:
                if child.state is State.ENDED:
                    child.state = State.WAITING
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def _capabilities(self) -> Sequence[str]:
        """Those that are to be kept; root, which has them all, needs not see to that."""
        return self._context.options.master.cap if os.getuid() else ()

    def _give_up(self, why: str) -> None:
        self._close_files()
        self._deadline = float("inf")
        log.error("cannot reload with this configuration; going on as before (%s)", why)
        self._tell.is_ready("the last reload has failed; going on as before")

    def _close_files(self) -> None:
        os.close(self._said)
        os.close(self._options)

    def _command(self) -> list[str]:
        return [sys.executable, *self._context.command]
