"""Reading a request's body before a node is chosen (``fastrouter-post-buffering``).

A body of up to so many bytes goes to the end of the packet, a larger one into a file.
"""

from collections.abc import Callable, Generator

from workers.loop import IN, Event
from workers.routing.body_file import BodyFile
from workers.routing.relay import read_client
from workers.routing.session import ClientGone, Session

__all__ = ["buffer_body"]

_CHUNK = 1 << 18
"""Bytes."""


def buffer_body(session: Session) -> Generator[None, Event, None]:
    """Read the rest of the body. Raises ClientGone, BufferingFailed."""
    engine = session.engine
    if session.body_size <= engine.post_buffering:
        data = bytearray(session.packet)
        yield from _read(session, data.extend)
        session.packet = bytes(data)
    else:
        session.body = BodyFile(engine.post_buffering_dir)
        yield from _read(session, session.body.write)
    session.repeatable = session.idempotent


def _read(session: Session, put: Callable[[bytes], object]) -> Generator[None, Event, None]:
    engine, client = session.engine, session.client
    left = session.body_left or 0
    engine.loop.watch(session.client_fd, IN, session.resume)
    while left:
        yield  # after every chunk: a client that is faster than the disk must not have the worker for itself
        session.touched = engine.seconds
        data = read_client(client, min(left, _CHUNK))
        if data:
            put(data)
            left -= len(data)
        elif data is not None:
            raise ClientGone("closed in the middle of the body")
    engine.loop.unwatch(session.client_fd)
    session.body_left = 0
