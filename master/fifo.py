"""The master's named pipes: one byte, one command (uWSGI 2.0.31 behaviour)."""

import errno
import logging
import os
import stat
from collections.abc import Mapping, Sequence

__all__ = ["Fifo", "check_fifo"]

log = logging.getLogger("fastrouter")

_MOST = 10
"""Slots, one a digit."""


class Fifo:
    """Several pipes, of which one is read at a time."""

    def __init__(self, paths: Sequence[str], former: Mapping[str, int]) -> None:
        """former are the descriptors of those of the program before a reload, by path. Raises OSError."""
        self._paths = [os.path.abspath(path) for path in paths[:_MOST]]
        self.descriptors = {path: _open(path, former.get(path, -1)) for path in self._paths}
        """By path."""
        for path in former.keys() - self.descriptors.keys():
            os.close(former[path])
        self._active = 0

    @property
    def fd(self) -> int:
        """The descriptor to be read; -1 when there is none."""
        return self.descriptors[self._paths[self._active]] if self._paths else -1

    def read(self) -> str:
        """The commands that wait."""
        try:
            return os.read(self.fd, 4096).decode("latin-1")
        except BlockingIOError:
            return ""

    def activate(self, slot: int) -> None:
        """Read another one from now on, if there is one of that number."""
        if slot < len(self._paths):
            self._active = slot
            log.info("active master fifo is now %s", self._paths[slot])

    def remove(self) -> None:
        for path in self._paths:
            try:
                os.unlink(path)
            except OSError as error:
                log.debug("%s: %s", path, error)


def check_fifo(path: str) -> None:
    """Raises OSError when a pipe could not be made there."""
    if os.path.lexists(path) and not stat.S_ISFIFO(os.lstat(path).st_mode):
        raise FileExistsError(errno.EEXIST, "there is a file of that name, and it is not a pipe", path)
    if not os.access(os.path.dirname(os.path.abspath(path)), os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def _open(path: str, former: int) -> int:
    """A descriptor for the pipe at path, which nobody but this user may use."""
    if former >= 0 and _is_at(path, former):
        return former
    check_fifo(path)
    if os.path.lexists(path):
        os.unlink(path)
    os.mkfifo(path, 0o600)
    # For writing, too: who reads only would see the end of file whenever a writer leaves.
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _is_at(path: str, fd: int) -> bool:
    try:
        there, here = os.stat(path), os.fstat(fd)
    except OSError:
        return False
    return stat.S_ISFIFO(there.st_mode) and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
