"""The figures in Prometheus' text format."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

__all__ = ["metrics"]

_NODE_METRICS = (
    ("requests", "requests_total", CounterMetricFamily, "Requests sent to the node"),
    ("failcnt", "failures_total", CounterMetricFamily, "Requests that the node did not take or answer"),
    ("connect_failures", "connect_failures_total", CounterMetricFamily, "Connections that were not made"),
    ("unanswered", "unanswered_total", CounterMetricFamily, "Connections that the node closed unanswered"),
    ("timeouts", "timeouts_total", CounterMetricFamily, "Requests that the node did not answer in time"),
    ("rx", "received_bytes_total", CounterMetricFamily, "Bytes sent to the node"),
    ("tx", "sent_bytes_total", CounterMetricFamily, "Bytes received from the node"),
    ("ref", "active_requests", GaugeMetricFamily, "Requests that the node has now"),
    ("death_mark", "leaving", GaugeMetricFamily, "1 if the node gets no more requests"),
    ("resting", "resting", GaugeMetricFamily, "1 if the node rests after failures"),
    ("weight", "weight", GaugeMetricFamily, "Announced weight"),
)
"""Key in the snapshot, name behind ``fastrouter_node_``, kind, meaning."""


_WORKER_METRICS = (
    ("accepted", CounterMetricFamily, "Connections that the router worker accepted"),
    ("requests", CounterMetricFamily, "Requests that it sent to nodes"),
    ("sessions", GaugeMetricFamily, "Sessions that it has"),
)
"""Key in the snapshot, which is also in the name; kind, meaning."""

_TIMES = (
    ("connect_time", "connect_seconds", "Time until the connection to the node was made"),
    ("response_time", "response_seconds", "Time from there until the first byte of its answer"),
)


def metrics(figures: dict[str, Any]) -> tuple[bytes, str]:
    """A snapshot in Prometheus' text format, and the content type of that."""

    class Snapshot(Collector):
        def collect(self) -> Iterator[Metric]:
            yield GaugeMetricFamily("fastrouter_sessions", "Open sessions", figures["active_sessions"])
            yield GaugeMetricFamily("fastrouter_cheap", "1 in cheap mode", figures["cheap"])
            yield CounterMetricFamily("fastrouter_accepted", "Accepted connections", figures["accepted"])
            yield CounterMetricFamily("fastrouter_errors", "Sessions without an answer", figures["errors"])
            kinds = CounterMetricFamily("fastrouter_errors_by_kind", "The same, by kind", labels=["kind"])
            for kind, count in figures["errors_by_kind"].items():
                kinds.add_metric([kind], count)
            yield kinds
            announcements = figures["announcements"]
            yield CounterMetricFamily(
                "fastrouter_announcements", "Accepted announcements", announcements["accepted"]
            )
            refused = CounterMetricFamily(
                "fastrouter_announcements_refused", "Refused announcements", labels=["reason"]
            )
            for reason, count in announcements["refused"].items():
                refused.add_metric([reason], count)
            yield refused
            yield from _worker_metrics(figures)
            yield from _node_metrics(figures)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Snapshot())
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _worker_metrics(figures: dict[str, Any]) -> Iterator[Metric]:
    for field, family, meaning in _WORKER_METRICS:
        metric = family(f"fastrouter_worker_{field}", meaning, labels=["worker"])
        for worker in figures["workers"]:
            metric.add_metric([str(worker["id"])], worker[field])
        yield metric


def _node_metrics(figures: dict[str, Any]) -> Iterator[Metric]:
    nodes = [("", node) for node in _told_apart(figures["nodes"])]
    nodes += [(pool["key"], node) for pool in figures["subscriptions"] for node in pool["nodes"]]
    for field, name, family, meaning in _NODE_METRICS:
        metric = family(f"fastrouter_node_{name.removesuffix('_total')}", meaning, labels=["key", "node"])
        for key, node in nodes:
            if field in node:
                metric.add_metric([_printable(key), _printable(node["name"])], node[field])
        yield metric
    for field, name, meaning in _TIMES:
        histogram = HistogramMetricFamily(f"fastrouter_node_{name}", meaning, labels=["key", "node"])
        for key, node in nodes:
            buckets = _buckets(node[field]["counts"], figures["time_buckets"])
            labels = [_printable(key), _printable(node["name"])]
            histogram.add_metric(labels, buckets, node[field]["sum"])
        yield histogram


def _told_apart(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Configured nodes may have the same address, which in a label would make them one."""
    seen: Counter[str] = Counter()
    found = []
    for node in nodes:
        seen[node["name"]] += 1
        number = seen[node["name"]]
        found.append({**node, "name": f"{node['name']} ({number})"} if number > 1 else node)
    return found


def _buckets(counts: list[int], bounds: list[float]) -> list[tuple[str, float]]:
    """As Prometheus has them: how many took up to so long. Every other bound will do."""
    return [
        *((str(bound), sum(counts[: at + 1])) for at, bound in enumerate(bounds) if not at % 2),
        ("+Inf", sum(counts)),
    ]


def _printable(text: str) -> str:
    """Keys are any bytes; labels are UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
