"""The process that tells the figures: as JSON to whoever connects, and to Prometheus.

It only reads shared memory, so that no reader of it, however slow, keeps anybody else waiting.
"""

import json
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping

from fastrouter.stats import snapshot
from workers.context import Context, Listener
from workers.loop import Event, Loop

__all__ = ["run_stats_server"]

log = logging.getLogger("fastrouter")

_NICE = 10
"""A large report takes its time from nobody who has requests to route."""

_MOST_READERS = 64

_COSTLY = 0.05
"""Seconds of processor time; a report that takes more is told to all that ask within as long."""

_HTTP = "HTTP/1.0 200 OK\r\nConnection: close\r\nAccess-Control-Allow-Origin: *\r\nContent-Type: {}\r\n\r\n"


def run_stats_server(context: Context, index: int, ready: Callable[[], None]) -> int:
    """Answer until told to stop. Returns the exit code."""
    os.nice(_NICE)
    server = StatsServer(context)
    server.loop.handle_signals({signal.SIGTERM: server.stop, signal.SIGINT: server.stop})
    ready()
    server.loop.run()
    return 0


class StatsServer:
    """Whoever connects is told everything; what it sends does not matter."""

    def __init__(self, context: Context) -> None:
        self.loop = Loop(self._tick)
        self._context = context
        self._patience = context.options.sockets.socket_timeout
        self._told: dict[Callable[[], bytes], tuple[float, memoryview]] = {}
        """Until when it is good, and what."""
        self._readers: dict[int, tuple[socket.socket, memoryview, float]] = {}
        """By descriptor: what is to be sent yet, and until which monotonic second."""
        for listeners, reply in (
            (context.stats_listeners, self._json),
            (context.prometheus_listeners, self._prometheus),
        ):
            for listener in listeners:
                self._answer(listener, reply)

    def stop(self) -> None:
        self.loop.running = False

    def _answer(self, listener: Listener, reply: Callable[[], bytes]) -> None:
        def accept(event: Event) -> None:
            try:
                reader, _ = listener.socket.accept()
            except OSError:
                return  # it has left, or there are no descriptors; it is asked for again
            reader.setblocking(False)
            if len(self._readers) >= _MOST_READERS and not self._make_room():
                reader.close()
                return
            fd = reader.fileno()
            self._readers[fd] = (reader, self._latest(reply), time.monotonic() + self._patience)
            self._send((fd, 0))

        self.loop.watch(listener.socket.fileno(), select.EPOLLIN, accept)

    def _latest(self, reply: Callable[[], bytes]) -> memoryview:
        """What is told: the figures of this moment; if they are costly, what somebody has just been told."""
        until, data = self._told.get(reply, (0.0, memoryview(b"")))
        if time.monotonic() >= until:
            # Of the processor: on a busy machine a small report would grow old, too.
            began = time.process_time()
            data = memoryview(reply())
            took = time.process_time() - began
            self._told[reply] = (time.monotonic() + took, data) if took > _COSTLY else (0.0, memoryview(b""))
        return data

    def _make_room(self) -> bool:
        """Let go of one that has everything, and only does not close."""
        for fd, (_, rest, _) in self._readers.items():
            if not rest:
                self._close(fd)
                return True
        return False

    def _send(self, event: Event) -> None:
        fd = event[0]
        reader, rest, _ = self._readers[fd]
        try:
            while rest:
                rest = rest[reader.send(rest) :]
        except BlockingIOError:
            self._readers[fd] = (reader, rest, time.monotonic() + self._patience)
            self.loop.watch(fd, select.EPOLLOUT, self._send)
            return
        except OSError as error:
            log.debug("a reader of the figures has left: %s", error)
            self._close(fd)
            return
        self._end(fd)

    def _end(self, fd: int) -> None:
        """Everything is sent; to close at once would take it back, if a request is still unread."""
        reader, _, _ = self._readers[fd]
        try:
            reader.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(fd)
            return
        self._readers[fd] = (reader, memoryview(b""), time.monotonic() + self._patience)
        self.loop.watch(fd, select.EPOLLIN, self._drain)

    def _drain(self, event: Event) -> None:
        """Wait until the reader closes its side."""
        fd = event[0]
        try:
            if not self._readers[fd][0].recv(65536):
                self._close(fd)
        except BlockingIOError:
            pass
        except OSError:
            self._close(fd)

    def _close(self, fd: int) -> None:
        reader, _, _ = self._readers.pop(fd)
        self.loop.forget(fd)
        reader.close()

    def _tick(self) -> None:
        now = time.monotonic()
        for fd in [fd for fd, (_, _, deadline) in self._readers.items() if now > deadline]:
            before = len(self._readers[fd][1])
            if before:
                self._send((fd, 0))  # it may have been this process that was held up
            if fd in self._readers and len(self._readers[fd][1]) == before:
                self._close(fd)

    def _snapshot(self) -> dict[str, object]:
        context = self._context
        router = context.options.router
        listeners = (*context.router_listeners, *context.subscription_listeners)
        return snapshot(
            context.state,
            [listener.name for listener in listeners],
            router.configured_slots,
            router.configured_nodes,
        )

    def _json(self) -> bytes:
        options = self._context.options.figures
        figures = self._snapshot()
        text = _compact(figures) if options.minified else _in_lines(figures)
        head = _HTTP.format("application/json") if options.http else ""
        return (head + text).encode("utf-8", "surrogateescape")

    def _prometheus(self) -> bytes:
        from fastrouter.prometheus import metrics  # brings in prometheus_client, which not all need

        text, kind = metrics(self._snapshot())
        return _HTTP.format(kind).encode() + text


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _in_lines(figures: Mapping[str, object]) -> str:
    """A line for each key, and for each item of a list: to be read by people, and made in a moment."""
    lines = []
    for key, value in figures.items():
        if isinstance(value, list) and value:
            items = ",\n\t\t".join(map(_compact, value))
            lines.append(f'\t"{key}":[\n\t\t{items}\n\t]')
        else:
            lines.append(f'\t"{key}":{_compact(value)}')
    return "{\n" + ",\n".join(lines) + "\n}"
