"""Where log lines can go: files, syslog, systemd's journal, datagrams. None of them ever waits."""

import errno
import logging
import os
import socket
import stat
import struct
import time
from collections.abc import Callable
from typing import Protocol

from fastrouter.files import open_to_write

__all__ = [
    "DatagramSink",
    "FileSink",
    "Sink",
    "StreamSink",
    "journal_format",
    "open_log",
    "plain_format",
    "syslog_format",
]

_LOOK_EVERY = 1.0
"""Seconds between two looks whether a file is still the one that its path names."""

_DIAL_EVERY = 1.0
"""Seconds between two attempts to reach somebody who takes no datagrams."""

_FACILITY = 3 << 3
"""daemon (RFC 5424, 6.2.1)"""

_SEVERITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Level from which on, severity (RFC 5424, 6.2.1)."""


class Sink(Protocol):
    """Takes lines, or loses them."""

    fd: int
    """What a reload hands over; -1 when there is nothing to hand over."""

    def write(self, level: int, line: str) -> bool:
        """False when the line is lost."""

    def reopen(self) -> None:
        """Begin a new file, if it is one that somebody has moved away."""


class FileSink:
    """A file, or whatever standard error is. A file that was moved away (by logrotate) is begun anew."""

    def __init__(self, fd: int, path: str = "", opened: int = -1, is_standard: bool = False) -> None:
        """path is the file's, if it was given one; opened is a descriptor for it that does not block.

        is_standard says that standard output and error go there, too.
        """
        self.fd = opened if opened >= 0 else _open_anew(fd)
        self._path = path
        self._looked = time.monotonic()
        self._is_standard = is_standard
        self._is_torn = False
        """The disk was full in the middle of a line."""
        self._prefixed = _is_journal(fd)

    def write(self, level: int, line: str) -> bool:
        if self._path and time.monotonic() - self._looked > _LOOK_EVERY:
            self.reopen()
        data = _for_journal(level, line) if self._prefixed else plain_format(level, line)
        if self._is_torn:
            data = b"\n" + data
        try:
            written = os.write(self.fd, data)
        except OSError:
            return False
        self._is_torn = written < len(data)
        return not self._is_torn

    def reopen(self) -> None:
        self._looked = time.monotonic()
        if not self._path or _is_file_at(self.fd, self._path):
            return
        try:
            fd, is_new = open_to_write(self._path, os.O_APPEND | os.O_NONBLOCK)
        except OSError:
            return  # the old one, wherever it is now, is better than none
        if is_new and os.geteuid() == 0:
            before = os.fstat(self.fd)
            os.fchown(fd, before.st_uid, before.st_gid)
        if self._is_standard:
            os.set_blocking(fd, True)
            for other in (1, 2):
                os.dup2(fd, other)
        os.dup2(own := _open_anew(fd), self.fd, inheritable=False)
        os.close(own)
        os.close(fd)

    @property
    def path(self) -> str:
        return self._path

    @property
    def size(self) -> int:
        """In bytes."""
        return os.fstat(self.fd).st_size


class DatagramSink:
    """A socket that takes each line as a datagram."""

    fd = -1

    def __init__(
        self, family: int, address: tuple[str, int] | str, form: Callable[[int, str], bytes]
    ) -> None:
        self._family = family
        self._address = address
        self._form = form
        self._socket: socket.socket | None = None
        self._failed = -_DIAL_EVERY
        """When nobody was there, last."""
        self._dial()
        if self._socket is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody takes log lines there", str(address))

    def write(self, level: int, line: str) -> bool:
        data = self._form(level, line)
        for _ in range(2):
            try:
                if self._socket is not None:
                    self._socket.send(data)
                    return True
            except BlockingIOError:
                return False
            except OSError:
                pass  # it was replaced, perhaps
            self._dial()
        return False

    def reopen(self) -> None:
        self._failed = -_DIAL_EVERY
        self._dial()

    def _dial(self) -> None:
        if time.monotonic() - self._failed < _DIAL_EVERY:
            return
        if self._socket is not None:
            self._socket.close()
        self._socket = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.connect(self._address)
        except OSError:
            self._socket.close()
            self._socket = None
            self._failed = time.monotonic()


class StreamSink:
    """A socket that is standard error: inetd's, a container's."""

    fd = -1

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=os.dup(fd))
        self._prefixed = _is_journal(fd)

    def write(self, level: int, line: str) -> bool:
        data = _for_journal(level, line) if self._prefixed else plain_format(level, line)
        try:
            self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def reopen(self) -> None:
        pass


def syslog_format(identity: str) -> Callable[[int, str], bytes]:
    """As syslog(3) sends it to the daemon of the machine (RFC 3164, without its host)."""

    def form(level: int, line: str) -> bytes:
        when = time.strftime("%b %e %H:%M:%S")
        head = f"<{_FACILITY | _severity(level)}>{when} {identity}[{os.getpid()}]: "
        return (head + line).encode("utf-8", "backslashreplace")

    return form


def journal_format(identity: str) -> Callable[[int, str], bytes]:
    """systemd's journal, in its native protocol."""

    def form(level: int, line: str) -> bytes:
        message = line.encode("utf-8", "backslashreplace")
        head = f"PRIORITY={_severity(level)}\nSYSLOG_IDENTIFIER={identity}\nMESSAGE\n".encode()
        return head + struct.pack("<Q", len(message)) + message + b"\n"

    return form


def plain_format(level: int, line: str) -> bytes:
    return line.encode("utf-8", "backslashreplace") + b"\n"


def open_log(path: str, flags: int = 0) -> int:
    """A descriptor for a log file, which is made if there is none. Raises OSError.

    It does not block; nor does this, where path is a pipe that nobody reads.
    """
    return open_to_write(path, flags | os.O_APPEND | os.O_NONBLOCK)[0]


def _for_journal(level: int, line: str) -> bytes:
    """With the level in front, as systemd reads it from standard error (sd-daemon(3))."""
    return plain_format(level, f"<{_severity(level)}>{line}")


def _severity(level: int) -> int:
    return next((severity for least, severity in _SEVERITIES if level >= least), 7)


def _is_journal(fd: int) -> bool:
    """Whether systemd reads what is written there, and takes levels in front of lines (systemd.exec(5))."""
    status = os.fstat(fd)
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _is_file_at(fd: int, path: str) -> bool:
    try:
        there = os.stat(path)
    except OSError:
        return False
    here = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) or not stat.S_ISREG(there.st_mode)


def _open_anew(fd: int) -> int:
    """A descriptor for the same file with flags of its own; the same descriptor where that cannot be had."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return os.dup(fd)
