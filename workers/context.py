"""What the master prepares before it forks, and every child works with."""

import os
import secrets
import socket
import sys
from dataclasses import dataclass, field

from fastrouter.cache.store import Cache
from fastrouter.memory.shared import AppState, SharedState
from fastrouter.options import Options
from fastrouter.place import current_directory

__all__ = ["Context", "Listener", "Pipe", "ZergPool"]


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
    """Everything that outlives a child."""

    options: Options
    state: SharedState
    apps: AppState = field(default_factory=lambda: AppState(0))
    started_in: str = field(default_factory=current_directory)
    """The directory that relative paths on the command line count from."""
    command: list[str] = field(default_factory=lambda: sys.orig_argv[1:])
    """How the program was started, without the interpreter."""
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    """That the program was started with."""
    umask: int = 0o022
    """That the program was started with."""
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    """Tells this program from all others that announcements come by."""
    announced: dict[str, list[str]] = field(default_factory=dict)
    """What the application was announced by before a reload (said_of_announcements)."""
    caches: dict[str, Cache] = field(default_factory=dict)
    """By name; the first one is what an empty name means."""
    locks: int = -1
    """Descriptor of what writers of the caches lock."""
    signed_times: Cache | None = None
    """Of each node that was ever announced with a signature, the highest time that was accepted."""
    access_log: int = -1
    """Descriptor of the log of requests."""
    access_log_path: str = ""
    router_listeners: list[Listener] = field(default_factory=list)
    app_listeners: list[Listener] = field(default_factory=list)
    shared_listeners: list[Listener] = field(default_factory=list)
    subscription_listeners: list[Listener] = field(default_factory=list)
    stats_listeners: list[Listener] = field(default_factory=list)
    prometheus_listeners: list[Listener] = field(default_factory=list)
    zerg_pools: list[ZergPool] = field(default_factory=list)
    own_nodes: frozenset[str] = frozenset()
    """UNIX addresses at which nobody but our app workers accepts, who take clients' descriptors."""
    deltas: list[Pipe] = field(default_factory=list)
    """One for each router worker: from the subscription server."""
    failures: Pipe | None = None
    """From all router workers to the subscription server."""
    ready: Pipe | None = None
    """From all children to the master."""

    def leave_to_user_code(self) -> None:
        """Let go of what is no business of the user's code: the table, announcements, requests of others."""
        self.state.close()
        for cache in self.caches.values():
            cache.close_descriptor()
        if self.signed_times is not None:
            self.signed_times.close()
        app = {listener.socket.fileno() for listener in self.app_listeners}
        others = (
            *(self.router_listeners, self.shared_listeners, self.subscription_listeners),
            *(self.stats_listeners, self.prometheus_listeners),
            *([pool.server, *pool.listeners] for pool in self.zerg_pools),
        )
        for listener in (listener for listeners in others for listener in listeners):
            if listener.socket.fileno() not in app:
                listener.socket.close()
        for pipe in (*self.deltas, *filter(None, (self.failures,))):
            os.close(pipe.reader)
            os.close(pipe.writer)
        if self.access_log >= 0:
            os.close(self.access_log)
