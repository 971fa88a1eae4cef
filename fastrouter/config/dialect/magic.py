"""The ``%`` variables that uWSGI replaces in the text of a configuration file, before anything else."""

import grp
import os
import platform
import pwd
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from fastrouter import __version__
from fastrouter.config.dialect.pairs import ConfigError
from fastrouter.place import current_directory

__all__ = ["Magic"]

_VARIABLE = re.compile(r"%([^\r\n])")


class Magic:
    """Replaces magic variables. One for a whole configuration, since the capitals mean its first file."""

    def __init__(self) -> None:
        """Raises ConfigError where there is no current directory."""
        self._first: dict[str, str] = {}
        self._always = {
            "v": _directory(),
            "V": __version__,
            "h": platform.node(),
            "k": str(psutil.cpu_count() or 1),
            "b": sys.argv[0],
            "t": str(int(psutil.Process().create_time())),
            "T": str(time.time_ns() // 1000),
            "u": str(os.getuid()),
            "g": str(os.getgid()),
            "U": _name(lambda: pwd.getpwuid(os.getuid()).pw_name),
            "G": _name(lambda: grp.getgrgid(os.getgid()).gr_name),
            "[": "\x1b",
            "%": "%",
            "(": "%(",
        }

    def replace(self, text: str, path: str, section: str, main: bool) -> str:
        """Replace the variables in a file's text.

        path is the file's name as given, main says that it was loaded by name and not included. An unknown
        variable vanishes; a ``%`` at the end of a line stays.
        """
        values = self._of_file(path, section)
        if main and not self._first:
            self._first = {name.upper(): value for name, value in values.items() if name.islower()}
        values |= self._first | self._always
        return _VARIABLE.sub(lambda match: values.get(match[1], ""), text)

    def _of_file(self, path: str, section: str) -> dict[str, str]:
        absolute = os.path.abspath(path)
        directory = os.path.dirname(absolute)
        name = os.path.basename(absolute)
        values = {
            "o": path,
            "p": absolute,
            "s": name,
            "d": directory.rstrip("/") + "/",
            "e": name.rpartition(".")[2] if "." in name else "",
            "n": name.rpartition(".")[0] or name,
            "c": os.path.basename(directory),
            "x": section,
            "i": str(Path(absolute).stat().st_ino) if os.path.exists(absolute) else "",
            "j": _hash(absolute),
        }
        for number, part in enumerate(directory.split("/")[1:11]):
            values[str(number)] = part
        return values


def _hash(path: str) -> str:
    """djb33x in hexadecimal, in the order of the bytes in a little-endian memory."""
    value = 5381
    for byte in os.fsencode(path):
        value = (value * 33 ^ (byte - 256 if byte > 127 else byte)) & 0xFFFFFFFF
    return value.to_bytes(4, "little").hex()


def _directory() -> str:
    """Raises ConfigError."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise ConfigError(f"started in a directory that was removed: {current_directory()}") from None


def _name(look_up: Callable[[], str]) -> str:
    try:
        return look_up()
    except KeyError:
        return ""
