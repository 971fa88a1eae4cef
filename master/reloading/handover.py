"""What the program hands to itself when it is loaded anew: sockets, memory, children.

A reload replaces the program in its process (execve), so that its children stay its children, and whoever
supervises it sees nothing but the same process. What it hands over are descriptors, which stay open, and one
environment variable that says what each of them is.
"""

import json
import os
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fastrouter.memory.memfd import read_sealed, seal
from fastrouter.options import Options
from fastrouter.options.transfer import decode_options, encode_options

__all__ = ["GatewayHandover", "Handover", "HandoverError"]

_VARIABLE = "FASTROUTER_HERITAGE"

_DRY_RUN = "rehearsal"
"""What dry_run is called between programs: one of them may be of version 0.1.0."""


class HandoverError(Exception):
    """What was handed over cannot be used; the message says why."""


@dataclass(slots=True)
class GatewayHandover:
    """What one gateway leaves to its successor."""

    state: int = -1
    """Descriptor of its memory; the next four are the memory's format (shared.FORMAT) and layout."""
    format: int = 0
    slots: int = 0
    workers: int = 0
    apps: int = 0
    configured: list[str] = field(default_factory=list)
    """The addresses of configured nodes."""
    name: str = ""
    """Gateway.name"""
    access_log: int = -1
    """Descriptor that requests are logged to."""

    @property
    def descriptors(self) -> list[int]:
        return [fd for fd in (self.state, self.access_log) if fd >= 0]


_ONLY = "fastrouter"
"""The only gateway of programs of version 0.1.0. They have what it leaves beside all the rest."""


@dataclass(slots=True)
class Handover:
    """Everything that outlives a reload."""

    dry_run: bool = False
    """It is not handed over for good: the next program is to see whether it could start, and to end."""
    sockets: dict[str, list[int]] = field(default_factory=dict)
    """Descriptors of bound sockets, by kind and configured address."""
    gateways: dict[str, GatewayHandover] = field(default_factory=dict)
    """By prefix."""
    program: int = -1
    """Descriptor of ProgramCells."""
    more_workers: int = 0
    """Context.more_workers"""
    announced: dict[str, list[str]] = field(default_factory=dict)
    """What the application was announced by: subscriptions, and the addresses that they refer to."""
    umask: int = -1
    """That the program was started with."""
    caches: dict[str, int] = field(default_factory=dict)
    """Descriptors of the caches' memory, by name."""
    locks: int = -1
    """Descriptor of what writers of the caches lock."""
    options: int = -1
    """Of memory for the options: the dry run seals it before any code runs that is not ours."""
    is_sealed: bool = False
    """The options are good only if they are sealed. A program of version 0.1.0 could not ask for that."""
    command: list[str] = field(default_factory=list)
    """How the program was started; empty where sys.orig_argv says so."""
    fallback: dict[str, int] = field(default_factory=dict)
    """What the program before is run by again if this one fails: descriptors of its "code" and "options"."""
    fifos: dict[str, int] = field(default_factory=dict)
    """Descriptors of the master's pipes, by path."""
    active_fifo: str = ""
    """The path of that which is read."""
    is_brutal: bool = False
    """The former children are to get no mercy."""
    log: int = -1
    """That log lines are written to."""
    given: list[int] = field(default_factory=list)
    """Those of the sockets that somebody else has bound."""
    is_asked_again: bool = False
    """Another reload is wanted."""
    children: dict[str, str] = field(default_factory=dict)
    """The roles of the former children, by pid."""

    @property
    def is_there(self) -> bool:
        """Whether there was a program before this one."""
        return self.program >= 0 or bool(self.gateways)

    @property
    def descriptors(self) -> list[int]:
        sockets = [fd for fds in self.sockets.values() for fd in fds]
        single = [fd for fd in (self.program, self.options, self.log, self.locks) if fd >= 0]
        gateways = [fd for gateway in self.gateways.values() for fd in gateway.descriptors]
        several = (self.caches, self.fifos, self.fallback)
        return [*sockets, *single, *gateways, *(fd for fds in several for fd in fds.values())]

    def hand_over(self, environment: Mapping[str, str]) -> dict[str, str]:
        """An environment that says what the descriptors are to a program that is started with it."""
        values = asdict(self)
        values[_DRY_RUN] = values.pop("dry_run")
        values |= values["gateways"].get(_ONLY, {})
        return {**environment, _VARIABLE: json.dumps(values)}

    def write_options(self, options: Options) -> None:
        """What passed the dry run is what is to run, whatever is written in the files by then."""
        data = encode_options(options)
        if self.is_sealed:
            seal(self.options, data)
        else:
            os.pwrite(self.options, data, 0)

    def read_options(self) -> Options:
        """Raises HandoverError when they are not whole, or somebody else can have written them."""
        try:
            if self.is_sealed:
                return decode_options(read_sealed(self.options))
            return decode_options(os.pread(self.options, os.fstat(self.options).st_size, 0))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HandoverError(f"the options that were handed over cannot be used: {error}") from None

    def keep_open(self) -> None:
        """Have the descriptors outlive an execve."""
        for fd in self.descriptors:
            os.set_inheritable(fd, True)

    @classmethod
    def take_over(cls, environment: MutableMapping[str, str]) -> "Handover | None":
        """What this program was handed, if anything. Nobody after it is to be told."""
        text = environment.pop(_VARIABLE, "")
        if not text:
            return None
        known, values = {one.name for one in fields(cls)}, json.loads(text)
        values["dry_run"] = values.pop(_DRY_RUN, False)
        gateways = values.get("gateways", {_ONLY: values} if values.get("state", -1) >= 0 else {})
        values["gateways"] = {prefix: _of_gateway(values) for prefix, values in gateways.items()}
        handover = cls(**{name: value for name, value in values.items() if name in known})
        for fd in handover.descriptors:
            os.set_inheritable(fd, False)
        return handover


def _of_gateway(values: Mapping[str, Any]) -> GatewayHandover:
    known = {one.name for one in fields(GatewayHandover)}
    return GatewayHandover(**{name: value for name, value in values.items() if name in known})
