"""The statistics in Prometheus' text format, version 0.0.4, written piece by piece.

All samples of a metric come together there, so that nodes are gone through once for each metric.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

from fastrouter.memory.cells import Histogram, Slot
from fastrouter.memory.shared import SharedState
from fastrouter.statistics.document import SECOND, TIME_BUCKETS, counted, is_leaving, is_resting
from fastrouter.text import to_text

__all__ = ["CONTENT_TYPE", "metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Node(NamedTuple):
    """What is kept of a node while the metrics are gone through."""

    labels: str
    slot: int
    sequence: int
    """Of the slot: another one means that another node may be there."""
    id: int = 0
    """0 for a configured node."""
    draining: bool = False
    weight: int = 0


def _counter(name: str) -> Callable[[SharedState, _Node], int | None]:
    return lambda state, node: counted(state, node.slot, name)


def _connect_failures(state: SharedState, node: _Node) -> int:
    failures, unanswered, timeouts = (
        counted(state, node.slot, name) for name in ("failcnt", "unanswered", "timeouts")
    )
    return max(failures - unanswered - timeouts, 0)


def _leaving(state: SharedState, node: _Node) -> int | None:
    return int(is_leaving(state, node.slot, node.id, node.draining)) if node.id else None


_NODE_METRICS: tuple[tuple[str, str, Callable[[SharedState, _Node], int | None]], ...] = (
    ("requests_total", "Requests sent to the node", _counter("requests")),
    ("failures_total", "Requests that the node did not take or answer", _counter("failcnt")),
    ("connect_failures_total", "Connections that were not made", _connect_failures),
    ("unanswered_total", "Connections that the node closed unanswered", _counter("unanswered")),
    ("timeouts_total", "Requests that the node did not answer in time", _counter("timeouts")),
    ("received_bytes_total", "Bytes sent to the node", _counter("rx")),
    ("sent_bytes_total", "Bytes received from the node", _counter("tx")),
    ("active_requests", "Requests that the node has now", _counter("ref")),
    ("leaving", "1 if the node gets no more requests", _leaving),
    ("resting", "1 if the node rests after failures", lambda state, node: int(is_resting(state, node.slot))),
    ("weight", "Announced weight", lambda state, node: node.weight if node.id else None),
)
"""Name behind ``fastrouter_node_``, meaning, and the value; None where a configured node has none."""

_WORKER_METRICS = (
    ("accepted", "accepted_total", "Connections that the router worker accepted"),
    ("requests", "requests_total", "Requests that it sent to nodes"),
    ("sessions", "sessions", "Sessions that it has"),
)
"""Key in the snapshot, name behind ``fastrouter_worker_``, meaning."""

_TIMES = (
    (Histogram.CONNECT, "connect_seconds", "Time until the connection to the node was made"),
    (Histogram.RESPONSE, "response_seconds", "Time from there until the first byte of its answer"),
)

_BOUNDS = [(at, f'le="{bound}"') for at, bound in enumerate(TIME_BUCKETS) if not at % 2]
"""Of histograms: every other bucket will do."""


def metrics(
    statistics: Mapping[str, Any], state: SharedState, listed: Mapping[bytes, Sequence[int]]
) -> Iterator[str]:
    """A snapshot, and the nodes in the slots that are listed by key."""
    common = f'router="{statistics["router"]}"'

    def total(name: str, meaning: str, value: int) -> Iterator[str]:
        return _family(name, meaning, [(f"{{{common}}}", value)])

    def labelled(label: str, values: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
        return ((f'{{{common},{label}="{value}"}}', count) for value, count in values)

    yield from total("sessions", "Open sessions", statistics["active_sessions"])
    yield from total("cheap", "1 in cheap mode", statistics["cheap"])
    yield from total("accepted_total", "Accepted connections", statistics["accepted"])
    yield from total("errors_total", "Sessions without an answer", statistics["errors"])
    kinds = statistics["errors_by_kind"].items()
    yield from _family("errors_by_kind_total", "The same, by kind", labelled("kind", kinds))
    accepted, refused = statistics["announcements"]["accepted"], statistics["announcements"]["refused"]
    yield from total("announcements_total", "Accepted announcements", accepted)
    reasons = labelled("reason", refused.items())
    yield from _family("announcements_refused_total", "Refused announcements", reasons)
    yield from total("pools", "Keys that have nodes", statistics["pools"])
    yield from total("nodes", "Announced nodes", statistics["announced_nodes"])
    meaning = "Announced nodes that are told of only when asked for, by /?nodes=1"
    yield from total("nodes_left_out", meaning, statistics["nodes_left_out"])
    for key, name, meaning in _WORKER_METRICS:
        values = [(str(worker["id"]), worker[key]) for worker in statistics["router_workers"]]
        yield from _family(f"worker_{name}", meaning, labelled("worker", values))
    yield from _of_nodes(statistics, state, listed, common)


def _of_nodes(
    statistics: Mapping[str, Any], state: SharedState, listed: Mapping[bytes, Sequence[int]], common: str
) -> Iterator[str]:
    nodes = []
    for node in _nodes(statistics, state, listed, common):
        nodes.append(node)
        yield ""  # whoever has other things to do may do them
    for name, meaning, value in _NODE_METRICS:
        yield from _family(f"node_{name}", meaning, _samples(state, nodes, value))
    for at, name, meaning in _TIMES:
        yield _head(f"node_{name}", meaning, "histogram")
        yield from map(partial(_histogram, state, name, at), _current(state, nodes))


def _nodes(
    statistics: Mapping[str, Any], state: SharedState, listed: Mapping[bytes, Sequence[int]], common: str
) -> Iterator[_Node]:
    seen: Counter[str] = Counter()
    for slot, configured in enumerate(statistics["nodes"]):
        name = configured["name"]
        seen[name] += 1
        # Several may have the same address, which in a label would make them one.
        name = f"{name} ({seen[name]})" if seen[name] > 1 else name
        yield _Node(_labels(common, "", name), slot, _sequence(state, slot))
    for key, slots in listed.items():
        for slot in slots:
            sequence, record = _sequence(state, slot), state.read(slot)
            if record is not None and record.key == key:
                labels = _labels(common, to_text(key), to_text(record.address))
                yield _Node(labels, slot, sequence, record.id, record.draining, record.traits.weight)


def _sequence(state: SharedState, slot: int) -> int:
    return int(state.cells[state.slot_cell(slot, Slot.SEQUENCE)])


def _current(state: SharedState, nodes: Iterable[_Node]) -> Iterator[_Node]:
    """Those in whose place there is no other by now."""
    return (node for node in nodes if _sequence(state, node.slot) == node.sequence)


def _samples(
    state: SharedState, nodes: Iterable[_Node], value: Callable[[SharedState, _Node], int | None]
) -> Iterator[tuple[str, int]]:
    for node in _current(state, nodes):
        found = value(state, node)
        if found is not None:
            yield f"{{{node.labels}}}", found


def _histogram(state: SharedState, name: str, first: int, node: _Node) -> str:
    """As Prometheus has them: how many took up to so long."""
    cells = state.times(node.slot)[first : first + Histogram.SUM + 1]
    counts = list(accumulate(cells[: Histogram.BUCKETS]))
    name, labels = f"fastrouter_node_{name}", node.labels
    lines = [f"{name}_bucket{{{labels},{bound}}} {counts[at]}\n" for at, bound in _BOUNDS]
    return (
        f'{"".join(lines)}{name}_bucket{{{labels},le="+Inf"}} {counts[-1]}\n'
        f"{name}_count{{{labels}}} {counts[-1]}\n"
        f"{name}_sum{{{labels}}} {cells[Histogram.SUM] / SECOND}\n"
    )


def _family(name: str, meaning: str, samples: Iterable[tuple[str, int]]) -> Iterator[str]:
    """A metric with its samples, each with its labels."""
    yield _head(name, meaning, "counter" if name.endswith("_total") else "gauge")
    for labels, value in samples:
        yield f"fastrouter_{name}{labels} {value}\n"


def _head(name: str, meaning: str, kind: str) -> str:
    return f"# HELP fastrouter_{name} {meaning}\n# TYPE fastrouter_{name} {kind}\n"


def _labels(common: str, key: str, name: str) -> str:
    return f'{common},key="{_escaped(key)}",node="{_escaped(name)}"'


def _escaped(text: str) -> str:
    """Keys are any bytes; labels are UTF-8, and a quote would end them."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
