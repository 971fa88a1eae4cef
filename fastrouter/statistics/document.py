"""The statistics of a router, over all of its workers: those of uWSGI's stats server, and more."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from fastrouter import __version__
from fastrouter.memory.cells import COUNTERS, HISTOGRAMS, Counter, Histogram, Slot, Table, Worker
from fastrouter.memory.outcomes import ERRORS, error_cell
from fastrouter.memory.shared import NodeRecord, SharedState
from fastrouter.place import current_directory
from fastrouter.statistics.census import Census
from fastrouter.statistics.unserved import unserved_keys
from fastrouter.text import to_text
from fastrouter.wire.announcement import Reason, pool_hash

__all__ = ["SECOND", "TIME_BUCKETS", "counted", "is_leaving", "is_resting", "snapshot"]

SECOND = 1_000_000_000
"""In nanoseconds."""

TIME_BUCKETS = tuple((Histogram.FIRST << bucket) / SECOND for bucket in range(Histogram.BUCKETS - 1))
"""Upper bounds in seconds; one more bucket has the rest."""


def snapshot(
    state: SharedState,
    router: str,
    sockets: Sequence[str],
    census: Census,
    configured: Sequence[str],
    most: int,
) -> dict[str, Any]:
    """Everything that is counted, now; subscriptions are an iterator, and are counted while it is read.

    router is the prefix of the gateway, sockets are the addresses that it is bound to. configured are those
    of its static nodes, which have the first slots; most is the number of announced nodes to be listed.
    """
    census.take()
    cells = state.cells
    used = max(cells[Table.SLOTS_USED], census.first_slot)
    workers = [_worker(state, number, used) for number in range(state.layout.workers)]
    listed = census.first(most)
    return {
        "version": __version__,
        "pid": os.getppid(),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "cwd": current_directory(),
        "active_sessions": sum(worker["sessions"] for worker in workers),
        "router": router,
        router: list(sockets),
        "pools": len(census.pools),
        "announced_nodes": census.nodes,
        "nodes_left_out": census.nodes - sum(map(len, listed.values())),
        "subscriptions": _pools(state, listed),
        "cheap": int(all(worker["cheap"] for worker in workers)),
        "accepted": sum(state.worker_cells(row)[Worker.ACCEPTED] for row in range(state.layout.rows)),
        "errors": sum(state.worker_cells(row)[Worker.ERRORS] for row in range(state.layout.rows)),
        "errors_by_kind": _kinds(state, range(state.layout.rows)),
        "unserved_keys": unserved_keys(state),
        "time_buckets": list(TIME_BUCKETS),
        "announcements": {
            "accepted": cells[Table.ACCEPTED],
            "refused": {reason.name.lower(): cells[Table.REFUSED + reason] for reason in Reason},
        },
        "nodes": [_node(state, slot, name) for slot, name in enumerate(configured)],
        "router_workers": workers,
    }


def _kinds(state: SharedState, rows: Iterable[int]) -> dict[str, int]:
    """Errors of sessions, by kind."""
    cells = [state.worker_cells(row) for row in rows]
    return {name: sum(row[error_cell(status)] for row in cells) for status, name in ERRORS.items()}


def _worker(state: SharedState, number: int, slots: int) -> dict[str, Any]:
    """What one router worker counts, of all nodes together, which are in so many slots."""
    cells = state.worker_cells(number)
    counters = _sums(state.counters(number)[: slots * COUNTERS], COUNTERS)
    times = _sums(state.histograms(number)[: slots * HISTOGRAMS], HISTOGRAMS)
    return {
        "id": number + 1,
        "accepted": cells[Worker.ACCEPTED],
        "sessions": cells[Worker.SESSIONS],
        "errors": cells[Worker.ERRORS],
        "errors_by_kind": _kinds(state, [number]),
        "cheap": cells[Worker.CHEAP],
        "distrusted_nodes": cells[Worker.SURPLUS],
        **_with_connect_failures({name: counters[at] for name, (at, _) in _COUNTERS.items()}),
        **_times(times),
    }


def _sums(cells: memoryview, width: int) -> Sequence[int]:
    """The sum of each column of a table. A row is added as one long number: none of its cells overflows."""
    data, size = cells.cast("B"), 8 * width
    rows = (int.from_bytes(data[at : at + size], sys.byteorder) for at in range(0, len(data), size))
    return memoryview(sum(rows).to_bytes(size, sys.byteorder)).cast("Q")


_COUNTERS: dict[str, tuple[int, int | None]] = {
    "requests": (Counter.REQUESTS, Slot.REQUESTS_BEFORE),
    "tx": (Counter.TX, Slot.TX_BEFORE),
    "rx": (Counter.RX, Slot.RX_BEFORE),
    "ref": (Counter.ACTIVE, None),
    "failcnt": (Counter.FAILURES, Slot.FAILURES_BEFORE),
    "unanswered": (Counter.UNANSWERED, Slot.UNANSWERED_BEFORE),
    "timeouts": (Counter.TIMEOUTS, Slot.TIMEOUTS_BEFORE),
}
"""Where it is counted, and what had been counted there when the node joined."""


def counted(state: SharedState, slot: int, name: str) -> int:
    """One of the counters of a node, since it joined."""
    counter, before = _COUNTERS[name]
    total = state.total(slot, counter)
    return total if before is None else total - int(state.cells[state.slot_cell(slot, before)])


def _with_connect_failures(statistics: dict[str, Any]) -> dict[str, Any]:
    """failcnt has all kinds; what it has beside those that are counted themselves was never connected."""
    others = statistics["unanswered"] + statistics["timeouts"]
    return {**statistics, "connect_failures": max(statistics["failcnt"] - others, 0)}


def _times(cells: Sequence[int]) -> dict[str, Any]:
    """Both histograms of some node, or of several: how often in which bucket, and seconds in all."""
    found = {}
    for name, at in (("connect_time", Histogram.CONNECT), ("response_time", Histogram.RESPONSE)):
        counts = list(cells[at : at + Histogram.BUCKETS])
        while counts and not counts[-1]:
            counts.pop()
        found[name] = {"sum": cells[at + Histogram.SUM] / SECOND, "counts": counts}
    return found


def _pools(state: SharedState, pools: Mapping[bytes, Sequence[int]]) -> Iterator[dict[str, Any]]:
    for key, slots in pools.items():
        records = [(slot, state.read(slot)) for slot in slots]
        # Another one may have come to its place by the time that it is its turn.
        nodes = [_announced(state, slot, record) for slot, record in records if record and record.key == key]
        if not nodes:
            continue
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
        "modifier1": record.traits.modifier1,
        "modifier2": record.traits.modifier2,
        "last_check": (time.time_ns() - silent) // SECOND,
        "pid": 0,
        "uid": 0,
        "gid": 0,
        "requests": node.pop("requests"),
        "last_requests": state.total(slot, Counter.REQUESTS) - cells[cell + Slot.REQUESTS_AT_LAST],
        "tx": node.pop("tx"),
        "rx": node.pop("rx"),
        "cores": cells[cell + Slot.CORES],
        "load": cells[cell + Slot.LOAD],
        "weight": record.traits.weight,
        "wrr": 0,
        "ref": node.pop("ref"),
        "failcnt": node.pop("failcnt"),
        "death_mark": int(is_leaving(state, slot, record.id, record.draining)),
        **node,
        "backup": record.traits.backup,
        "algo": record.traits.algorithm,
        "max_conns": record.traits.max_conns,
        "draining": record.draining,
        "resolved": to_text(record.resolved),
    }


def _node(state: SharedState, slot: int, name: str) -> dict[str, Any]:
    """What is counted of every node, since it joined."""
    statistics = {figure: counted(state, slot, figure) for figure in _COUNTERS}
    return {
        "name": name,
        **_with_connect_failures(statistics),
        "resting": is_resting(state, slot),
        **_times(state.times(slot)),
    }


def is_resting(state: SharedState, slot: int) -> bool:
    """Whether a node rests after failures."""
    return int(state.cells[state.slot_cell(slot, Slot.REST)]) > time.monotonic_ns()


def is_leaving(state: SharedState, slot: int, id_: int, draining: bool) -> bool:
    """Whether an announced node gets no more requests: it drains, or could not be reached."""
    return draining or state.cells[state.slot_cell(slot, Slot.MARK)] == id_
