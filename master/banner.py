"""What is said at the start: where everything is bound, and what has no effect."""

import logging
from collections.abc import Iterator

from fastrouter.config.option import declared
from fastrouter.options import Options, SubscriptionOptions
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
    for problem in _without_effect(context.options):
        log.warning("%s", problem)
    used = context.options.router.forwarders
    if context.router_listeners and not used:
        log.warning("the router has no way to find a node: every request will be closed")


_NEEDS = (
    ("fallback_on_no_key", "fallback"),
    ("log_format", "log"),
    ("post_buffering_dir", "post_buffering"),
    ("resubscribe_bind", "resubscribe"),
    ("resubscribe_sign", "resubscribe"),
    ("subscription_fallback_key", "subscription_server"),
)
"""Options that only say something more of another."""


def _without_effect(options: Options) -> Iterator[str]:
    """What is configured and changes nothing, beside what else is configured or missing."""
    router = options.router
    used, *shadowed = router.forwarders or [""]
    for name in shadowed:
        yield f"{_spelled(name)} has no effect beside {_spelled(used)}"
    if router.max_conns and used in ("use_cache", "use_pattern", "use_base", "use_code_string"):
        yield f"fastrouter-max-conns has no effect beside {_spelled(used)}"
    for name, needed in _NEEDS:
        if getattr(router, name) and not getattr(router, needed):
            yield f"{_spelled(name)} has no effect without {_spelled(needed)}"
    if router.subscription_fallback_key and options.subscription.dotsplit:
        yield "fastrouter-subscription-fallback-key has no effect beside subscription-dotsplit"
    if used != "subscription_server":
        unset = SubscriptionOptions()
        for option in declared(SubscriptionOptions):
            if getattr(options.subscription, option.field) != getattr(unset, option.field):
                yield f"{option.name} has no effect without fastrouter-subscription-server"
    if router.subscription_slot:
        yield "fastrouter-subscription-slot has no effect and is not needed"


def _spelled(field: str) -> str:
    return "fastrouter-" + field.replace("_", "-")
