"""The figures in Prometheus' text format."""

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

__all__ = ["metrics"]

_NODE_METRICS = (
    ("requests", "requests_total", CounterMetricFamily, "Requests sent to the node"),
    ("failcnt", "failures_total", CounterMetricFamily, "Requests that the node did not take or answer"),
    ("rx", "received_bytes_total", CounterMetricFamily, "Bytes sent to the node"),
    ("tx", "sent_bytes_total", CounterMetricFamily, "Bytes received from the node"),
    ("ref", "active_requests", GaugeMetricFamily, "Requests that the node has now"),
    ("death_mark", "leaving", GaugeMetricFamily, "1 if the node gets no more requests"),
    ("resting", "resting", GaugeMetricFamily, "1 if the node rests after failures"),
    ("weight", "weight", GaugeMetricFamily, "Announced weight"),
)
"""Key in the snapshot, name behind ``fastrouter_node_``, kind, meaning."""


def metrics(figures: dict[str, Any]) -> tuple[bytes, str]:
    """A snapshot in Prometheus' text format, and the content type of that."""

    class Snapshot(Collector):
        def collect(self) -> Iterator[Metric]:
            yield GaugeMetricFamily("fastrouter_sessions", "Open sessions", figures["active_sessions"])
            yield GaugeMetricFamily("fastrouter_cheap", "1 in cheap mode", figures["cheap"])
            yield CounterMetricFamily("fastrouter_accepted", "Accepted connections", figures["accepted"])
            yield CounterMetricFamily("fastrouter_errors", "Sessions without an answer", figures["errors"])
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
            yield from _node_metrics(figures)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Snapshot())
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _node_metrics(figures: dict[str, Any]) -> Iterator[Metric]:
    nodes = [("", node) for node in figures["nodes"]]
    nodes += [(pool["key"], node) for pool in figures["subscriptions"] for node in pool["nodes"]]
    for field, name, family, meaning in _NODE_METRICS:
        metric = family(f"fastrouter_node_{name.removesuffix('_total')}", meaning, labels=["key", "node"])
        for key, node in nodes:
            if field in node:
                metric.add_metric([_printable(key), _printable(node["name"])], node[field])
        yield metric


def _printable(text: str) -> str:
    """Keys are any bytes; labels are UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
