"""The stats server: statistics as JSON, and for Prometheus.

It only reads shared memory, and writes piece by piece, so that no reader of it, however slow, and no report,
however large, keeps anybody else waiting.
"""

import json
import logging
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastrouter.statistics.census import Census
from fastrouter.statistics.document import snapshot
from fastrouter.statistics.prometheus import CONTENT_TYPE, metrics
from workers.context import Gateway, Listener
from workers.loop import Event, Loop

__all__ = ["run_stats_server"]

log = logging.getLogger("fastrouter")

_NICE = 10
"""A large report takes its time from nobody who has requests to route."""

_MOST_READERS = 64

_MOST_ASKED = 16384
"""Bytes of an HTTP request; what it begins with is all that matters."""

_HEAD_END = re.compile(rb"\n\r?\n")

_JSON_NODES = 5000
_PROMETHEUS_NODES = 1000
"""Announced nodes that are told of when nobody asks for all (nodes=1) or none (nodes=0)."""

_PIECE = 1 << 16
_TURN = 0.02
"""Characters and seconds after which it is another reader's turn."""

_HTTP = "HTTP/1.0 200 OK\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\nContent-Type: {}\r\n\r\n"

_WRONG = "HTTP/1.0 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n{}\n"

_Report = Callable[[int | None], Iterator[str]]
"""Tells of so many nodes, or of as many as it does when nobody says."""


def run_stats_server(gateway: Gateway, index: int, ready: Callable[[], None]) -> int:
    """Answer until told to stop. Returns the exit code."""
    os.nice(_NICE)
    server = StatsServer(gateway)
    server.loop.handle_signals({signal.SIGTERM: server.stop, signal.SIGINT: server.stop})
    ready()
    server.loop.run()
    return 0


@dataclass(slots=True)
class _Reader:
    socket: socket.socket
    deadline: float
    """The monotonic second until which it has to go on."""
    asked: bytes = b""
    """What has been read of its request."""
    pieces: Iterator[str] | None = None
    """What it is told; None when it has asked for nothing, or has been told all."""
    rest: bytes | memoryview = b""
    """Of the last piece."""


