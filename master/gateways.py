"""Making the gateways of a configuration: their sockets, memory, pipes and logs."""

import os
import socket

from fastrouter.memory.shared import Layout, SharedState
from fastrouter.options import GatewayOptions, Options
from fastrouter.subscriptions.subscriber import parse_subscriptions
from fastrouter.text import to_bytes
from master.reloading.handover import Handover
from master.sockets import BindError, Sockets
from workers.context import Context, Gateway, Listener, Pipe
from workers.sinks import open_log
from workers.table.static_names import named_slots

__all__ = ["bind_all", "make_gateways", "open_access_logs"]


def make_gateways(context: Context, more_workers: int) -> None:
    """Make the gateways that are configured, each with so many more workers than its options say."""
    first_reader = 0
    for options in context.options.gateways:
        workers = max(options.processes + more_workers, 1)
        state = SharedState(Layout(_slots(options, context.options), workers))
        context.gateways.append(Gateway(context, options, state, workers, first_reader=first_reader))
        first_reader += workers


def _slots(options: GatewayOptions, program: Options) -> int:
    return options.configured_slots + program.subscription.max_nodes


def bind_all(context: Context, sockets: Sockets) -> None:
    """Bind everything. Raises BindError."""
    options = context.options
    context.shared_listeners = sockets.shared
    for gateway in context.gateways:
        router = gateway.options
        bound = sockets.bind(router.addresses, router.DEFERS)
        for text, listener in zip(router.addresses, bound, strict=True):
            gateway.keys[listener.socket.fileno()] = to_bytes(_key(text, listener))
        gateway.listeners = bound + sockets.attach(router.zerg)
        gateway.subscription_listeners = sockets.bind_datagrams(router.subscription_server)
    context.app_listeners = sockets.bind(options.app.sockets)
    context.app_listeners += sockets.attach(options.app.zerg, options.app.zerg_fallback)
    if problem := _missing_socket(context):
        raise BindError(problem)
    context.zerg_pools = sockets.zerg_pools(context.app_listeners)
    context.own_nodes = _own_nodes(context)
    context.ready = _pipe()
    for gateway in context.gateways:
        router = gateway.options
        gateway.stats_listeners = sockets.bind_plain(router.stats)
        gateway.prometheus_listeners = sockets.bind_plain(router.prometheus)
        gateway.deltas = [_pipe() for _ in range(gateway.workers)]
        if router.subscription_server or named_slots(router):
            gateway.failures = _pipe()


def _key(text: str, listener: Listener) -> str:
    """What a listener is called as a key: as it is configured, if that says where it is (as in uWSGI)."""
    says_where = not text.startswith(("=", "fd://")) and not text.endswith(":0")
    return text if says_where else listener.name


def _own_nodes(context: Context) -> frozenset[str]:
    offered = {listener.socket.fileno() for pool in context.zerg_pools for listener in pool.listeners}
    return frozenset(
        listener.name
        for listener in context.app_listeners
        if listener.socket.family == socket.AF_UNIX
        and not listener.inherited
        and listener.socket.fileno() not in offered
    )


def _missing_socket(context: Context) -> str:
    """What is asked for that even the zerg servers did not offer; empty when nothing is."""
    options, there_are = context.options, len(context.app_listeners)
    if options.app.is_served and not there_are:
        return "the zerg servers gave no sockets, and there are none besides"
    for gateway in context.gateways:
        if (gateway.options.use_socket or 0) >= there_are > 0:
            number = gateway.options.use_socket
            return f"{gateway.prefix}-use-socket = {number}: there are {there_are} sockets"
    announcer = options.announcer
    for subscription in parse_subscriptions(announcer.subscribe_to, announcer.subscribe2):
        if not (subscription.address or subscription.shared) and subscription.socket >= there_are:
            return f"there is no socket number {subscription.socket} to announce, only {there_are}"
    return ""


def open_access_logs(context: Context, handover: Handover) -> None:
    """Raises OSError. Where a file cannot be opened any more after a reload, the former one serves."""
    for gateway in context.gateways:
        former = handover.gateways.get(gateway.prefix)
        _open_access_log(gateway, former.access_log if former is not None else -1)


def _open_access_log(gateway: Gateway, former: int) -> None:
    path = gateway.options.log
    if path:
        gateway.access_log_path = os.path.abspath(path)
        try:
            gateway.access_log = open_log(path)
        except OSError as error:
            if former < 0:
                raise OSError(error.errno, f"cannot log requests to {path}: {error.strerror}") from None
            gateway.access_log = former
            return
    if former >= 0:
        os.close(former)


def _pipe() -> Pipe:
    return Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
