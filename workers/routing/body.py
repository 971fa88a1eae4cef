"""Reading a request's body before a node is troubled with it (``fastrouter-post-buffering``).

A body of up to so many bytes goes to the end of the packet, a larger one into a file without a name.
"""

import os
import tempfile
from collections.abc import Callable, Generator
from typing import IO, TYPE_CHECKING, Final

from workers.loop import IN, Event
from workers.routing.relay import ClientGone, read_client

if TYPE_CHECKING:
    from workers.routing.session import Session

__all__ = ["BodyFile", "BufferingFailed", "buffer_body"]

_CHUNK = 1 << 18

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


def buffer_body(session: "Session") -> Generator[None, Event, None]:
    """Read the rest of the body. Raises ClientGone, BufferingFailed."""
    router = session.router
    if session.body_size <= router.post_buffering:
        data = bytearray(session.packet)
        yield from _read(session, data.extend)
        session.packet = bytes(data)
    else:
        session.body = BodyFile(router.post_buffering_dir)
        yield from _read(session, session.body.write)
    session.repeatable = session.idempotent


def _read(session: "Session", put: Callable[[bytes], object]) -> Generator[None, Event, None]:
    router, client = session.router, session.client
    left = session.body_left or 0
    router.loop.watch(session.client_fd, IN, session.resume)
    while left:
        yield  # after every chunk: a client that is faster than the disk must not have the worker for itself
        session.touched = router.seconds
        data = read_client(client, min(left, _CHUNK))
        if data:
            put(data)
            left -= len(data)
        elif data is not None:
            raise ClientGone("closed in the middle of the body")
    router.loop.unwatch(session.client_fd)
    session.body_left = 0
