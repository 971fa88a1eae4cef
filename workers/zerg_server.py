"""The process that hands listening sockets to other instances (``zerg-server``, ``zergpool``)."""

import logging
import signal
from collections.abc import Callable

from fastrouter.wire.zerg import give
from workers.context import Context, ZergPool
from workers.loop import IN, Event, Loop

__all__ = ["run_zerg_server"]

log = logging.getLogger("fastrouter")


def run_zerg_server(context: Context, index: int, ready: Callable[[], None]) -> int:
    """Hand over until told to stop. Returns the exit code."""

    def stop() -> None:
        loop.running = False

    loop = Loop(lambda: None)
    for pool in context.zerg_pools:
        loop.watch(pool.server.socket.fileno(), IN, _handing_over(pool))
    loop.handle_signals({signal.SIGTERM: stop, signal.SIGINT: stop})
    ready()
    loop.run()
    return 0


def _handing_over(pool: ZergPool) -> Callable[[Event], None]:
    descriptors = [listener.socket.fileno() for listener in pool.listeners]

    def accept(event: Event) -> None:
        try:
            connection, _ = pool.server.socket.accept()
        except OSError as error:
            log.debug("nobody to hand sockets to: %s", error)
            return
        with connection:
            connection.setblocking(False)
            try:
                give(connection, descriptors)
            except OSError as error:
                log.warning("zerg server %s cannot hand over its sockets: %s", pool.server.name, error)

    return accept
