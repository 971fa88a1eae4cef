"""Looking into a router that runs on this machine, from outside and without disturbing it.

The master keeps a small file in memory that says what its other memory is. Whoever may see its descriptors
(root, or the same user) can map that, privately: nothing that is done there is seen by the router.
"""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import psutil

from fastrouter import __version__
from fastrouter.cache.store import Cache
from fastrouter.memory.memfd import sealed_copy
from fastrouter.memory.program import ProgramCells
from fastrouter.memory.shared import FORMAT, Layout, SharedState
from fastrouter.options import GatewayOptions
from fastrouter.options.transfer import options_from
from fastrouter.text import printable
from workers.context import Context, Gateway

__all__ = ["Live", "LiveError", "attach", "publish"]

_NAME = "fastrouter-live"
_MOST_SAID = 1 << 24


class LiveError(Exception):
    """There is no such router, or it cannot be looked into; the message says why."""


@dataclass(slots=True)
class Live:
    """A router that runs."""

    pid: int
    version: str
    user: str
    """Whose it is."""
    sockets: list[str]
    """Addresses that it is bound to, those of announcements included."""
    app_sockets: list[str]
    """Those of the local application."""
    context: Context
    """With private views of its memory; there are no listeners."""
    gateway: Gateway
    """The one that is looked at."""

    def close(self) -> None:
        """Give the views back."""
        self.context.program.close()
        for gateway in self.context.gateways:
            gateway.state.close()
        for cache in self.context.caches.values():
            os.close(cache.fd)


def publish(context: Context) -> int:
    """Say what this program's memory is, for good. Returns a descriptor that is to stay open."""
    # How announcements are signed and checked is nobody's business.
    fastrouter = replace(context.options.fastrouter, resubscribe_sign=None)
    rawrouter = replace(context.options.rawrouter, resubscribe_sign=None)
    subscription = replace(context.options.subscription, sign_check=None)
    options = replace(context.options, fastrouter=fastrouter, rawrouter=rawrouter, subscription=subscription)
    text = json.dumps(
        {
            "pid": os.getpid(),
            "version": __version__,
            "format": FORMAT,
            "program": context.program.fd,
            "gateways": {gateway.prefix: _said_of(gateway) for gateway in context.gateways},
            "caches": {name: cache.fd for name, cache in context.caches.items()},
            "app_sockets": [one.name for one in context.app_listeners],
            "own_nodes": list(context.own_nodes),
            "options": asdict(options),
        }
    )
    # Children, which may have another user, have it too; what root believes is not theirs to change.
    return sealed_copy(_NAME, text.encode("utf-8", "surrogateescape"))


def _said_of(gateway: Gateway) -> dict[str, Any]:
    return {
        "state": gateway.state.fd,
        "layout": asdict(gateway.state.layout),
        "workers": gateway.workers,
        "sockets": [one.name for one in (*gateway.listeners, *gateway.subscription_listeners)],
    }


def attach(pid: int = 0, prefix: str = "") -> Live:
    """Look into a router of the master with that pid, or of the only one: that of a prefix, or the only one.

    Raises LiveError.
    """
    one = _chosen(pid)
    try:
        if one["format"] != FORMAT or "gateways" not in one:
            version = printable(str(one["version"]))
            raise LiveError(f"fastrouter {version} runs with pid {one['pid']}; this is {__version__}")
        return _attach(one, prefix)
    except _RUBBISH as error:
        raise LiveError(
            f"what pid {one['pid']} ({_user(one['pid'])}) says of itself is wrong: {error!r}"
        ) from None


_RUBBISH = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, MemoryError)
"""What comes of memory that only pretends to be a router's: any process may have some of that name."""


def _chosen(pid: int) -> dict[str, Any]:
    """What that router says. Masters that route nothing are left out. Raises LiveError."""
    published = list(_published(pid))
    found = [one for one in published if _routes(one)]
    if len(found) == 1:
        return found[0]
    if found:
        raise LiveError(f"there are several; say which with --pid: {', '.join(map(_described, found))}")
    if published:
        there_are = ", ".join(map(_described, published))
        raise LiveError(f"no router is configured in fastrouter-master {there_are}")
    hint = "" if os.geteuid() == 0 else "; others' can only be seen by root"
    raise LiveError(f"there is no fastrouter-master{f' with pid {pid}' if pid else ''} to be seen{hint}")


