"""Looking into a router that runs on this machine, from outside and without disturbing it.

The master keeps a small file in memory that says what its other memory is. Whoever may see its descriptors
(root, or the same user) can map that, privately: nothing that is done there is seen by the router.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

import psutil

from fastrouter import __version__
from fastrouter.cache.store import Cache
from fastrouter.config.option import Group, MappingSource
from fastrouter.options import Options
from fastrouter.shared import FORMAT, Layout, SharedState
from workers.context import Context

__all__ = ["Live", "LiveError", "attach", "publish"]

_NAME = "fastrouter-live"


class LiveError(Exception):
    """There is no such router, or it cannot be looked into; the message says why."""


@dataclass(slots=True)
class Live:
    """A router that runs."""

    pid: int
    version: str
    sockets: list[str]
    """Addresses that it is bound to, those of announcements included."""
    app_sockets: list[str]
    """Those of the local application."""
    context: Context
    """With private views of its memory; there are no listeners."""


def publish(context: Context) -> int:
    """Say what this program's memory is. Returns a descriptor that is to stay open."""
    layout = context.state.layout
    router = replace(context.options.router, resubscribe_sign=None)  # nobody's business
    options = replace(context.options, router=router)
    text = json.dumps(
        {
            "pid": os.getpid(),
            "version": __version__,
            "format": FORMAT,
            "state": context.state.fd,
            "layout": asdict(layout),
            "caches": {name: cache.fd for name, cache in context.caches.items()},
            "sockets": [one.name for one in (*context.router_listeners, *context.subscription_listeners)],
            "app_sockets": [one.name for one in context.app_listeners],
            "options": asdict(options),
        }
    )
    fd = os.memfd_create(_NAME)
    os.write(fd, text.encode("utf-8", "surrogateescape"))
    return fd


def attach(pid: int = 0) -> Live:
    """Look into the router with that master's pid, or into the only one. Raises LiveError."""
    found = list(_published(pid))
    if not found:
        hint = "" if os.geteuid() == 0 else "; others' can only be seen by root"
        raise LiveError(f"there is no fastrouter-master{f' with pid {pid}' if pid else ''} to be seen{hint}")
    if len(found) > 1:
        pids = ", ".join(str(one["pid"]) for one in found)
        raise LiveError(f"there are several; say which with --pid: {pids}")
    (one,) = found
    if one["format"] != FORMAT:
        raise LiveError(f"fastrouter {one['version']} runs with pid {one['pid']}; this is {__version__}")
    return _attach(one)


def _published(pid: int) -> Iterator[dict[str, Any]]:
    """What masters say. Their children have it, too; but it is their parent's pid that it names."""
    for process in [pid] if pid else psutil.pids():
        directory = f"/proc/{process}/fd"
        try:
            for name in os.listdir(directory):
                path = f"{directory}/{name}"
                if os.readlink(path).startswith(f"/memfd:{_NAME} "):
                    with open(path, "rb") as file:
                        said = json.loads(os.pread(file.fileno(), 1 << 24, 0))
                    if said["pid"] == process:
                        yield said
        except (OSError, ValueError):
            continue  # it has gone, or is none of ours to look at


def _attach(said: dict[str, Any]) -> Live:
    options = _options(said["options"])
    try:
        state = SharedState(Layout(**said["layout"]), _open(said, said["state"]), private=True)
        context = Context(options, state)
        for definition in options.cache.definitions():
            fd = _open(said, said["caches"][definition.name])
            cache = Cache(replace(definition, store=""), options.router.processes, fd, private=True)
            context.caches[definition.name] = cache
    except OSError as error:
        raise LiveError(f"cannot look into the router with pid {said['pid']}: {error}") from None
    return Live(said["pid"], said["version"], said["sockets"], said["app_sockets"], context)


def _open(said: dict[str, Any], fd: int) -> int:
    return os.open(f"/proc/{said['pid']}/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


_G = TypeVar("_G", bound=Group)


def _options(said: dict[str, Any]) -> Options:
    """What the router was configured with, but for what concerns signatures."""
    options = Options()
    for group, name in zip(options.groups(), _group_names(), strict=True):
        for field in fields(group):
            value = said[name][field.name]
            if field.name in ("sign_check", "resubscribe_sign"):
                continue
            if field.name == "use_code_string" and value is not None:
                value = MappingSource(**value)
            setattr(group, field.name, value)
    options.files = said["files"]
    return options


def _group_names() -> list[str]:
    return [field.name for field in fields(Options) if field.name != "files"]
