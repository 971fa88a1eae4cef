"""The app worker: accepts uwsgi requests and serves them with the user's WSGI application.

For the local application beside a router; serving WSGI well is not what this project exists for.
"""

import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from fastrouter.cache.wire import CACHE
from fastrouter.memory.cells import App
from fastrouter.passing import Taken, discard, hang_up, take
from fastrouter.wire.packet import HEADER, PacketError
from workers.app.cache_service import CacheService
from workers.app.wsgi import PING, Handler, PacketReader, read_packet, read_variables
from workers.context import Context
from workers.loop import EXCLUSIVE
from workers.process import BOOT_FAILURE
from workers.request_log import Served, format_request
from workers.usercode.loading import LoadError, load_application
from workers.usercode.uwsgi_module import install_uwsgi_module

__all__ = ["run_app"]

log = logging.getLogger("fastrouter.app")
requests = logging.getLogger("fastrouter.requests")

_CLIENT_TIMEOUT = 60
"""Seconds that a client may take to send or to take something."""

_PAUSE = 0.5
"""Seconds to wait when the kernel gives no descriptor."""

_DRAIN = 1.0
"""Seconds to go on accepting for when told to stop, at most."""

_QUIET, _QUIET_ANNOUNCED = 0.1, 0.5
"""Seconds without a connection after which nobody is expected any more; routers have to hear that it ends."""


def run_app(context: Context, index: int, ready: Callable[[], None]) -> int:
    """Be app worker number index until told to stop. Returns the exit code."""
    options = context.options.app
    for thread in range(index * options.threads, (index + 1) * options.threads):
        context.apps.cells(thread)[App.BUSY_SINCE] = 0  # a predecessor's request is not this one's
    where = options.wsgi_file or options.module
    install_uwsgi_module(context.caches, context.options.sockets.socket_timeout)
    try:
        application = load_application(options)
    except LoadError as error:
        log.error("cannot load the application: %s", error)
        return BOOT_FAILURE
    except (Exception, SystemExit):
        log.exception("cannot load the application from %s", where)
        return BOOT_FAILURE
    worker = AppWorker(context, index, application)
    ready()
    worker.run()
    return 0


class AppWorker:
    """Threads that each wait for a connection, serve it, and wait again."""

    def __init__(self, context: Context, index: int, application: Callable[..., Any]) -> None:
        self._options = context.options.app
        self._index = index
        self._quiet = _QUIET_ANNOUNCED if context.options.announcer.is_wanted else _QUIET
        self._packet_timeout = context.options.sockets.socket_timeout
        self._application = application
        self._cache = CacheService(context)
        self._listeners = {listener.socket.fileno(): listener.socket for listener in context.app_listeners}
        first = index * self._options.threads
        self._cells = [context.apps.cells(first + thread) for thread in range(self._options.threads)]
        self._served = 0
        self._stopping = False
        self._drain = False
        # A byte in this pipe wakes all threads, and stays there.
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(0))

    def run(self) -> None:
        """Serve until stopped, in this thread and as many others as configured."""
        threads = [
            threading.Thread(target=self._serve_all, args=(number,), name=f"app thread {number}")
            for number in range(1, self._options.threads)
        ]
        for thread in threads:
            thread.start()
        self._serve_all(0)
        for thread in threads:
            thread.join()

    def _on_term(self, number: int, frame: object) -> None:
        self._drain = True
        self._stop()

    def _stop(self) -> None:
        self._stopping = True
        os.write(self._wake_writer, b"\0")

    def _serve_all(self, thread: int) -> None:
        kept: socket.socket | None = None
        with select.epoll() as epoll:
            epoll.register(self._wake_reader, select.EPOLLIN)
            for fd in self._listeners:
                epoll.register(fd, select.EPOLLIN | EXCLUSIVE)
            while not self._stopping:
                for fd, _ in epoll.poll(maxevents=1):
                    connection = self._accept(fd) if fd in self._listeners else kept
                    if connection is None:
                        continue
                    if kept is not None:
                        epoll.unregister(kept)
                        if kept is not connection:
                            hang_up(kept)  # the router must not count on a thread that serves somebody else
                    kept = self._answer(connection, fd, thread, epoll)
                    if kept is not None:
                        epoll.register(kept, select.EPOLLIN)
            if kept is not None:
                epoll.unregister(kept)
                hang_up(kept)
            epoll.unregister(self._wake_reader)
            # Who sends requests hears a moment later than this that they had better go elsewhere.
            deadline = time.monotonic() + _DRAIN
            while self._drain and time.monotonic() < deadline:
                connections = [(fd, self._accept(fd)) for fd, _ in epoll.poll(self._quiet)]
                if not any(accepted for _, accepted in connections):
                    break
                for fd, accepted in connections:
                    if accepted is not None:
                        self._answer(accepted, fd, thread, epoll)

    def _accept(self, fd: int) -> socket.socket | None:
        try:
            connection, _ = self._listeners[fd].accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        except OSError as error:
            log.error("cannot accept: %s", error)
            select.select([self._wake_reader], [], [], _PAUSE)
            return None
        connection.settimeout(self._packet_timeout)
        if connection.family != socket.AF_UNIX:
            # What the application yields leaves at once, also when the answer before it is not acknowledged.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _answer(
        self, connection: socket.socket, listener: int, thread: int, epoll: select.epoll
    ) -> socket.socket | None:
        """Serve the request that has come. Returns the connection if it is kept for another one.

        listener is the descriptor that it was accepted on; one that was kept is its own.
        """
        cells, kept = self._cells[thread], None
        try:
            with take(connection) as client:
                cells[App.REQUESTS] += 1
                self._serve(client, listener, thread)
                if isinstance(client, Taken) and not self._stopping and not epoll.poll(0):
                    kept = client.release()  # nobody else waits for this thread
        except (OSError, EOFError, PacketError) as error:
            log.debug("a connection ended: %s", error)
        finally:
            if kept is None:
                hang_up(connection)
            cells[App.BUSY_SINCE] = 0
        return kept

    def _serve(self, connection: socket.socket, listener: int, thread: int) -> None:
        started = time.monotonic()
        reader = PacketReader(connection, self._packet_timeout)
        modifier1, modifier2, block = read_packet(reader)
        connection.settimeout(_CLIENT_TIMEOUT)
        self._cells[thread][App.BUSY_SINCE] = time.monotonic_ns()
        if modifier1 == PING:
            connection.sendall(HEADER.pack(PING, 0, 1))
            return
        if modifier1 == CACHE:
            connection.sendall(self._cache.answer(connection, listener, modifier2, block, reader.exactly))
            return
        if modifier1:
            log.warning("there is nothing here for requests with modifier1 %d", modifier1)
            return
        variables = read_variables(block, reader)
        handler = Handler(connection, reader, variables, self._options.threads > 1)
        status, headers, header_bytes, body_bytes = handler.serve(self._application)
        self._served += 1
        if not self._options.disable_logging:
            seconds = time.monotonic() - started
            served = Served(
                variables, status, headers, header_bytes, body_bytes, seconds, len(block),
                len(variables), self._index + 1, thread, self._served,
            )  # fmt: skip
            requests.info("%s", format_request(served, self._options.logformat))
        if self._options.max_requests and self._served >= self._options.max_requests:
            self._stop()
        if reader.limit and not isinstance(connection, Taken):  # which sees to that itself
            connection.shutdown(socket.SHUT_WR)
            discard(connection, reader.limit)
