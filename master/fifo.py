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

    def __init__(
        self,
        paths: Sequence[str],
        owner: tuple[int, int] = (-1, -1),
        former: Mapping[str, int] | None = None,
        active: str = "",
    ) -> None:
        """owner is the user and group that new pipes belong to, -1 for who runs this.

        former are the descriptors of those of the program before a reload, by path, and active the path of
        that which was read. Raises OSError, but not after a reload, when there is no way back.
        """
        self._paths = [os.path.abspath(path) for path in paths[:_MOST]]
        self.descriptors: dict[str, int] = {}
        """By path."""
        for path in self._paths:
            self._add(path, owner, (former or {}).get(path, -1), is_new=former is None)
        for path in (former or {}).keys() - self.descriptors.keys():
            os.close((former or {})[path])
        self._paths = list(self.descriptors)
        self._active = self._paths.index(active) if active in self._paths else 0

    def _add(self, path: str, owner: tuple[int, int], former: int, is_new: bool) -> None:
        if former >= 0 and _is_at(path, former):
            self.descriptors[path] = former
            return
        try:
            self.descriptors[path] = _open(path, owner)
        except OSError as error:
            if is_new:
                raise
            log.error("cannot make the pipe %s: %s", path, error.strerror)
            if former >= 0:
                self.descriptors[path] = former
        else:
            if former >= 0:
                os.close(former)

    @property
    def active(self) -> str:
        """The path of the one that is read."""
        return self._paths[self._active] if self._paths else ""

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
    if os.path.lexists(path):
        if not stat.S_ISFIFO(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file of that name, and it is not a pipe", path)
        if _has_reader(path):
            raise OSError(
                errno.EADDRINUSE, "another program, or another instance of this one, reads it", path
            )
    if not os.access(os.path.dirname(os.path.abspath(path)), os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def _has_reader(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def _open(path: str, owner: tuple[int, int]) -> int:
    """A descriptor for a new pipe at path, which nobody but its owner may use."""
    check_fifo(path)
    if os.path.lexists(path):
        os.unlink(path)
    os.mkfifo(path, 0o600)
    if os.geteuid() == 0:
        os.chown(path, *owner)
    # For writing, too: who reads only would see the end of file whenever a writer leaves.
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _is_at(path: str, fd: int) -> bool:
    try:
        there, here = os.stat(path), os.fstat(fd)
    except OSError:
        return False
    return stat.S_ISFIFO(there.st_mode) and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
