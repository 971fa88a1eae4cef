"""The roles of the children that a configuration asks for."""

from collections.abc import Iterator
from functools import partial

from fastrouter.options import Options
from master.child import Kind, Role
from workers.announcing.application import is_announced, run_announcer
from workers.app.worker import run_app
from workers.context import Context, Gateway
from workers.gateways.fastrouter import FastrouterExchange
from workers.gateways.raw import RawExchange
from workers.routing.exchange import MakeExchange
from workers.routing.router import run_router
from workers.stats_server import run_stats_server
from workers.table.static_names import named_slots
from workers.table.subscription_server import run_subscription_server
from workers.usercode.script import run_script
from workers.zerg_server import run_zerg_server

__all__ = ["GATEWAY_RANK", "roles"]

GATEWAY_RANK = 1
"""The stop rank of the workers of gateways."""


_EXCHANGES: dict[str, MakeExchange] = {"fastrouter": FastrouterExchange, "rawrouter": RawExchange}
"""What each gateway does with a client."""


def roles(context: Context) -> list[Role]:
    """The roles, in the order in which their children are forked.

    They are stopped by rank: no more announcements, then no more requests to route, then those that the
    application still has; a subscription server has to hear of failures until the end.
    """
    options = context.options
    found = []
    if _runs(Kind.SCRIPT, options):
        found.append(Role(Kind.SCRIPT, 1, partial(run_script, context), stop_rank=2))
    for gateway in context.gateways:
        found += _of_gateway(gateway)
    if options.app.is_served:
        found.append(Role(Kind.APP, options.app.processes, partial(run_app, context), stop_rank=2))
    if options.sockets.zerg_server or options.sockets.zergpool:
        found.append(Role(Kind.ZERG_SERVER, 1, partial(run_zerg_server, context), stop_rank=0))
    if is_announced(options):
        run = partial(run_announcer, context)
        found.append(Role(Kind.ANNOUNCER, 1, run, stop_rank=0, after=(Kind.APP,)))
    return found


def _of_gateway(gateway: Gateway) -> Iterator[Role]:
    options, program = gateway.options, gateway.context.options
    if options.is_there:
        names = named_slots(options)
        if options.subscription_server or names:
            run = partial(run_subscription_server, gateway)
            yield Role(Kind.SUBSCRIPTION_SERVER, 1, run, stop_rank=3, gateway=gateway)
        after = [Kind.SUBSCRIPTION_SERVER] if names or program.subscription.state else []
        if options.use_cache is not None:
            # What a script puts in a cache is to be there before the first request.
            after += [kind for kind in (Kind.SCRIPT, Kind.APP) if _runs(kind, program)]
        yield Role(
            Kind.GATEWAY,
            gateway.workers,
            partial(run_router, gateway, exchange=_EXCHANGES[gateway.prefix]),
            stop_rank=GATEWAY_RANK,
            gateway=gateway,
            after=tuple(after),
        )
    if options.stats or options.prometheus:
        run = partial(run_stats_server, gateway)
        yield Role(Kind.STATS_SERVER, 1, run, stop_rank=2, gateway=gateway)


def _runs(kind: Kind, options: Options) -> bool:
    """Whether there is user code to run by a child of that kind."""
    app = options.app
    has_code = app.is_there if kind is Kind.APP else bool(app.wsgi_file or app.module)
    return has_code and app.is_served is (kind is Kind.APP)
