"""What is configured, and changes nothing beside what else is configured or missing: worth a warning."""

from collections.abc import Iterator

from fastrouter.options import Options, SubscriptionOptions
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
    if router.is_there and not used:
        yield "the router has no way to find a node: every request will be closed"
    if options.announcer.is_wanted and not options.app.is_there:
        yield "without an application (wsgi-file, module, mount) its sockets are not announced"
    if router.subscription_slot:
        yield "fastrouter-subscription-slot has no effect and is not needed"


def _spelled(field: str) -> str:
    return "fastrouter-" + field.replace("_", "-")
