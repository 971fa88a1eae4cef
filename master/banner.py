"""What is said at the start: where everything is bound, and what has no effect."""

import logging

from fastrouter.config.effects import without_effect
from workers.context import Context

__all__ = ["announce_start"]

log = logging.getLogger("fastrouter")


def announce_start(context: Context) -> None:
    """Log it."""
    for listener in context.router_listeners:
        log.info("fastrouter bound on %s", listener.name)
    for listener in context.subscription_listeners:
        log.info("subscription server bound on %s", listener.name)
    for listener in context.app_listeners:
        log.info("app workers bound on %s", listener.name)
    for listener in context.stats_listeners:
        log.info(
            "*** fastrouter stats server enabled on %s fd: %d ***", listener.name, listener.socket.fileno()
        )
    for pool in context.zerg_pools:
        names = ", ".join(listener.name for listener in pool.listeners)
        log.info("zerg server bound on %s, for %s", pool.server.name, names or "no sockets")
    for listener in context.prometheus_listeners:
        log.info("figures for Prometheus on http://%s/", listener.name)
    for cache in context.caches.values():
        sizes = cache.definition
        log.info('cache "%s": %d items of up to %d bytes', cache.name, sizes.items, sizes.blocksize)
    if context.options.router.cheap:
        log.info("starting fastrouter in cheap mode")
    for problem in without_effect(context.options):
        log.warning("%s", problem)
