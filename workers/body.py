"""Reading a request's body before a node is troubled with it (``fastrouter-post-buffering``).

A body of up to so many bytes goes to the end of the packet, a larger one into a file without a name.
"""

import logging
import tempfile
from collections.abc import Callable, Generator
from select import EPOLLIN
from typing import IO, TYPE_CHECKING

from workers.loop import Event
from workers.relay import ClientGone, read_client

if TYPE_CHECKING:
    from workers.session import Session

__all__ = ["BodyFile", "BufferingFailed", "buffer_body"]

log = logging.getLogger("fastrouter")

_CHUNK = 1 << 18


class BufferingFailed(Exception):
    """The file cannot be written."""


class BodyFile:
    """The rest of a body, in a file."""

    def __init__(self, directory: str) -> None:
        """Raises OSError."""
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=directory or None, buffering=0)  # noqa: SIM115 - closed with the session

    def write(self, data: bytes) -> None:
        """Raises OSError."""
        while data:
            data = data[self._file.write(data) :]

    def rewind(self) -> None:
        self._file.seek(0)

    def read(self) -> bytes:
        """What comes next, nothing at the end."""
        return self._file.read(_CHUNK)

    def close(self) -> None:
        self._file.close()


def buffer_body(session: "Session") -> Generator[None, Event, None]:
    """Read the rest of the body. Raises ClientGone, BufferingFailed."""
    router = session.router
    if session.body_size <= router.post_buffering:
        data = bytearray(session.packet)
        yield from _read(session, data.extend)
        session.packet = bytes(data)
    else:
        try:
            session.body = BodyFile(router.post_buffering_dir)
            yield from _read(session, session.body.write)
        except OSError as error:
            if error.errno is None:
                raise  # a TimeoutError of the loop's
            where = router.post_buffering_dir or tempfile.gettempdir()
            log.error("cannot buffer a body of %d bytes in %s: %s", session.body_size, where, error.strerror)
            raise BufferingFailed from None
    session.repeatable = session.idempotent


def _read(session: "Session", put: Callable[[bytes], object]) -> Generator[None, Event, None]:
    router, client = session.router, session.client
    left = session.body_left or 0
    router.loop.watch(client, EPOLLIN, session.resume)
    while left:
        data = read_client(client, min(left, _CHUNK))
        if data is None:
            yield
            session.touched = router.seconds
        elif data:
            put(data)
            left -= len(data)
        else:
            raise ClientGone("closed in the middle of the body")
    router.loop.unwatch(client)
    session.body_left = 0
