"""The log of all processes, which never makes anybody wait.

A log that nobody reads must not stop a router. So the log is written through a descriptor of its own that
does not block: the file behind standard error is opened anew, since to set O_NONBLOCK on the inherited one
would set it for every process that shares it. A line that does not fit is lost, and counted.
"""

import logging
import os
import socket
import stat
import time

from fastrouter.options import LogOptions
from fastrouter.text import printable
from workers.sinks import (
    DatagramSink,
    FileSink,
    Sink,
    StreamSink,
    journal_format,
    open_log,
    plain_format,
    syslog_format,
)

__all__ = ["LogHandler", "set_up_logging"]

log = logging.getLogger("fastrouter")

_IDENTITY = "fastrouter"
_JOURNAL = "/run/systemd/journal/socket"
_SYSLOG = "/dev/log"


class LogHandler(logging.Handler):
    """Writes one line a record."""

    def __init__(self, sink: Sink, options: LogOptions) -> None:
        super().__init__()
        self.lost = 0
        """Lines that found no room."""
        self._sink = sink
        self._dated = options.log_date
        self._largest = options.maxsize
        self._backup = options.backupname

    @property
    def fd(self) -> int:
        """What a reload hands over; -1 when there is nothing."""
        return self._sink.fd

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = printable(record.getMessage())
            if record.exc_info:
                line += "\n" + logging.Formatter().formatException(record.exc_info)
        except (TypeError, ValueError):
            self.handleError(record)
            return
        if self._dated:
            line = f"{time.strftime('%a %b %d %H:%M:%S %Y')} - {line}"
        if not self._sink.write(record.levelno, line):
            self.lost += 1

    def reopen(self) -> None:
        """Go on in a new file, where the old one was moved away. Children notice that themselves."""
        log.info("reopening the log")
        self._sink.reopen()

    def rotate(self) -> None:
        """Move the file away, and begin a new one."""
        sink = self._sink
        if not isinstance(sink, FileSink) or not sink.path:
            log.warning("there is no log file to rotate")
            return
        backup = self._backup or f"{sink.path}.{time.time_ns() // 1_000_000_000}"
        try:
            os.rename(sink.path, backup)
        except OSError as error:
            log.error("cannot rename %s to %s: %s", sink.path, backup, error.strerror)
            self._largest = 0  # not again every second
            return
        sink.reopen()
        log.info("the log goes on here; what was before is now %s", backup)

    def rotate_if_large(self) -> None:
        sink = self._sink
        if self._largest and isinstance(sink, FileSink) and sink.path and sink.size > self._largest:
            self.rotate()


def set_up_logging(options: LogOptions, path: str, former: int = -1, is_new: bool = True) -> LogHandler:
    """Send all log lines where the options say, to the file at path, or to standard error. Raises OSError.

    former is the descriptor of the program before a reload, which may have had more privileges; after a
    reload there is always somewhere to go.
    """
    try:
        sink = make_sink(options, path, former)
    except OSError as error:
        if is_new:
            raise
        sink = FileSink(2, path, former, is_standard=bool(path))
        problem = str(error)
    else:
        problem = ""
    handler = LogHandler(sink, options)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(options.level.upper())
    if problem:
        log.error("cannot log as configured: %s", problem)
    return handler


def make_sink(options: LogOptions, path: str, former: int) -> Sink:
    """Raises OSError, but not for a file that only the program before a reload was allowed to open."""
    if options.journald:
        return DatagramSink(socket.AF_UNIX, _JOURNAL, journal_format(_IDENTITY))
    if options.syslog is not None:
        return DatagramSink(socket.AF_UNIX, _SYSLOG, syslog_format(options.syslog or _IDENTITY))
    if not path and options.is_datagrams:
        host, _, port = options.logto.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return DatagramSink(family, (host.strip("[]"), int(port)), plain_format)
    if not path:
        is_socket = stat.S_ISSOCK(os.fstat(2).st_mode)
        return StreamSink(2) if is_socket else FileSink(2, opened=former)
    try:
        fd = open_log(path, os.O_TRUNC if options.truncate and former < 0 else 0)
    except PermissionError:
        if former < 0:
            raise
        return FileSink(2, path, former, is_standard=True)
    os.set_blocking(fd, True)  # for who knows nothing of this, and only prints
    for other in (1, 2):
        os.dup2(fd, other)
    for used in {fd, former} - {-1}:
        os.close(used)
    return FileSink(2, path, is_standard=True)
