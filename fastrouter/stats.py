"""The figures of a router, over all of its workers: those of uWSGI's stats server, and more."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any

from fastrouter import __version__
from fastrouter.cells import COUNTERS, ERROR_KINDS, HISTOGRAMS, Counter, Histogram, Slot, Table, Worker
from fastrouter.place import current_directory
from fastrouter.shared import NodeRecord, SharedState
from fastrouter.subscription import Reason, pool_hash
from fastrouter.text import to_text

__all__ = ["snapshot"]

_SECOND = 1_000_000_000


def snapshot(
    state: SharedState, sockets: Sequence[str], first_slot: int, configured: Sequence[str]
) -> dict[str, Any]:
    """Everything that is counted, now.

    sockets are the addresses that the router is bound to, configured those of its static nodes, which have
    the first slots; first_slot is the first one of announced nodes.
    """
    cells = state.cells
    used = max(cells[Table.SLOTS_USED], first_slot)
    workers = [_worker(state, number, used) for number in range(state.layout.workers)]
    return {
        "version": __version__,
        "pid": os.getppid(),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "cwd": current_directory(),
        "active_sessions": sum(worker["sessions"] for worker in workers),
        "fastrouter": list(sockets),
        "subscriptions": list(_pools(state, first_slot)),
        "cheap": int(all(worker["cheap"] for worker in workers)),
        "accepted": sum(state.worker_cells(row)[Worker.ACCEPTED] for row in range(state.layout.rows)),
        "errors": sum(state.worker_cells(row)[Worker.ERRORS] for row in range(state.layout.rows)),
        "errors_by_kind": _kinds(state, range(state.layout.rows)),
        "time_buckets": [(Histogram.FIRST << bucket) / _SECOND for bucket in range(Histogram.BUCKETS - 1)],
        "announcements": {
            "accepted": cells[Table.ACCEPTED],
            "refused": {reason.name.lower(): cells[Table.REFUSED + reason] for reason in Reason},
        },
        "nodes": [_node(state, slot, name) for slot, name in enumerate(configured)],
        "workers": workers,
    }


def _kinds(state: SharedState, rows: Iterable[int]) -> dict[str, int]:
    """Errors of sessions, by kind."""
    cells = [state.worker_cells(row) for row in rows]
    return {kind: sum(row[Worker.KINDS + at] for row in cells) for at, kind in enumerate(ERROR_KINDS)}


def _worker(state: SharedState, number: int, slots: int) -> dict[str, Any]:
    """What one router worker counts, of all nodes together, which are in so many slots."""
    cells = state.worker_cells(number)
    counters, times = state.counters(number), state.histograms(number)
    sums = {name: sum(counters[at : slots * COUNTERS : COUNTERS]) for name, at in _COUNTERS.items()}
    rows = [times[at : slots * HISTOGRAMS : HISTOGRAMS] for at in range(HISTOGRAMS)]
    return {
        "id": number + 1,
        "accepted": cells[Worker.ACCEPTED],
        "sessions": cells[Worker.SESSIONS],
        "errors": cells[Worker.ERRORS],
        "errors_by_kind": _kinds(state, [number]),
        "cheap": cells[Worker.CHEAP],
        "distrusted_nodes": cells[Worker.SURPLUS],
        **_with_connect_failures(sums),
        **_times([sum(row) for row in rows]),
    }


_COUNTERS = {
    "requests": Counter.REQUESTS,
    "tx": Counter.TX,
    "rx": Counter.RX,
    "ref": Counter.ACTIVE,
    "failcnt": Counter.FAILURES,
    "unanswered": Counter.UNANSWERED,
    "timeouts": Counter.TIMEOUTS,
}


def _with_connect_failures(figures: dict[str, Any]) -> dict[str, Any]:
    """failcnt has all kinds; what it has beside those that are counted themselves was never connected."""
    others = figures["unanswered"] + figures["timeouts"]
    return {**figures, "connect_failures": max(figures["failcnt"] - others, 0)}


def _times(cells: Sequence[int]) -> dict[str, Any]:
    """Both histograms of some node, or of several: how often in which bucket, and seconds in all."""
    found = {}
    for name, at in (("connect_time", Histogram.CONNECT), ("response_time", Histogram.RESPONSE)):
        counts = list(cells[at : at + Histogram.BUCKETS])
        while counts and not counts[-1]:
            counts.pop()
        found[name] = {"sum": cells[at + Histogram.SUM] / _SECOND, "counts": counts}
    return found


def _pools(state: SharedState, first_slot: int) -> Iterator[dict[str, Any]]:
    """In the order of their first announcements, and so their nodes."""
    found: list[tuple[NodeRecord, int]] = []
    for slot in range(first_slot, state.cells[Table.SLOTS_USED]):
        record = state.read(slot)
        if record is not None:
            found.append((record, slot))
    pools: dict[bytes, list[dict[str, Any]]] = {}
    for record, slot in sorted(found, key=lambda one: one[0].order):
        pools.setdefault(record.key, []).append(_announced(state, slot, record))
    for key, nodes in pools.items():
        yield {
            "key": to_text(key),
            "hash": pool_hash(to_text(key)),
            "hits": sum(node["requests"] + node["failcnt"] for node in nodes),
            "sni_enabled": 0,
            "nodes": nodes,
            **{name: sum(node[name] for node in nodes) for name in (*_COUNTERS, "connect_failures")},
            **{name: _together([node[name] for node in nodes]) for name in ("connect_time", "response_time")},
        }


def _together(histograms: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counts = zip_longest(*(histogram["counts"] for histogram in histograms), fillvalue=0)
    return {
        "sum": sum(histogram["sum"] for histogram in histograms),
        "counts": [sum(column) for column in counts],
    }


def _announced(state: SharedState, slot: int, record: NodeRecord) -> dict[str, Any]:
    cell = state.slot_cell(slot, 0)
    cells = state.cells
    silent = time.monotonic_ns() - cells[cell + Slot.LAST_ANNOUNCED]
    node = _node(state, slot, to_text(record.address))
    return {
        "name": node.pop("name"),
        "modifier1": record.modifier1,
        "modifier2": record.modifier2,
        "last_check": (time.time_ns() - silent) // _SECOND,
        "pid": 0,
        "uid": 0,
        "gid": 0,
        "requests": node.pop("requests"),
        "last_requests": state.total(slot, Counter.REQUESTS) - cells[cell + Slot.REQUESTS_AT_LAST],
        "tx": node.pop("tx"),
        "rx": node.pop("rx"),
        "cores": cells[cell + Slot.CORES],
        "load": cells[cell + Slot.LOAD],
        "weight": record.weight,
        "wrr": 0,
        "ref": node.pop("ref"),
        "failcnt": node.pop("failcnt"),
        "death_mark": int(record.draining or cells[cell + Slot.MARK] == record.id),
        **node,
        "backup": record.backup,
        "algo": to_text(record.algorithm),
        "max_conns": record.max_conns,
        "draining": record.draining,
        "resolved": to_text(record.resolved),
    }


def _node(state: SharedState, slot: int, name: str) -> dict[str, Any]:
    """What is counted of every node, since it joined."""
    cells, cell = state.cells, state.slot_cell(slot, 0)
    until = cells[cell + Slot.REST]
    before = {
        "requests": Slot.REQUESTS_BEFORE,
        "tx": Slot.TX_BEFORE,
        "rx": Slot.RX_BEFORE,
        "failcnt": Slot.FAILURES_BEFORE,
        "unanswered": Slot.UNANSWERED_BEFORE,
        "timeouts": Slot.TIMEOUTS_BEFORE,
    }
    counted = {name: state.total(slot, counter) for name, counter in _COUNTERS.items()}
    counted |= {name: counted[name] - cells[cell + at] for name, at in before.items()}
    return {
        "name": name,
        **_with_connect_failures(counted),
        "resting": until > time.monotonic_ns(),
        **_times(state.times(slot)),
    }
