"""Running the program again that was there before a reload, when the new one fails.

An upgrade may have replaced its files by then. So every program keeps a copy of its own source in memory,
made at its start, and hands that to the one which takes its place.
"""

import io
import logging
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import fastrouter
from fastrouter.memory.memfd import sealed_copy
from fastrouter.options import Options
from fastrouter.options.transfer import encode_options
from master.reloading.handover import Handover

__all__ = ["fallback_of", "run_again", "who_is_who"]

log = logging.getLogger("fastrouter")

_PACKAGES = ("fastrouter", "workers", "master")
_FROM = "/proc/self/fd/"
_RUN = "import sys; sys.path.insert(0, {path!r}); from master.cli import main; sys.exit(main())"


def fallback_of(options: Options) -> dict[str, int]:
    """What a program that fails after a reload goes back to (Handover.fallback); nothing where that fails."""
    try:
        code = _copy_of_this_program()
    except OSError as error:
        log.warning("a reload will have nothing to go back to: %s", error)
        return {}
    return {"code": code, "options": sealed_copy("options", encode_options(options))}


def _copy_of_this_program() -> int:
    """A descriptor for a zip archive of our packages, as they are when this is called. Raises OSError."""
    here = fastrouter.__path__[0]
    if here.startswith(_FROM):  # this is such a program already
        return os.dup(int(here.removeprefix(_FROM).partition("/")[0]))
    root, data = Path(here).parent, io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for package in _PACKAGES:
            for path in sorted((root / package).rglob("*")):
                if path.suffix in (".py", ".txt"):
                    # Not archive.write(), which refuses files from before 1980, as builders make them.
                    archive.writestr(str(path.relative_to(root)), path.read_bytes())
    return sealed_copy("fastrouter-program", data.getvalue())


def who_is_who(handover: Handover) -> dict[int, tuple[int, int]]:
    """What the descriptors are that were handed over, so that it can be seen later which are the same."""
    return {fd: identity for fd in handover.descriptors if (identity := _identity(fd)) is not None}


def run_again(
    handover: Handover, who_was_who: Mapping[int, tuple[int, int]], environment: Mapping[str, str]
) -> NoReturn:
    """Replace this program by the one before it, with what that had handed over. Raises OSError.

    who_was_who says what its descriptors were: some may be closed by now, or somebody else's.
    """
    code = handover.fallback.pop("code")
    handover.options, handover.fallback = handover.fallback.pop("options"), {}

    def is_there(fd: int) -> bool:
        return fd >= 0 and _identity(fd) == who_was_who.get(fd)

    handover.sockets = {name: list(filter(is_there, fds)) for name, fds in handover.sockets.items()}
    handover.given = list(filter(is_there, handover.given))
    handover.caches, handover.fifos = (
        {name: fd for name, fd in found.items() if is_there(fd)}
        for found in (handover.caches, handover.fifos)
    )
    handover.log, handover.locks = (fd if is_there(fd) else -1 for fd in (handover.log, handover.locks))
    for gateway in handover.gateways.values():
        gateway.access_log = gateway.access_log if is_there(gateway.access_log) else -1
    handover.keep_open()
    os.set_inheritable(code, True)
    flags = {"-P": None, **dict.fromkeys(subprocess._args_from_interpreter_flags())}  # type: ignore[attr-defined]
    command = [sys.executable, *flags, "-c", _RUN.format(path=f"{_FROM}{code}")]
    os.execve(sys.executable, command, handover.hand_over(environment))


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        about = os.fstat(fd)
    except OSError:
        return None
    return about.st_dev, about.st_ino
