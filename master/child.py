"""A child process as the master sees it: what it is to do, and how it has been doing."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from workers.context import Context

__all__ = ["Child", "Role", "State"]

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 10.0

_STEADY = 5.0
"""Seconds of life after which a death is no longer counted with the ones before."""


class State(Enum):
    WAITING = "waiting"
    """To be forked at Child.due."""
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    """Has been told to end."""
    LEAVING = "leaving"
    """Has been told to end, and will be replaced."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Role:
    """One kind of child."""

    name: str
    """In logs and titles."""
    count: int
    run: Callable[[Context, int, Callable[[], None]], int]
    """What the child does, with its index and a function that says it is ready; returns its exit code."""
    numbered: bool
    """There may be several, or will be some day: its name ends in a number."""
    stop_rank: int
    """Lower ranks are stopped, and gone, before higher ones are."""
    after: tuple[str, ...] = ()
    """Names of the roles whose children have to be ready before this one's are forked."""
    privileged_as: tuple[str, str] = ("", "")
    """User and group of its own."""
    runs_user_code: bool = False
    """And nothing of ours that needs the table: it gets no more than the application has to have."""


@dataclass(slots=True)
class Child:
    """One place in a role; a process that dies is replaced in its place."""

    role: Role
    index: int
    state: State = State.WAITING
    pid: int = 0
    born: float = 0.0
    due: float = 0.0
    deaths: int = 0
    """In a row, each soon after the fork."""
    was_ready: bool = False
    """Ever, in this place."""

    @property
    def name(self) -> str:
        return f"{self.role.name} {self.index + 1}" if self.role.numbered else self.role.name

    @property
    def is_alive(self) -> bool:
        return self.pid != 0

    @property
    def is_leaving(self) -> bool:
        """Whether it has been told to end."""
        return self.state in (State.STOPPING, State.LEAVING)

    def told_to_end(self, number: signal.Signals, comes_back: bool = False) -> None:
        """Tell it with a signal to end. It must be alive."""
        self.state = State.LEAVING if comes_back else State.STOPPING
        os.kill(self.pid, number)

    def forked(self, pid: int, now: float) -> None:
        self.pid, self.born, self.state = pid, now, State.STARTING

    def ready(self) -> None:
        if self.state is State.STARTING:
            self.state, self.was_ready = State.READY, True

    def died(self, now: float, code: int) -> float:
        """Note a death; returns the seconds to wait before the next fork. To end with code 0 is no crash."""
        before, self.pid = self.state, 0
        if before is State.STOPPING:
            self.state = State.ENDED
            return 0.0
        soon = now - self.born < _STEADY
        self.deaths = self.deaths + 1 if code and soon and before is not State.LEAVING else 0
        delay = min(_FIRST_DELAY * 2 ** (self.deaths - 1), _LONGEST_DELAY) if self.deaths else 0.0
        self.state, self.due = State.WAITING, now + delay
        return delay
