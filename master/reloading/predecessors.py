"""The children of the program before a reload, which serve until their successors are ready."""

import logging
import os
import signal
from collections.abc import Mapping, Sequence

from fastrouter.memory.takeover import Takeover
from master.child import Kind

__all__ = ["Predecessors"]

log = logging.getLogger("fastrouter")

_AT_ONCE = 5.0
"""Seconds to end for who gets no mercy."""


class Predecessors:
    """Knows them until the last one is gone."""

    def __init__(
        self,
        roles: Mapping[str, str],
        takeovers: Sequence[Takeover],
        mercy: float = 0.0,
        has_announcer: bool = False,
    ) -> None:
        """roles are theirs, by pid; takeovers take over their counts; mercy is their time, in seconds.

        has_announcer says that somebody else sees to the announcements.
        """
        self.roles = dict(roles)
        self._takeovers = list(takeovers)
        self._are_ending = False
        self._deadline = float("inf")
        self._mercy = mercy
        self._has_announcer = has_announcer

    @property
    def are_serving(self) -> bool:
        """Whether they have not been told to end."""
        return bool(self.roles) and not self._are_ending

    def replace(self, now: float, but: str = "") -> None:
        """Their successors are ready: they end what they have, if they get any mercy for that, and go.

        All but those of one role, if it is given.
        """
        self._deadline = now + (self._mercy or _AT_ONCE) if self.roles else float("inf")
        self._are_ending = True
        for pid, role in self.roles.items():
            if role == but:
                continue
            gently = signal.SIGTERM if self._mercy else signal.SIGINT
            # An announcer that is told to end takes its announcements back.
            _kill(pid, signal.SIGKILL if role == Kind.ANNOUNCER.value and self._has_announcer else gently)

    def stop(self, number: signal.Signals) -> None:
        for pid in self.roles:
            _kill(pid, number)

    def go_on(self, now: float) -> None:
        """To be called again and again."""
        for takeover in self._takeovers:
            takeover.count()
        if now >= self._deadline:
            self._deadline = float("inf")
            log.warning("%d processes from before the reload did not end in time", len(self.roles))
            self.stop(signal.SIGKILL)

    def catch_up(self) -> None:
        """Take over everything that they have counted, for who comes next."""
        for takeover in self._takeovers:
            takeover.count()
            takeover.take_over_times()

    def take_end(self, pid: int) -> bool:
        """A child has ended. False when it was none of these."""
        role = self.roles.pop(str(pid), None)
        if role is None:
            return False
        if not self.roles:
            self._deadline = float("inf")
        # Whoever reads that it is gone finds everything counted.
        for takeover in self._takeovers:
            if self.roles:
                takeover.count()
            else:
                takeover.end()
        if not self.roles:
            self._takeovers.clear()
        log.info("%s from before the reload is gone (pid: %d)", role, pid)
        return True


def _kill(pid: str, number: signal.Signals) -> None:
    try:
        os.kill(int(pid), number)
    except ProcessLookupError:
        pass  # it is dead, and about to be taken
