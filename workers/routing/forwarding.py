"""The forwarder that a configuration asks for."""

from collections.abc import Sequence

from fastrouter.address import host_name
from fastrouter.routing.counters import NodeCounters
from fastrouter.routing.forwarders import Forwarder
from fastrouter.routing.forwarders.adhoc import AdhocNodes
from fastrouter.routing.forwarders.cache import CacheForwarder
from fastrouter.routing.forwarders.code import CodeForwarder
from fastrouter.routing.forwarders.fallback import FallbackForwarder
from fastrouter.routing.forwarders.fixed import FixedForwarder
from fastrouter.routing.forwarders.path import PathForwarder, base_template, pattern_template
from fastrouter.routing.forwarders.static import StaticForwarder
from fastrouter.routing.forwarders.subscription import SubscriptionForwarder, lookups
from fastrouter.routing.health import Health
from fastrouter.routing.node import Node, configured, named
from fastrouter.routing.pool import Balancing
from fastrouter.routing.routes import Routes
from fastrouter.text import to_bytes
from fastrouter.wire.traits import ConfiguredTraits
from workers.context import Gateway
from workers.usercode.mapping import load_mapping

__all__ = ["make_balancing", "make_fallback", "make_forwarder"]


def make_balancing(gateway: Gateway, index: int, counters: NodeCounters, health: Health) -> Balancing:
    """What the pools of router worker number index have in common."""
    subscription, router = gateway.context.options.subscription, gateway.options
    takes = gateway.context.own_nodes | {*router.fd_passing}
    if gateway.context.options.sockets.no_fd_passing:
        takes = frozenset()
    return Balancing(
        subscription.algorithm,
        index / gateway.workers,
        counters,
        health,
        subscription.slow_start,
        ConfiguredTraits(router.max_conns, takes, frozenset(router.keepalive)),
    )


def make_fallback(gateway: Gateway, routes: Routes, balancing: Balancing) -> list[Node]:
    """The nodes to turn to when another has failed."""
    options = gateway.options
    return _configured(gateway, routes, balancing, options.fallback, len(options.to))


def _configured(
    gateway: Gateway, routes: Routes, balancing: Balancing, addresses: Sequence[str], first_slot: int
) -> list[Node]:
    nodes, layout = [], gateway.state.layout
    for slot, address in enumerate(addresses, first_slot):
        traits = balancing.configured.of(address)
        if host_name(address):
            node = named(address, slot, layout, traits._replace(fd_passing=False))  # a name leads to TCP
            routes.adopt(node)
        else:
            node = configured(address, slot, layout, traits)
        nodes.append(node)
    return nodes


def make_forwarder(
    gateway: Gateway, index: int, routes: Routes, balancing: Balancing, fallback: list[Node]
) -> Forwarder:
    """The forwarder that counts, for router worker number index.

    Raises LoadError for a mapping function that is not there; what its script raises passes through.
    """
    forwarder = _chosen(gateway, index, routes, balancing)
    if fallback and gateway.options.fallback_on_no_key:
        return FallbackForwarder(forwarder, fallback)
    return forwarder


def _chosen(gateway: Gateway, index: int, routes: Routes, balancing: Balancing) -> Forwarder:
    options, layout = gateway.options, gateway.state.layout
    adhoc = AdhocNodes(options.configured_slots - 1, layout, balancing.configured)
    match next(iter(options.forwarders), "to"):
        case "use_cache":
            cache = gateway.context.caches[options.use_cache or next(iter(gateway.context.caches))]
            return CacheForwarder(cache, gateway.first_reader + index, adhoc)
        case "use_code_string":
            source = options.use_code_string
            assert source is not None
            name = f"{source.function}() of {source.script}"
            return CodeForwarder(load_mapping(source, gateway.context.options.app), name, adhoc)
        case "use_socket":
            listener = gateway.context.app_listeners[options.use_socket or 0]
            slot = options.configured_slots - 1
            traits = balancing.configured.of(listener.name)
            return FixedForwarder(configured(listener.name, slot, layout, traits))
        case "use_pattern":
            return PathForwarder(pattern_template(options.use_pattern), adhoc)
        case "subscription_server":
            subscription = gateway.context.options.subscription
            fallback = to_bytes(options.subscription_fallback_key)
            keys = lookups(
                subscription.dotsplit,
                subscription.mountpoints > 0,
                b"" if subscription.dotsplit else fallback,  # as in uWSGI
            )
            return SubscriptionForwarder(routes, keys)
        case "use_base":
            return PathForwarder(base_template(options.use_base), adhoc)
    nodes = _configured(gateway, routes, balancing, options.to, 0)
    return StaticForwarder(nodes, gateway.state, balancing.for_configured_nodes(), options.gracetime)
