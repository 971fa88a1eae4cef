"""What the program hands to itself when it is loaded anew: sockets, memory, children.

A reload replaces the program in its process (execve), so that its children stay its children, and whoever
supervises it sees nothing but the same process. What it hands over are descriptors, which stay open, and one
environment variable that says what each of them is.
"""

import json
import os
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass, field

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
    first_slot: int = 0
    """The first one of announced nodes."""
    caches: dict[str, int] = field(default_factory=dict)
    """Descriptors of the caches' memory, by name."""
    kept: list[int] = field(default_factory=list)
    """Pipes that the former children still write to."""
    children: dict[str, str] = field(default_factory=dict)
    """The roles of the former children, by pid."""

    @property
    def is_there(self) -> bool:
        """Whether there was a program before this one."""
        return self.state >= 0

    @property
    def descriptors(self) -> list[int]:
        sockets = [fd for fds in self.sockets.values() for fd in fds]
        return [*sockets, *([self.state] if self.is_there else []), *self.caches.values(), *self.kept]

    def hand_over(self, environment: MutableMapping[str, str]) -> None:
        """Say what the descriptors are to a program that is started with this environment."""
        environment[_VARIABLE] = json.dumps(asdict(self))

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
