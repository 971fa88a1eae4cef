"""Where log lines go, without ever making anybody wait.

A log that nobody reads must not stop a router. So the log is written through a descriptor of its own that
does not block: the file behind standard error is opened anew, since to set O_NONBLOCK on the inherited one
would set it for every process that shares it. A line that does not fit is lost, and counted.
"""

import logging
import os
import socket
import stat
import time

__all__ = ["LogHandler", "set_up_logging"]


class LogHandler(logging.Handler):
    """Writes one line a record to a descriptor that does not block."""

    def __init__(self, fd: int, dated: bool, opened: int = -1) -> None:
        """opened is a descriptor for the same that does not block already."""
        super().__init__()
        self.lost = 0
        """Lines that found no room."""
        self._dated = dated
        self._socket: socket.socket | None = None
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            self._socket = socket.socket(fileno=os.dup(fd))
            self.fd = -1
        else:
            self.fd = opened if opened >= 0 else _open_anew(fd)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = _escape(record.getMessage())
            if record.exc_info:
                line += "\n" + logging.Formatter().formatException(record.exc_info)
        except (TypeError, ValueError):
            self.handleError(record)
            return
        if self._dated:
            line = f"{time.strftime('%a %b %d %H:%M:%S %Y')} - {line}"
        self._write(line.encode("utf-8", "backslashreplace") + b"\n")

    def _write(self, data: bytes) -> None:
        try:
            if self._socket is not None:
                self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            else:
                os.write(self.fd, data)
        except OSError:
            self.lost += 1


def set_up_logging(path: str, dated: bool, former: int = -1) -> LogHandler:
    """Send all log lines to the file at path, or to standard error. Raises OSError.

    former is the descriptor of the program before a reload, which may have had more privileges.
    """
    if path and former >= 0 and not os.access(path, os.W_OK):
        path = ""
    elif path:
        former = -1
    if path:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.close(fd)
    root = logging.getLogger()
    handler = LogHandler(2, dated, former)
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    return handler


def _open_anew(fd: int) -> int:
    """A descriptor for the same file with flags of its own; the same descriptor where that cannot be had."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return os.dup(fd)


def _escape(line: str) -> str:
    """Names come from the network: nothing in them may begin another line, or talk to a terminal."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
