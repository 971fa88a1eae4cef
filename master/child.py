"""A child process as the master sees it: what it is to do, and how it has been doing."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from workers.context import Gateway

__all__ = ["Child", "Kind", "Role", "State"]

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


class Kind(Enum):
    """Kinds of children. The values are their names in logs and titles."""

    SCRIPT = "script"
    SUBSCRIPTION_SERVER = "subscription server"
    """Reads the datagram sockets of a gateway: two at a time would each have half of the truth."""
    GATEWAY = "worker"
    """Routes."""
    STATS_SERVER = "stats server"
    APP = "app worker"
    """Serves the local application."""
    ZERG_SERVER = "zerg server"
    ANNOUNCER = "announcer"


@dataclass(frozen=True, slots=True)
class Role:
    """What some children do: a kind of child, of a gateway or of the program."""

    kind: Kind
    count: int
    run: Callable[[int, Callable[[], None]], int]
    """What the child does, with its index and a function that says it is ready; returns its exit code."""
    stop_rank: int
    """Lower ranks are stopped, and gone, before higher ones are."""
    gateway: Gateway | None = None
    after: tuple[Kind, ...] = ()
    """The kinds of children, of the gateway or of none, that have to be ready before these are forked."""

    @property
    def name(self) -> str:
        """In logs and titles."""
        return f"{self.gateway.prefix} {self.kind.value}" if self.gateway else self.kind.value

    @property
    def is_numbered(self) -> bool:
        """Whether there may be several."""
        return self.kind in (Kind.GATEWAY, Kind.APP)

    @property
    def runs_user_code(self) -> bool:
        """Whether it does, and nothing of ours that needs a table. It gets no more than it has to have."""
        return self.kind in (Kind.SCRIPT, Kind.APP)

    @property
    def privileged_as(self) -> tuple[str, str]:
        """User and group of its own; empty where it has none."""
        if self.kind is Kind.GATEWAY and self.gateway is not None:
            return self.gateway.options.uid, self.gateway.options.gid
        return "", ""

    def waits_for(self, other: "Role") -> bool:
        """Whether the other's children have to be ready before these are forked."""
        return other.kind in self.after and other.gateway in (None, self.gateway)


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
        return f"{self.role.name} {self.index + 1}" if self.role.is_numbered else self.role.name

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
