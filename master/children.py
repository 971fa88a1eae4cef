"""The children: forked, reaped, and forked again in their places."""

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from master.child import Child, Kind, Role, State
from workers.context import Context
from workers.process import BOOT_FAILURE

__all__ = ["HANDLED", "BeChild", "Children"]

log = logging.getLogger("fastrouter")

HANDLED = (
    signal.SIGCHLD,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGTSTP,
)
"""The signals that the master handles, and no child may get in its stead."""

BeChild = Callable[[Context, Child, int], NoReturn]
"""What a fresh child calls: with what it is, and the master's pid."""


class Children:
    """All of them, of all roles."""

    def __init__(
        self, context: Context, roles: Sequence[Role], be_child: BeChild, leave_master: Callable[[], None]
    ) -> None:
        """leave_master is what a fresh child calls first, to let go of what is the master's."""
        self._context = context
        self._children = [Child(role, index) for role in roles for index in range(role.count)]
        self._be_child = be_child
        self._leave_master = leave_master
        self._chain: list[Child] = []
        """To be replaced one after the other."""

    def __iter__(self) -> Iterator[Child]:
        return iter(self._children)

    def __len__(self) -> int:
        return len(self._children)

    def of(self, kind: Kind) -> list[Child]:
        return [child for child in self._children if child.role.kind is kind]

    @property
    def are_all_ready(self) -> bool:
        """Whether each was, once."""
        return all(child.was_ready for child in self._children)

    def start_due(self, now: float, but: Kind | None = None) -> None:
        """Fork who is due, other than those of one kind."""
        for child in self._children:
            if child.role.kind is but or child.state is not State.WAITING:
                continue
            if child.due <= now and self._may_start(child.role):
                again = child.born > 0
                try:
                    child.forked(self._fork(child), now)
                except OSError as error:
                    log.error("cannot fork %s: %s; trying again", child.name, error.strerror)
                    child.due = now + 1.0
                    continue
                log.info("%s %s (pid: %d)", "respawned" if again else "spawned", child.name, child.pid)

    def _may_start(self, role: Role) -> bool:
        return all(child.was_ready for child in self._children if role.waits_for(child.role))

    def next_due(self, now: float) -> float:
        """When the next fork is due."""
        due = [child.due for child in self._children if child.state is State.WAITING and child.due > now]
        return min(due, default=float("inf"))

    def are_ready(self, pids: set[int]) -> None:
        for child in self._children:
            if child.pid in pids:
                child.ready()

    def replace(self, kind: Kind, number: signal.Signals) -> None:
        """Have those of a kind end by a signal, and others take their places."""
        for child in self.of(kind):
            if child.is_alive:
                child.told_to_end(number, comes_back=True)

    def replace_in_turn(self, kind: Kind) -> None:
        """The same, one after the other, each when the one before is ready again."""
        self._chain = self.of(kind)
        self.go_on()

    def go_on(self) -> None:
        """To be called again and again."""
        if not self._chain:
            return
        if all(child.state is State.READY for child in self.of(self._chain[0].role.kind)):
            child = self._chain.pop(0)
            log.info("chain reload: %s is next", child.name)
            child.told_to_end(signal.SIGTERM, comes_back=True)

    def signal(self, number: signal.Signals, up_to_rank: int) -> None:
        """Tell everybody of these ranks to end for good."""
        self._chain = []
        for child in self._children:
            if child.is_alive and child.role.stop_rank <= up_to_rank:
                child.told_to_end(number)

    def is_alive(self, up_to_rank: int) -> bool:
        """Whether anybody of these ranks is."""
        return any(child.is_alive for child in self._children if child.role.stop_rank <= up_to_rank)

    def buried(self, child: Child, code: int, now: float, may_give_up: bool) -> bool:
        """Note that a child has ended. False when there is no point in forking it again."""
        pid, expected = child.pid, child.is_leaving or code == 0
        is_new = not any(other.was_ready for other in self._children if other.role is child.role)
        delay = child.died(now, code)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if expected:
            log.info("%s is gone (pid: %d)", child.name, pid)
        elif code == BOOT_FAILURE and is_new and may_give_up:
            return False
        elif delay > 1:
            log.error("%s died of %s (pid: %d), %d times in a row; next try in %.0f s",
                      child.name, how, pid, child.deaths, delay)  # fmt: skip
        else:
            log.error("%s died of %s (pid: %d)", child.name, how, pid)
        return True

    def _fork(self, child: Child) -> int:
        parent = os.getpid()
        # A signal must not reach the child while it still has the master's handlers and pipe.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            pid = os.fork()
        finally:
            if os.getpid() == parent:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        if pid:
            return pid
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        # A terminal's SIGINT is for the master alone, which stops the children in order.
        os.setpgid(0, 0)
        self._leave_master()
        return self._be_child(self._context, child, parent)
