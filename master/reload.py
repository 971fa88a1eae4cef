"""Loading the program anew (SIGHUP), with its configuration, its code and its application.

First a rehearsal: another process reads the configuration, binds what is new and loads the application.
Only when that has gone well does the program replace itself; otherwise nothing has happened but a line in
the log. The subscription server ends before that, and what is announced meanwhile waits in its sockets; all
other children serve on until their successors are ready.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from master.child import Child, State
from master.heritage import Heritage
from master.manager import Manager

__all__ = ["SUBSCRIPTION_SERVER", "Reload"]

log = logging.getLogger("fastrouter")

SUBSCRIPTION_SERVER = "subscription server"
"""The role whose child reads the datagram sockets: two at a time would each have half of the truth."""

_MOST_SAID = 65536
_MOST_SECONDS = 60.0
"""For a rehearsal, and for the subscription server to end."""


class Reload:
    """At most one reload at a time."""

    def __init__(
        self,
        children: Sequence[Child],
        heritage: Callable[[], Heritage],
        directory: str,
        signals: Sequence[int],
        files: Sequence[str],
        manager: Manager,
    ) -> None:
        """directory is where the program was started; signals are those that the next one handles, too.

        files are those that ask for a reload when they are touched.
        """
        self._tell = manager
        self._files = files
        self._times = _times(files)
        self._children = children
        self._heritage = heritage
        self._directory = directory
        self._signals = signals
        self._said = -1
        """A file for what the rehearsal writes."""
        self._rehearsal: subprocess.Popen[bytes] | None = None
        self._deadline = float("inf")
        self.is_due = False
        """The rehearsal has gone well, and the subscription server is to end, and not to come back."""

    def begin_if_touched(self) -> None:
        """Look at the files that are watched; one that comes or goes counts as touched, too."""
        times = _times(self._files)
        if times != self._times:
            self._times = times
            self.begin()

    def begin(self) -> None:
        """Have it rehearsed, unless one is under way."""
        if self._rehearsal is not None or self.is_due:
            log.info("a reload is under way already")
            return
        log.info("reloading...")
        self._tell.is_reloading()
        heritage = self._heritage()
        heritage.rehearsal = True
        environment = dict(os.environ)
        heritage.hand_over(environment)
        self._deadline = time.monotonic() + _MOST_SECONDS
        # What it says goes to the log through us: it would write over the beginning of a file.
        self._said = os.memfd_create("rehearsal")
        try:
            self._rehearsal = subprocess.Popen(
                _command(),
                env=environment,
                cwd=self._directory,
                pass_fds=heritage.descriptors,
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
            )
        except OSError as error:
            os.close(self._said)
            log.error("cannot reload: %s; going on as before", error)

    def take_end(self, pid: int, code: int) -> bool:
        """A child that is none of the others has ended. False when it is not the rehearsal."""
        if self._rehearsal is None or pid != self._rehearsal.pid:
            return False
        self._rehearsal.returncode = code
        self._rehearsal = None
        said = os.pread(self._said, _MOST_SAID, 0).decode("utf-8", "replace")
        os.close(self._said)
        if code:
            for line in said.splitlines():
                log.error("%s", line)
            log.error("cannot reload with this configuration; going on as before")
            self._tell.is_ready("the last reload has failed; going on as before")
            return True
        self.is_due = True
        for child in self._children:
            if child.role.name == SUBSCRIPTION_SERVER and child.is_alive:
                child.state = State.STOPPING
                os.kill(child.pid, signal.SIGTERM)
        return True

    def go_on(self) -> None:
        """Become the next program when all is ready for it. Does not return then."""
        if time.monotonic() > self._deadline and self._rehearsal is not None:
            log.error("the rehearsal of the reload takes too long")
            self._deadline = float("inf")
            self._rehearsal.kill()
        servers = [child for child in self._children if child.role.name == SUBSCRIPTION_SERVER]
        if self.is_due and not any(child.is_alive for child in servers):
            self._become_the_next()

    def _become_the_next(self) -> None:
        environment = dict(os.environ)
        heritage = self._heritage()
        heritage.hand_over(environment)
        heritage.keep_open()
        # A signal that comes now is the next program's, which begins by handling it.
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        try:
            os.chdir(self._directory)
            os.execve(sys.executable, _command(), environment)
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._signals)
            log.error("cannot reload: %s; going on as before", error)
            self.is_due = False
            for child in self._children:
                if child.state is State.ENDED:
                    child.state = State.WAITING


def _times(files: Sequence[str]) -> list[int]:
    """When each was changed last; 0 for those that are not there."""
    times = []
    for file in files:
        try:
            times.append(os.stat(file).st_mtime_ns)
        except OSError:
            times.append(0)
    return times


def _command() -> list[str]:
    return [sys.executable, *sys.orig_argv[1:]]