class StatsServer:
    """Serves statistics to its readers, over HTTP where that is configured."""

    def __init__(self, gateway: Gateway) -> None:
        self.loop = Loop(self._tick)
        self._gateway = gateway
        self._patience = gateway.context.options.sockets.socket_timeout
        self._census = Census(gateway.state, gateway.options.configured_slots)
        self._readers: dict[int, _Reader] = {}
        """By descriptor."""
        for listener in gateway.stats_listeners:
            self._answer(listener, self._json, gateway.context.options.statistics.http)
        for listener in gateway.prometheus_listeners:
            self._answer(listener, self._prometheus, True)

    def stop(self) -> None:
        self.loop.running = False

    def _answer(self, listener: Listener, report: _Report, is_http: bool) -> None:
        def accept(event: Event) -> None:
            try:
                sock, _ = listener.socket.accept()
            except OSError:
                return  # it has left, or there are no descriptors; it is asked for again
            sock.setblocking(False)
            if len(self._readers) >= _MOST_READERS and not self._make_room():
                sock.close()
                return
            fd = sock.fileno()
            self._readers[fd] = _Reader(sock, time.monotonic() + self._patience)
            if is_http:
                self.loop.watch(fd, select.EPOLLIN, ask)
            else:
                self._tell(fd, report(None))

        def ask(event: Event) -> None:
            self._read_request(event[0], report)

        self.loop.watch(listener.socket.fileno(), select.EPOLLIN, accept)

    def _make_room(self) -> bool:
        """Let go of one that has everything, and only does not close, or that has asked for nothing."""
        for fd, reader in self._readers.items():
            if reader.pieces is None:
                self._close(fd)
                return True
        return False

    def _read_request(self, fd: int, report: _Report) -> None:
        reader = self._readers[fd]
        try:
            data = reader.socket.recv(_MOST_ASKED)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        reader.asked += data
        if not data and not reader.asked:
            self._close(fd)
        elif not data or len(reader.asked) > _MOST_ASKED or _HEAD_END.search(reader.asked):
            try:
                pieces = report(_wanted(reader.asked))
            except ValueError as error:
                pieces = iter([_WRONG.format(error)])
            self._tell(fd, pieces)

    def _tell(self, fd: int, pieces: Iterator[str]) -> None:
        self._readers[fd].pieces = pieces
        self.loop.watch(fd, select.EPOLLOUT, self._send)
        self._send((fd, 0))

    def _send(self, event: Event) -> None:
        """Send a piece, and the next when there is room for it: others have their turns in between."""
        fd = event[0]
        reader = self._readers[fd]
        assert reader.pieces is not None
        reader.deadline = time.monotonic() + self._patience
        is_last = False
        try:
            if not reader.rest:
                reader.rest, is_last = _gathered(reader.pieces)
            reader.rest = memoryview(reader.rest)[reader.socket.send(reader.rest) :] if reader.rest else b""
        except BlockingIOError:
            return
        except OSError as error:
            log.debug("a reader of the statistics has left: %s", error)
            self._close(fd)
            return
        if is_last and not reader.rest:
            self._end(fd)

    def _end(self, fd: int) -> None:
        """Everything is sent; to close at once would take it back, if a request is still unread."""
        reader = self._readers[fd]
        reader.pieces = None
        try:
            reader.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(fd)
            return
        self.loop.watch(fd, select.EPOLLIN, self._drain)

    def _drain(self, event: Event) -> None:
        """Wait until the reader closes its side."""
        fd = event[0]
        try:
            if not self._readers[fd].socket.recv(65536):
                self._close(fd)
        except BlockingIOError:
            pass
        except OSError:
            self._close(fd)

    def _close(self, fd: int) -> None:
        reader = self._readers.pop(fd)
        self.loop.forget(fd)
        reader.socket.close()

    def _tick(self) -> None:
        now = time.monotonic()
        for fd, reader in [one for one in self._readers.items() if now > one[1].deadline]:
            left = len(reader.rest)
            if reader.pieces is not None:
                self._send((fd, 0))  # it may have been this process that was held up
            if fd in self._readers and (reader.pieces is None or len(reader.rest) == left):
                self._close(fd)

    def _snapshot(self, most: int) -> dict[str, Any]:
        gateway = self._gateway
        listeners = (*gateway.listeners, *gateway.subscription_listeners)
        return snapshot(
            gateway.state,
            gateway.prefix,
            [listener.name for listener in listeners],
            self._census,
            gateway.options.configured_nodes,
            most,
        )

    def _json(self, wanted: int | None) -> Iterator[str]:
        options = self._gateway.context.options.statistics
        statistics = self._snapshot(_JSON_NODES if wanted is None else wanted)
        if options.http:
            yield _HTTP.format("application/json")
        yield from _written(statistics, *(("", "") if options.minified else ("\n", "\t")))

    def _prometheus(self, wanted: int | None) -> Iterator[str]:
        most = _PROMETHEUS_NODES if wanted is None else wanted
        yield _HTTP.format(CONTENT_TYPE)
        yield from metrics(self._snapshot(most), self._gateway.state, self._census.first(most))


def _wanted(request: bytes) -> int | None:
    """How many nodes are asked for; None when nothing is said about that. Raises ValueError."""
    words = request.partition(b"\n")[0].split()
    target = words[1].decode("ascii", "replace") if len(words) > 1 else ""
    nodes = parse_qs(urlsplit(target).query, keep_blank_values=True).get("nodes")
    if nodes is None:
        return None
    if nodes[-1] not in ("0", "1"):
        raise ValueError("nodes is 1 for all nodes, or 0 for none")
    return sys.maxsize if nodes[-1] == "1" else 0


def _gathered(pieces: Iterator[str]) -> tuple[bytes, bool]:
    """What there is to be sent next, and whether that is the end."""
    until, size, found = time.monotonic() + _TURN, 0, []
    for piece in pieces:
        found.append(piece)
        size += len(piece)
        if size >= _PIECE or time.monotonic() > until:
            return "".join(found).encode("utf-8", "surrogateescape"), False
    return "".join(found).encode("utf-8", "surrogateescape"), True


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _written(statistics: Mapping[str, object], end: str, indent: str) -> Iterator[str]:
    """A line for each key, and for each item of a list: to be read by people, and made in a moment."""
    before = "{"
    for key, value in statistics.items():
        yield f'{before}{end}{indent}"{key}":'
        before = ","
        if isinstance(value, (list, Iterator)):
            yield from _items(value, end + indent, indent)
        else:
            yield _compact(value)
    yield f"{end}}}"


def _items(values: Iterable[object], line: str, indent: str) -> Iterator[str]:
    before = "["
    for value in values:
        yield f"{before}{line}{indent}{_compact(value)}"
        before = ","
    yield "[]" if before == "[" else f"{line}]"
