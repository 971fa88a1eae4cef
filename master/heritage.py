"""What the program hands to itself when it is loaded anew: sockets, memory, children.

A reload replaces the program in its process (execve), so that its children stay its children, and whoever
supervises it sees nothing but the same process. What it hands over are descriptors, which stay open, and one
environment variable that says what each of them is.
"""

import json
import os
import pickle
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass, field

from fastrouter.options import Options

__all__ = ["Heritage"]

_VARIABLE = "FASTROUTER_HERITAGE"


@dataclass(slots=True)
class Heritage:
    """Everything that outlives a reload."""

    rehearsal: bool = False
    """It is not handed over for good: the next program is to see whether it could start, and to end."""
    format: int = 0
    """Of the memory (shared.FORMAT)."""
    processes: int = 0
    """Router workers that there are to be, whatever is configured; 0 for as many as that says."""
    name: str = ""
    """Context.name"""
    sockets: dict[str, list[int]] = field(default_factory=dict)
    """Descriptors of bound sockets, by kind and configured address."""
    state: int = -1
    """Of the memory that all processes share; the next three are its layout."""
    slots: int = 0
    workers: int = 0
    apps: int = 0
    configured: list[str] = field(default_factory=list)
    """The addresses of configured nodes."""
    announced: dict[str, list[str]] = field(default_factory=dict)
    """What the application was announced by: subscriptions, and the addresses that they refer to."""
    umask: int = -1
    """That the program was started with."""
    caches: dict[str, int] = field(default_factory=dict)
    """Descriptors of the caches' memory, by name."""
    options: int = -1
    """Of a file for the options."""
    fifos: dict[str, int] = field(default_factory=dict)
    """Descriptors of the master's pipes, by path."""
    active_fifo: str = ""
    """The path of that which is read."""
    is_brutal: bool = False
    """The former children are to get no mercy."""
    log: int = -1
    """That log lines are written to."""
    access_log: int = -1
    """That requests are logged to."""
    given: list[int] = field(default_factory=list)
    """Those of the sockets that somebody else has bound."""
    is_asked_again: bool = False
    """Another reload is wanted."""
    children: dict[str, str] = field(default_factory=dict)
    """The roles of the former children, by pid."""

    @property
    def is_there(self) -> bool:
        """Whether there was a program before this one."""
        return self.state >= 0

    @property
    def descriptors(self) -> list[int]:
        sockets = [fd for fds in self.sockets.values() for fd in fds]
        single = [fd for fd in (self.state, self.options, self.log, self.access_log) if fd >= 0]
        return [*sockets, *single, *self.caches.values(), *self.fifos.values()]

    def hand_over(self, environment: Mapping[str, str]) -> dict[str, str]:
        """An environment that says what the descriptors are to a program that is started with it."""
        return {**environment, _VARIABLE: json.dumps(asdict(self))}

    def write_options(self, options: Options) -> None:
        """What was rehearsed is what is to run, whatever is written in the files by then."""
        with open(self.options, "wb", closefd=False) as file:
            pickle.dump(options, file)

    def read_options(self) -> Options:
        with open(self.options, "rb") as file:
            file.seek(0)
            options = pickle.load(file)
        assert isinstance(options, Options)
        return options

    def keep_open(self) -> None:
        """Have the descriptors outlive an execve."""
        for fd in self.descriptors:
            os.set_inheritable(fd, True)

    @classmethod
    def take_over(cls, environment: MutableMapping[str, str]) -> "Heritage | None":
        """What this program was handed, if anything. Nobody after it is to be told."""
        text = environment.pop(_VARIABLE, "")
        if not text:
            return None
        heritage = cls(**json.loads(text))
        for fd in heritage.descriptors:
            os.set_inheritable(fd, False)
        return heritage
