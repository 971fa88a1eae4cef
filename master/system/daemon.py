"""Going into the background."""

import os
import sys

__all__ = ["Daemon"]


class Daemon:
    """Detaches; the process that was started lives on until the outcome of the start is known.

    So that ``fastrouter-master --daemonize log`` returns when the router serves, or fails when it does not.
    """

    def __init__(self) -> None:
        self._writer = -1

    def detach(self) -> None:
        """Return in the background process only."""
        reader, self._writer = os.pipe()
        if os.fork():
            os.close(self._writer)
            code = os.read(reader, 1)
            os._exit(code[0] if code else 1)
        os.close(reader)
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.close(null)

    def report(self, code: int) -> None:
        """Let the process that was started exit with code."""
        if self._writer >= 0:
            sys.stdout.flush()
            os.write(self._writer, bytes([code]))
            os.close(self._writer)
            self._writer = -1
