"""What is said at the start: where everything is bound, and what has no effect."""

import logging

from fastrouter.config.effects import without_effect
from workers.context import Context, Gateway

__all__ = ["announce_start"]

log = logging.getLogger("fastrouter")


def announce_start(context: Context) -> None:
    """Log it."""
    for gateway in context.gateways:
        _announce_gateway(gateway)
    for listener in context.app_listeners:
        log.info("app workers bound on %s", listener.name)
    for pool in context.zerg_pools:
        names = ", ".join(listener.name for listener in pool.listeners)
        log.info("zerg server bound on %s, for %s", pool.server.name, names or "no sockets")
    for cache in context.caches.values():
        sizes = cache.definition
        log.info('cache "%s": %d items of up to %d bytes', cache.name, sizes.items, sizes.blocksize)
    for problem in without_effect(context.options):
        log.warning("%s", problem)


def _announce_gateway(gateway: Gateway) -> None:
    prefix = gateway.prefix
    for listener in gateway.listeners:
        log.info("%s bound on %s", prefix, listener.name)
    for listener in gateway.subscription_listeners:
        log.info("%s subscription server bound on %s", prefix, listener.name)
    for listener in gateway.stats_listeners:
        fd = listener.socket.fileno()
        log.info("*** %s stats server enabled on %s fd: %d ***", prefix, listener.name, fd)
    for listener in gateway.prometheus_listeners:
        log.info("%s statistics for Prometheus on http://%s/", prefix, listener.name)
    if gateway.options.cheap:
        log.info("starting %s in cheap mode", prefix)
