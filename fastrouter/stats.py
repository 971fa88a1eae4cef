"""The figures of a router, over all of its workers: those of uWSGI's stats server, and more."""

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from fastrouter import __version__
from fastrouter.shared import Counter, NodeRecord, SharedState, Slot, Table, Worker
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
    workers = [_worker(state, number) for number in range(state.layout.workers)]
    return {
        "version": __version__,
        "pid": os.getppid(),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "cwd": os.getcwd(),
        "active_sessions": sum(worker["sessions"] for worker in workers),
        "fastrouter": list(sockets),
        "subscriptions": list(_pools(state, first_slot)),
        "cheap": int(all(worker["cheap"] for worker in workers)),
        "accepted": sum(state.worker_cells(row)[Worker.ACCEPTED] for row in range(state.layout.rows)),
        "errors": sum(state.worker_cells(row)[Worker.ERRORS] for row in range(state.layout.rows)),
        "announcements": {
            "accepted": cells[Table.ACCEPTED],
            "refused": {reason.name.lower(): cells[Table.REFUSED + reason] for reason in Reason},
        },
        "nodes": [_node(state, slot, name) for slot, name in enumerate(configured)],
        "workers": workers,
    }


def _worker(state: SharedState, number: int) -> dict[str, Any]:
    cells = state.worker_cells(number)
    return {
        "id": number + 1,
        "accepted": cells[Worker.ACCEPTED],
        "sessions": cells[Worker.SESSIONS],
        "errors": cells[Worker.ERRORS],
        "cheap": cells[Worker.CHEAP],
    }


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
    return {
        "name": name,
        "requests": state.total(slot, Counter.REQUESTS) - cells[cell + Slot.REQUESTS_BEFORE],
        "tx": state.total(slot, Counter.TX) - cells[cell + Slot.TX_BEFORE],
        "rx": state.total(slot, Counter.RX) - cells[cell + Slot.RX_BEFORE],
        "ref": state.total(slot, Counter.ACTIVE),
        "failcnt": state.total(slot, Counter.FAILURES) - cells[cell + Slot.FAILURES_BEFORE],
        "resting": until > time.monotonic_ns(),
    }
