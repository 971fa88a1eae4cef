"""The process that announces the local application."""

import logging
import signal
from collections.abc import Callable

from fastrouter.options import Options
from fastrouter.subscriptions.subscriber import Subscription, parse_subscriptions
from fastrouter.wire.announcement import Announcement
from workers.announcing.rounds import Announcer
from workers.announcing.transmitter import Transmitter
from workers.context import Context
from workers.loop import Loop
from workers.resolver import Resolver

__all__ = ["is_announced", "run_announcer", "what_is_announced"]

log = logging.getLogger("fastrouter")


def run_announcer(context: Context, index: int, ready: Callable[[], None]) -> int:
    """Announce until told to stop, then unsubscribe. Returns the exit code."""
    options = context.options.announcer
    subscriptions = _subscriptions(context.options)
    for text in (*options.subscribe_to, *options.subscribe2):
        log.info("subscribing to %s", text)

    def tick() -> None:
        resolver.tick()
        announcer.tick(program.is_paused, program.is_silent)

    def stop() -> None:
        loop.running = False

    program = context.program
    loop = Loop(tick)
    resolver = Resolver(loop, lambda host: announcer.announce())
    announcer = Announcer(
        Transmitter(resolver),
        subscriptions,
        lambda subscription: _template(context, subscription),
        options.frequency,
    )
    _remember(context, announcer)
    loop.handle_signals({signal.SIGTERM: stop, signal.SIGINT: stop})
    if not (program.is_paused or program.is_silent):
        announcer.begin()
    ready()  # who served before is told to end now
    loop.run()
    if not program.is_silent:
        announcer.unsubscribe()
    return 0


def is_announced(options: Options) -> bool:
    """Whether there is anything to announce: an application, or a node somewhere else."""
    return bool(_subscriptions(options))


def _subscriptions(options: Options) -> list[Subscription]:
    """Those of nodes that can answer: our own sockets do so with an application only."""
    announcer = options.announcer
    wanted = parse_subscriptions(announcer.subscribe_to, announcer.subscribe2)
    return [one for one in wanted if one.address or options.app.is_there]


def _template(context: Context, subscription: Subscription) -> Announcement:
    options = context.options
    cores = options.app.processes * options.app.threads
    override = options.announcer.with_modifier1
    listeners = context.shared_listeners if subscription.shared else context.app_listeners
    address = subscription.address or listeners[subscription.socket].name
    return Announcement(
        key="",
        address=address,
        traits=subscription.traits._replace(
            modifier1=subscription.traits.modifier1 if override is None else override,
            weight=cores if options.announcer.auto_weight else options.announcer.weight,
            fd_passing=not options.sockets.no_fd_passing and address in context.own_nodes,
        ),
        cores=cores,
        notify=options.announcer.notify_socket,
    )


def what_is_announced(context: Context) -> dict[str, list[str]]:
    """For the announcer after a reload, which takes back what is announced no more."""
    options = context.options.announcer
    return {
        "subscribe_to": options.subscribe_to,
        "subscribe2": options.subscribe2,
        "sockets": [listener.name for listener in context.app_listeners],
        "shared": [listener.name for listener in context.shared_listeners],
    }


def _remember(context: Context, announcer: Announcer) -> None:
    said = context.announced
    if not said:
        return
    for subscription in parse_subscriptions(said["subscribe_to"], said["subscribe2"]):
        addresses = said["shared"] if subscription.shared else said["sockets"]
        address = subscription.address or addresses[subscription.socket]
        announcer.remember(subscription, Announcement("", address))
