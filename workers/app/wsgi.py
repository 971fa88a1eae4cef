"""WSGI over uwsgi: one request on one connection, with wsgiref's handler."""

import io
import logging
import socket
import time
from collections.abc import Callable
from typing import Any, BinaryIO, cast
from wsgiref.handlers import SimpleHandler
from wsgiref.headers import Headers

from fastrouter.wire.packet import HEADER, PacketError, records
from fastrouter.wire.request import decimal

__all__ = ["PING", "Handler", "PacketReader", "read_packet", "read_variables"]

log = logging.getLogger("fastrouter.app")

PING = 100
"""modifier1 of a ping; the answer is the same with modifier2 1."""


class PacketReader(io.RawIOBase):
    """Reads a connection, and after limit bytes says that it ends: a body is only as long as it says."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        """seconds is for how long a packet may take to come, in all."""
        self._connection = connection
        self._deadline = time.monotonic() + seconds
        self.limit = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: self.limit]
        if not view:
            return 0
        n = self._connection.recv_into(view)
        self.limit -= n
        return n

    def exactly(self, size: int) -> bytes:
        """Raises EOFError when the connection ends before, TimeoutError when that takes too long."""
        data = bytearray()
        while len(data) < size:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{len(data)} of {size} bytes came in time")
            self._connection.settimeout(left)
            chunk = self._connection.recv(size - len(data))
            if not chunk:
                raise EOFError(f"the connection ended after {len(data)} of {size} bytes")
            data += chunk
        return bytes(data)


def read_packet(reader: PacketReader) -> tuple[int, int, bytes]:
    """Read a packet: modifier1, modifier2, and the block. Raises EOFError."""
    modifier1, size, modifier2 = HEADER.unpack(reader.exactly(HEADER.size))
    return modifier1, modifier2, reader.exactly(size)


def read_variables(block: bytes, reader: PacketReader) -> dict[str, str]:
    """The variables of a request. Leaves reader at the body, limited to its length. Raises PacketError."""
    try:
        variables = {name.decode("latin-1"): value.decode("latin-1") for name, value in records(block)}
    except PacketError as error:
        raise PacketError(f"invalid request: {error}") from None
    reader.limit = decimal(variables.get("CONTENT_LENGTH", "").encode("latin-1"))
    return variables


class _Output(io.RawIOBase):
    """The connection, with everything that is written counted. What is written leaves at the next flush.

    So the head goes out with the first block of the body, and a small answer in one piece.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._pending: list[bytes] = []
        self.count = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pending.append(data)
        self.count += len(data)
        return len(data)

    def flush(self) -> None:
        data, self._pending = b"".join(self._pending), []
        # Not sendall(), whose time limit is for the whole: a slow reader that keeps reading is welcome.
        view = memoryview(data)
        while view:
            view = view[self._connection.send(view) :]


class Handler(SimpleHandler):
    """Runs the application for one request."""

    http_version = "1.1"
    server_software = None
    # Set by wsgiref's BaseHandler, and missing in its type stubs.
    status: str | None
    headers: Headers | None
    bytes_sent: int
    result: Any
    os_environ: dict[str, str] = {}  # noqa: RUF012 - wsgiref's way of saying that nothing is inherited

    def __init__(
        self, connection: socket.socket, reader: PacketReader, variables: dict[str, str], threads: bool
    ) -> None:
        self._output = _Output(connection)
        variables.setdefault("SCRIPT_NAME", "")
        variables.setdefault("SERVER_PROTOCOL", "HTTP/1.0")
        super().__init__(
            cast(BinaryIO, io.BufferedReader(reader)),
            cast(BinaryIO, self._output),
            _Errors(),
            variables,
            multithread=threads,
            multiprocess=True,
        )

    def serve(self, application: Callable[..., Any]) -> tuple[str, int, int, int]:
        """Answer. Returns the status, the number of headers, and the bytes of head and body."""
        self.run(application)
        body = self.bytes_sent
        return (
            self.status or "-",
            len(self.headers.items()) if self.headers else 0,
            self._output.count - body,
            body,
        )

    def finish_response(self) -> None:
        """A list of blocks is an answer that is there as a whole: it is sent as a whole."""
        if isinstance(self.result, list | tuple):
            self.result = [b"".join(self.result)]
        super().finish_response()

    def close(self) -> None:
        """wsgiref forgets the outcome here; it is still wanted, for the log."""
        close = getattr(self.result, "close", None)
        if close is not None:
            close()

    def log_exception(self, exc_info: Any) -> None:
        log.error("the application failed", exc_info=exc_info)


class _Errors(io.TextIOBase):
    """wsgi.errors: lines go to the log."""

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                log.error("%s", line)
        return len(text)