def _routes(said: dict[str, Any]) -> bool:
    """Whether it routes at all. Who does not say is taken for a router, so that what is wrong is told."""
    try:
        options = options_from(said["options"])
        return any(gateway.is_there for gateway in options.gateways)
    except _RUBBISH:
        return True


def _described(said: dict[str, Any]) -> str:
    """A master's pid and, to tell it from others, its user and configuration."""
    try:
        files = ", ".join(map(str, said["options"]["files"])) or "no file"
    except _RUBBISH:
        files = "unknown file"
    return f"{said['pid']} ({_user(said['pid'])}: {printable(files)})"


def _published(pid: int) -> Iterator[dict[str, Any]]:
    """What masters say. Their children have it, too; but it is their parent's pid that it names."""
    for process in [pid] if pid else psutil.pids():
        directory = f"/proc/{process}/fd"
        try:
            for name in os.listdir(directory):
                path = f"{directory}/{name}"
                if os.readlink(path).startswith(f"/memfd:{_NAME} "):
                    with open(path, "rb") as file:
                        said = json.loads(os.pread(file.fileno(), _MOST_SAID, 0))
                    if said["pid"] == process:
                        yield said
        except (OSError, *_RUBBISH):
            continue  # it has gone, or is none of ours to look at, or no router


def _attach(said: dict[str, Any], prefix: str) -> Live:
    options = options_from(said["options"])
    pid = said["pid"]
    try:
        program = ProgramCells(_open(pid, said["program"]), private=True)
        own_nodes = frozenset(said.get("own_nodes", ()))  # a router from before an upgrade may not say so
        context = Context(options, program, own_nodes=own_nodes)
        for of_one in options.gateways:
            context.gateways.append(_gateway(context, of_one, pid, said["gateways"][of_one.PREFIX]))
        readers = sum(gateway.workers for gateway in context.gateways)
        for definition in options.cache.definitions():
            fd = _open(pid, said["caches"][definition.name])
            cache = Cache(replace(definition, store=""), readers, fd, private=True)
            context.caches[definition.name] = cache
    except OSError as error:
        raise LiveError(f"cannot look into the router with pid {pid}: {error}") from None
    gateway = _wanted(context, pid, prefix)
    sockets = _printable(said["gateways"][gateway.prefix]["sockets"])
    app_sockets = _printable(said["app_sockets"])
    return Live(pid, printable(str(said["version"])), _user(pid), sockets, app_sockets, context, gateway)


def _gateway(context: Context, options: GatewayOptions, pid: int, said: dict[str, Any]) -> Gateway:
    state = SharedState(Layout(**said["layout"]), _open(pid, said["state"]), private=True)
    return Gateway(context, options, state, int(said["workers"]))


def _wanted(context: Context, pid: int, prefix: str) -> Gateway:
    """The gateway of that prefix, or the only one. Raises LiveError."""
    there_are = {gateway.prefix: gateway for gateway in context.gateways}
    if prefix and prefix not in there_are:
        raise LiveError(f"fastrouter-master {pid} has no {prefix}, only {', '.join(there_are)}")
    if not prefix and len(there_are) > 1:
        raise LiveError(f"there are several; say which with --router: {', '.join(there_are)}")
    return there_are[prefix] if prefix else next(iter(there_are.values()))


def _printable(names: Sequence[object]) -> list[str]:
    return [printable(str(name)) for name in names]


def _open(pid: int, fd: int) -> int:
    """A descriptor for the memory that a process has as fd; for nothing else, which opening might change."""
    if not isinstance(fd, int):
        raise TypeError(f"{fd!r} is no descriptor")
    path = f"/proc/{pid}/fd/{fd}"
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"descriptor {fd} is no memory")
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


def _user(pid: int) -> str:
    """The name of the user whose process it is; a number where it has none."""
    try:
        return psutil.Process(pid).username()
    except (psutil.Error, KeyError):
        return "?"
