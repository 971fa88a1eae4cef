"""The statistics that SIGUSR1 writes to the log."""

import logging
from collections.abc import Iterable

import psutil

from fastrouter.memory.cells import App, Table, Worker
from fastrouter.wire.announcement import Reason
from master.child import Child, Kind
from workers.context import Context, Gateway

__all__ = ["log_statistics"]

log = logging.getLogger("fastrouter")


def log_statistics(children: Iterable[Child], context: Context) -> None:
    """One line a child: its process, as the kernel sees it, and its work, as it counts it."""
    for gateway in context.gateways:
        _log_gateway(gateway)
    _log_children(children, context)


def _log_gateway(gateway: Gateway) -> None:
    cells = gateway.state.cells
    refused = {reason.name.lower(): cells[Table.REFUSED + reason] for reason in Reason}
    why = ", ".join(f"{count} {name}" for name, count in refused.items() if count)
    log.info(
        "statistics: %s: %d announcements accepted, %d refused%s",
        gateway.prefix,
        cells[Table.ACCEPTED],
        sum(refused.values()),
        f" ({why})" if why else "",
    )
    retired = gateway.state.worker_cells(gateway.state.layout.workers)
    if retired[Worker.ACCEPTED]:
        log.info(
            "statistics: %s workers before the last reload: %d accepted, %d errors",
            gateway.prefix,
            retired[Worker.ACCEPTED],
            retired[Worker.ERRORS],
        )


def _log_children(children: Iterable[Child], context: Context) -> None:
    for child in children:
        if not child.is_alive:
            log.info("statistics: %s is %s", child.name, child.state.value)
            continue
        try:
            process = psutil.Process(child.pid)
            with process.oneshot():
                times = process.cpu_times()
                memory = process.memory_info().rss >> 20
                descriptors = process.num_fds()
        except psutil.Error:
            continue  # it died between here and there
        log.info(
            "statistics: %s (pid %d): %.2f s of CPU, %d MB, %d descriptors%s",
            child.name,
            child.pid,
            times.user + times.system,
            memory,
            descriptors,
            _work(child, context),
        )


def _work(child: Child, context: Context) -> str:
    if child.role.kind is Kind.GATEWAY and child.role.gateway is not None:
        cells = child.role.gateway.state.worker_cells(child.index)
        accepted, sessions, errors = cells[Worker.ACCEPTED], cells[Worker.SESSIONS], cells[Worker.ERRORS]
        return f", {accepted} accepted, {sessions} open, {errors} errors"
    if child.role.kind is Kind.APP:
        threads = context.options.app.threads
        first = child.index * threads
        served = sum(context.apps.cells(thread)[App.REQUESTS] for thread in range(first, first + threads))
        return f", {served} requests"
    return ""
