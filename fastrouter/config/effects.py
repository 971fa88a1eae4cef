"""What is configured, and changes nothing beside what else is configured or missing: worth a warning."""

from collections.abc import Iterator

from fastrouter.options import GatewayOptions, Options, SubscriptionOptions
from fastrouter.options.declaration import declared

__all__ = ["without_effect"]

_NEEDS = (
    ("fallback_on_no_key", "fallback"),
    ("log_format", "log"),
    ("post_buffering_dir", "post_buffering"),
    ("resubscribe_bind", "resubscribe"),
    ("resubscribe_sign", "resubscribe"),
    ("subscription_fallback_key", "subscription_server"),
)
"""Options that only say something more of another."""


def without_effect(options: Options) -> Iterator[str]:
    """What is configured and changes nothing, beside what else is configured or missing."""
    for gateway in options.families:
        yield from _of_gateway(gateway, options.subscription)
    yield from _of_subscriptions(options)
    if options.announcer.is_wanted and not options.app.is_there:
        yield "without an application (wsgi-file, module, mount) its sockets are not announced"


def _of_gateway(gateway: GatewayOptions, subscription: SubscriptionOptions) -> Iterator[str]:
    def spelled(field: str) -> str:
        return f"{gateway.PREFIX}-{field.replace('_', '-')}"

    used, *shadowed = gateway.forwarders or [""]
    for name in shadowed:
        yield f"{spelled(name)} has no effect beside {spelled(used)}"
    if gateway.max_conns and used in ("use_cache", "use_pattern", "use_base", "use_code_string"):
        yield f"{spelled('max_conns')} has no effect beside {spelled(used)}"
    for name, needed in _NEEDS:
        if getattr(gateway, name) and not getattr(gateway, needed):
            yield f"{spelled(name)} has no effect without {spelled(needed)}"
    if gateway.subscription_fallback_key and subscription.dotsplit:
        yield f"{spelled('subscription_fallback_key')} has no effect beside subscription-dotsplit"
    if gateway.is_there and not used:
        yield f"the {gateway.PREFIX} has no way to find a node: every request will be closed"
    if gateway.subscription_slot:
        yield f"{spelled('subscription_slot')} has no effect and is not needed"


def _of_subscriptions(options: Options) -> Iterator[str]:
    if any(next(iter(gateway.forwarders), "") == "subscription_server" for gateway in options.families):
        return
    unset, routers = SubscriptionOptions(), options.gateways or options.families[:1]
    names = " or ".join(f"{gateway.PREFIX}-subscription-server" for gateway in routers)
    for option in declared(SubscriptionOptions):
        if getattr(options.subscription, option.field) != getattr(unset, option.field):
            yield f"{option.name} has no effect without {names}"
