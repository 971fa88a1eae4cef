"""What the master prepares before it forks, and every child works with."""

import os
import secrets
import socket
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from fastrouter.cache.store import Cache
from fastrouter.memory.program import ProgramCells
from fastrouter.memory.shared import AppState, SharedState
from fastrouter.options import GatewayOptions, Options
from fastrouter.place import current_directory

__all__ = ["Context", "Gateway", "Listener", "Pipe", "ZergPool"]


@dataclass(slots=True)
class Listener:
    """A bound socket."""

    name: str
    """Its real address, as configurations write it."""
    socket: socket.socket
    inherited: bool = False
    """Somebody else made it, and may go on using it."""


@dataclass(frozen=True, slots=True)
class ZergPool:
    """Sockets that are handed to whoever connects to another one."""

    server: Listener
    listeners: list[Listener]


@dataclass(frozen=True, slots=True)
class Pipe:
    """Both ends; the master keeps them open, so that what is in the pipe survives any child."""

    reader: int
    writer: int


@dataclass(slots=True)
class Context:
    """Everything that outlives a child, and belongs to no gateway alone."""

    options: Options
    program: ProgramCells = field(default_factory=ProgramCells)
    gateways: "list[Gateway]" = field(default_factory=list)
    apps: AppState = field(default_factory=lambda: AppState(0))
    started_in: str = field(default_factory=current_directory)
    """The directory that relative paths on the command line count from."""
    command: list[str] = field(default_factory=lambda: sys.orig_argv[1:])
    """How the program was started, without the interpreter."""
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    """That the program was started with."""
    umask: int = 0o022
    """That the program was started with."""
    announced: dict[str, list[str]] = field(default_factory=dict)
    """What the application was announced by before a reload (said_of_announcements)."""
    caches: dict[str, Cache] = field(default_factory=dict)
    """By name; the first one is what an empty name means."""
    locks: int = -1
    """Descriptor of what writers of the caches lock."""
    app_listeners: list[Listener] = field(default_factory=list)
    shared_listeners: list[Listener] = field(default_factory=list)
    zerg_pools: list[ZergPool] = field(default_factory=list)
    own_nodes: frozenset[str] = frozenset()
    """UNIX addresses at which nobody but our app workers accepts, who take clients' descriptors."""
    more_workers: int = 0
    """Of each gateway, beside those that are configured (TTIN, TTOU); less than none for fewer."""
    ready: Pipe | None = None
    """From all children to the master."""

    def leave_to_user_code(self) -> None:
        """Let go of what is no business of the user's code: the tables, announcements, requests of others."""
        self.program.close()
        for cache in self.caches.values():
            cache.close_descriptor()
        kept = {listener.socket.fileno() for listener in self.app_listeners}
        for pool in self.zerg_pools:
            _close([pool.server, *pool.listeners], kept)
        _close(self.shared_listeners, kept)
        for gateway in self.gateways:
            gateway.close(kept)


@dataclass(slots=True, eq=False)
class Gateway:
    """One router of a configuration, with everything that belongs to it alone."""

    context: Context
    options: GatewayOptions
    state: SharedState
    workers: int = 1
    """How many there are; options.processes is how many are configured."""
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    """Tells this gateway from all others that announcements come by."""
    listeners: list[Listener] = field(default_factory=list)
    keys: dict[int, bytes] = field(default_factory=dict)
    """What its listeners are called as keys, by descriptor."""
    subscription_listeners: list[Listener] = field(default_factory=list)
    stats_listeners: list[Listener] = field(default_factory=list)
    prometheus_listeners: list[Listener] = field(default_factory=list)
    access_log: int = -1
    """Descriptor of the log of requests."""
    access_log_path: str = ""
    signed_times: Cache | None = None
    """Of each node that was ever announced with a signature, the highest time that was accepted."""
    first_reader: int = 0
    """The number of its first worker among all that read caches."""
    deltas: list[Pipe] = field(default_factory=list)
    """One for each worker: from the subscription server."""
    failures: Pipe | None = None
    """From all workers to the subscription server."""

    @property
    def prefix(self) -> str:
        """Of its options. It is also what the gateway is called in logs, titles and statistics."""
        return self.options.PREFIX

    @property
    def saved_table(self) -> str:
        """The path of the file that its table is kept in; empty when it is kept in none."""
        path = self.context.options.subscription.state
        return path if not path or self.prefix == "fastrouter" else f"{path}.{self.prefix}"

    def close(self, kept: Collection[int]) -> None:
        """Let go of everything, in a child that has nothing to do with it; kept are others' descriptors."""
        self.state.close()
        if self.signed_times is not None:
            self.signed_times.close()
        for listeners in (
            *(self.listeners, self.subscription_listeners),
            *(self.stats_listeners, self.prometheus_listeners),
        ):
            _close(listeners, kept)
        for pipe in (*self.deltas, *filter(None, (self.failures,))):
            os.close(pipe.reader)
            os.close(pipe.writer)
        if self.access_log >= 0:
            os.close(self.access_log)


def _close(listeners: Iterable[Listener], kept: Collection[int]) -> None:
    for listener in listeners:
        if listener.socket.fileno() not in kept:
            listener.socket.close()
