"""The forwarder that a configuration asks for."""

from fastrouter.forwarders import Forwarder
from fastrouter.forwarders.fallback import FallbackForwarder
from fastrouter.forwarders.path import PathForwarder, base_template, pattern_template
from fastrouter.forwarders.static import StaticForwarder
from fastrouter.forwarders.subscription import SubscriptionForwarder, lookups
from fastrouter.forwarders.unlisted import UnlistedNodes
from fastrouter.node import configured
from fastrouter.pool import Balancing
from fastrouter.routes import Routes
from workers.context import Context

__all__ = ["make_forwarder"]


def make_forwarder(context: Context, routes: Routes, balancing: Balancing) -> Forwarder:
    """The one that counts, and its fallbacks."""
    options, layout = context.options.router, context.state.layout
    forwarder = _chosen(context, routes, balancing)
    if not options.fallback:
        return forwarder
    nodes = [
        configured(address, slot, layout, max_conns=options.max_conns)
        for slot, address in enumerate(options.fallback, len(options.to))
    ]
    return FallbackForwarder(forwarder, nodes, options.fallback_on_no_key)


def _chosen(context: Context, routes: Routes, balancing: Balancing) -> Forwarder:
    options, layout = context.options.router, context.state.layout
    unlisted = UnlistedNodes(options.configured_slots - 1, layout)
    match next(iter(options.forwarders), "to"):
        case "use_pattern":
            return PathForwarder(pattern_template(options.use_pattern), unlisted)
        case "subscription_server":
            subscription = context.options.subscription
            fallback = options.subscription_fallback_key.encode("utf-8", "surrogateescape")
            keys = lookups(
                subscription.dotsplit,
                subscription.mountpoints > 0,
                b"" if subscription.dotsplit else fallback,  # as in uWSGI
            )
            return SubscriptionForwarder(routes, keys)
        case "use_base":
            return PathForwarder(base_template(options.use_base), unlisted)
    nodes = [
        configured(address, slot, layout, max_conns=options.max_conns)
        for slot, address in enumerate(options.to)
    ]
    return StaticForwarder(nodes, context.state, balancing.for_configured_nodes(), options.gracetime)
