"""A request's body in a file without a name, until a node takes it."""

import os
import tempfile
from typing import IO, Final

__all__ = ["BodyFile", "BufferingFailed"]

_SENT: Final = 1 << 20
"""Bytes to have the kernel send at a time."""


class BufferingFailed(Exception):
    """The file cannot be made or written."""


class BodyFile:
    """The rest of a body, in a file without a name."""

    def __init__(self, directory: str) -> None:
        """Raises BufferingFailed."""
        self._directory = directory or tempfile.gettempdir()
        self._size = self._sent = 0
        try:
            self._file: IO[bytes] = tempfile.TemporaryFile(  # noqa: SIM115 - closed with the session
                dir=self._directory, buffering=0
            )
        except OSError as error:
            raise self._failed(error) from None

    def write(self, data: bytes) -> None:
        """Raises BufferingFailed."""
        self._size += len(data)
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise self._failed(error) from None

    def rewind(self) -> None:
        self._sent = 0

    @property
    def is_sent(self) -> bool:
        return self._sent == self._size

    def send(self, node: int) -> int:
        """Send what comes next to a node. Returns the number of bytes; 0 when it takes none now."""
        try:
            n = os.sendfile(node, self._file.fileno(), self._sent, _SENT)
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            self._sent = self._size  # it takes no more, but its answer may be on the way
            return 0
        self._sent += n
        return n

    def close(self) -> None:
        self._file.close()

    def _failed(self, error: OSError) -> BufferingFailed:
        return BufferingFailed(f"cannot buffer a body in {self._directory}: {error.strerror}")
