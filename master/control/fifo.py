"""The master's named pipes: one byte, one command (uWSGI 2.0.31 behaviour)."""

import errno
import logging
import os
import stat
from collections.abc import Mapping, Sequence

from fastrouter.files import open_entry

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
        self._owner = owner
        self.descriptors: dict[str, int] = {}
        """By path: of the one that is read."""
        self._active = self._paths.index(active) if active in self._paths else 0
        for path in self._paths:
            self._add(path, (former or {}).get(path, -1), is_new=former is None)
        for fd in set((former or {}).values()) - set(self.descriptors.values()):
            os.close(fd)

    def _add(self, path: str, former: int, is_new: bool) -> None:
        if former >= 0 and _is_at(path, former):
            self.descriptors[path] = former
            return
        try:
            if path == self.active:
                check_fifo(path)
                self.descriptors[path] = _make_and_open(path, self._owner)
            elif is_new or not os.path.lexists(path):
                # Made now, by root perhaps; not opened, since another instance may be reading one day.
                check_fifo(path, may_be_read=True)
                if not _has_reader(path):
                    _make(path, self._owner)
        except OSError as error:
            if is_new:
                raise
            log.error("cannot make the pipe %s: %s", path, error.strerror)
            if former >= 0:
                self.descriptors[path] = former

    @property
    def active(self) -> str:
        """The path of the one that is read."""
        return self._paths[self._active] if self._paths else ""

    @property
    def fd(self) -> int:
        """The descriptor to be read; -1 when there is none."""
        return self.descriptors.get(self.active, -1)

    def read(self) -> str:
        """The commands that wait."""
        try:
            return os.read(self.fd, 4096).decode("latin-1")
        except BlockingIOError:
            return ""

    def activate(self, slot: int) -> None:
        """Read another one from now on, if there is one of that number.

        Where another instance reads it, a new one takes its place (uWSGI 2.0.31 behaviour).
        """
        path = self._paths[slot] if slot < len(self._paths) else self.active
        if path == self.active:
            return
        try:
            if _is_owned(path, self._owner) and not _has_reader(path):
                fd = _open(path)
            else:
                check_fifo(path, may_be_read=True)
                fd = _make_and_open(path, self._owner)
        except OSError as error:
            log.error("cannot make the pipe %s: %s", path, error.strerror)
            return
        os.close(self.fd)
        self._active, self.descriptors = slot, {path: fd}
        log.info("active master fifo is now %s", path)

    def remove(self) -> None:
        for path in self._paths:
            try:
                if _is_at(path, self.descriptors.get(path, -1)) or not _has_reader(path):
                    os.unlink(path)
            except OSError as error:
                log.debug("%s: %s", path, error)


def check_fifo(path: str, may_be_read: bool = False) -> None:
    """Raises OSError when a pipe could not be made there."""
    if os.path.lexists(path):
        if not stat.S_ISFIFO(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file of that name, and it is not a pipe", path)
        if not may_be_read and _has_reader(path):
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


def _make_and_open(path: str, owner: tuple[int, int]) -> int:
    _make(path, owner)
    return _open(path)


def _make(path: str, owner: tuple[int, int]) -> None:
    """A new pipe at path, which nobody but its owner may use."""
    if os.path.lexists(path):
        os.unlink(path)
    os.mkfifo(path, 0o600)
    if os.geteuid() == 0:
        fd = open_entry(path, stat.S_IFIFO)
        os.chown(f"/proc/self/fd/{fd}", *owner)
        os.close(fd)


def _open(path: str) -> int:
    # For writing, too: who reads only would see the end of file whenever a writer leaves.
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileExistsError(errno.EEXIST, "somebody has put something else in its place", path)
    return fd


def _is_owned(path: str, owner: tuple[int, int]) -> bool:
    """Whether there is a pipe that only the owner can write to."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    user = owner[0] if owner[0] >= 0 else os.geteuid()
    return stat.S_ISFIFO(status.st_mode) and status.st_uid == user and not status.st_mode & 0o022


def _is_at(path: str, fd: int) -> bool:
    try:
        there, here = os.stat(path), os.fstat(fd)
    except OSError:  # a descriptor of -1, too
        return False
    return stat.S_ISFIFO(there.st_mode) and (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
