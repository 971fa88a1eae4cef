"""What a program takes over from the one before a reload, and hands over to the next."""

import logging
import os

from fastrouter.memory.memfd import shared_memory
from fastrouter.memory.program import ProgramCells
from fastrouter.memory.shared import FORMAT, Layout
from fastrouter.memory.takeover import KNOWN_FORMATS, Takeover, former_memory
from master.caches import make_caches, make_signed_times, signed_times_name
from master.control.fifo import Fifo
from master.logs import LogHandler
from master.reloading.handover import GatewayHandover, Handover
from master.reloading.predecessors import Predecessors
from master.sockets import Sockets
from workers.announcing.application import is_announced, what_is_announced
from workers.context import Context, Gateway

__all__ = ["close_unused", "hand_over", "take_over"]

log = logging.getLogger("fastrouter")

_PAUSED, _SILENT = 30, 31
"""Cells of a table in which programs of version 0.1.0 have what is the whole program's now."""


def take_over(context: Context, handover: Handover) -> Predecessors:
    """Make what outlives children, with what the program before a reload had of it."""
    context.locks = handover.locks if handover.locks >= 0 else shared_memory("fastrouter-locks", 0)
    _take_caches(context, handover)
    takeovers = []
    for gateway in context.gateways:
        former = handover.gateways.get(gateway.prefix)
        takeover = _take_table(gateway, former) if former is not None else None
        if takeover is not None:
            takeovers.append(takeover)
            if handover.program < 0:
                context.program.is_paused = bool(gateway.state.cells[_PAUSED])
                context.program.is_silent = bool(gateway.state.cells[_SILENT])
    if handover.program >= 0:
        context.program.close()
        context.program = ProgramCells(handover.program)
    elif not handover.is_there:
        context.program.is_silent = context.options.announcer.start_unsubscribed
    context.announced = handover.announced
    mercy = 0.0 if handover.is_brutal else context.options.master.mercy
    return Predecessors(handover.children, takeovers, mercy, is_announced(context.options))


def _take_caches(context: Context, handover: Handover) -> None:
    context.caches = make_caches(context, handover.caches)
    used = {cache.fd for cache in context.caches.values()}
    for gateway in context.gateways:
        gateway.signed_times = make_signed_times(gateway, handover.caches)
        if gateway.signed_times is not None:
            used.add(gateway.signed_times.fd)
    for fd in set(handover.caches.values()) - used:
        os.close(fd)


def _take_table(gateway: Gateway, former: GatewayHandover) -> Takeover | None:
    """None when the former memory is of an unknown format."""
    gateway.name = former.name
    layout = Layout(former.slots, former.workers, former.apps)
    memory = former_memory(former.format, layout, former.state)
    if memory is None:
        return None
    takeover = Takeover(gateway.state, memory, gateway.options.configured_nodes, former.configured)
    if takeover.left_out:
        log.error("%d nodes found no room in the table (subscription-max-nodes)", takeover.left_out)
    return takeover


def close_unused(context: Context, handover: Handover) -> None:
    """Close what no gateway has taken over. Until now, the program before might have needed it again."""
    prefixes = {gateway.prefix for gateway in context.gateways}
    for prefix, former in handover.gateways.items():
        if prefix not in prefixes:
            for fd in former.descriptors:
                os.close(fd)
        elif former.format not in KNOWN_FORMATS:
            os.close(former.state)


def hand_over(
    context: Context, sockets: Sockets, handler: LogHandler, fifo: Fifo, fallback: dict[str, int]
) -> Handover:
    """What the next program gets at a reload, but for the children."""
    caches = {name: cache.fd for name, cache in context.caches.items()}
    for gateway in context.gateways:
        if gateway.signed_times is not None:
            caches[signed_times_name(gateway)] = gateway.signed_times.fd
    return Handover(
        sockets=sockets.bound,
        given=sorted(sockets.given),
        log=handler.fd,
        fifos=dict(fifo.descriptors),
        active_fifo=fifo.active,
        gateways={gateway.prefix: _of(gateway) for gateway in context.gateways},
        program=context.program.fd,
        announced=what_is_announced(context),
        umask=context.umask,
        caches=caches,
        locks=context.locks,
        command=context.command,
        fallback=fallback,
    )


def _of(gateway: Gateway) -> GatewayHandover:
    layout = gateway.state.layout
    return GatewayHandover(
        state=gateway.state.fd,
        format=FORMAT,
        slots=layout.slots,
        workers=layout.workers,
        apps=layout.apps,
        configured=gateway.options.configured_nodes,
        name=gateway.name,
        access_log=gateway.access_log,
    )
