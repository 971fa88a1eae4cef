"""The kinds of children that a configuration asks for."""

from functools import partial

from fastrouter.options import Options
from master.child import Role
from master.reloading.reload import SUBSCRIPTION_SERVER
from master.supervisor import APP, ROUTERS
from workers.announcing.application import is_announced, run_announcer
from workers.app.worker import run_app
from workers.gateways.fastrouter import FastrouterExchange
from workers.routing.router import run_router
from workers.stats_server import run_stats_server
from workers.table.static_names import named_slots
from workers.table.subscription_server import run_subscription_server
from workers.usercode.script import run_script
from workers.zerg_server import run_zerg_server

__all__ = ["ROUTER", "roles"]

ROUTER = "router worker"
"""The role whose children route."""


def roles(options: Options) -> list[Role]:
    """The kinds of children, in the order in which they are forked.

    They are stopped in this order: no more announcements, then no more requests to route, then those that
    the application still has; the subscription server has to hear of failures until the end.
    """
    found = []
    if _runs("script", options):
        found.append(Role("script", 1, run_script, numbered=False, stop_rank=2, runs_user_code=True))
    router = options.router
    if router.is_there:
        names = named_slots(router)
        if router.subscription_server or names:
            found.append(Role(SUBSCRIPTION_SERVER, 1, run_subscription_server, numbered=False, stop_rank=3))
        own = (router.uid, router.gid)
        after = [SUBSCRIPTION_SERVER] if names or options.subscription.state else []
        if router.use_cache is not None:
            # What a script puts in a cache is to be there before the first request.
            after += [role for role in ("script", APP) if _runs(role, options)]
        found.append(
            Role(
                ROUTER,
                router.processes,
                partial(run_router, exchange=FastrouterExchange),
                numbered=True,
                stop_rank=ROUTERS,
                after=tuple(after),
                privileged_as=own,
            )
        )
    if router.stats or router.prometheus:
        found.append(Role("stats server", 1, run_stats_server, numbered=False, stop_rank=2))
    if options.app.is_served:
        processes = options.app.processes
        found.append(Role(APP, processes, run_app, numbered=True, stop_rank=2, runs_user_code=True))
    sockets = options.sockets
    if sockets.zerg_server or sockets.zergpool:
        found.append(Role("zerg server", 1, run_zerg_server, numbered=False, stop_rank=0))
    if is_announced(options):
        found.append(Role("announcer", 1, run_announcer, numbered=False, stop_rank=0, after=(APP,)))
    return found


def _runs(role: str, options: Options) -> bool:
    """Whether there is user code to run by a child of that role."""
    has_code = options.app.is_there if role == APP else bool(options.app.wsgi_file or options.app.module)
    return has_code and options.app.is_served is (role == APP)
