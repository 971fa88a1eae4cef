"""Statistics of many nodes: what is told of them, and what that costs."""

import sys
import tracemalloc

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastrouter.memory.cells import COUNTERS, HISTOGRAMS, Counter, Histogram, Table
from fastrouter.memory.shared import Layout, NodeRecord, SharedState
from fastrouter.statistics.census import Census
from fastrouter.statistics.document import snapshot
from fastrouter.statistics.prometheus import metrics
from fastrouter.wire.traits import Traits

NODES = 3000


@pytest.fixture
def state():
    """Of two router workers, with one configured node and a pool for every two announced ones."""
    state = SharedState(Layout(slots=NODES + 100, workers=2, apps=0))
    for number in range(NODES):
        slot = 2 + number
        key, address = b"%d.example.com" % (number // 2), b"127.0.0.1:%d" % (1024 + number)
        state.write(slot, NodeRecord(number + 1, number + 1, key, address, Traits(weight=3)))
        state.counters(1)[slot * COUNTERS + Counter.REQUESTS] = number
        state.histograms(1)[slot * HISTOGRAMS + Histogram.RESPONSE + 5] = number
    state.cells[Table.SLOTS_USED] = 2 + NODES
    state.cells[Table.GENERATION] = 1
    yield state
    state.close()


def statistics(state, most=sys.maxsize):
    census = Census(state, 2)
    return snapshot(state, "fastrouter", ["127.0.0.1:3031"], census, ["127.0.0.1:8000"], most), census


def test_a_limit_counts_nodes_and_splits_no_pool(state):
    for most, listed in ((0, 0), (1, 2), (1001, 1002), (NODES, NODES), (sys.maxsize, NODES)):
        found, _ = statistics(state, most)
        pools = list(found["subscriptions"])
        assert sum(len(pool["nodes"]) for pool in pools) == listed
        assert found["nodes_left_out"] == NODES - listed
        assert (found["pools"], found["announced_nodes"]) == (NODES // 2, NODES)
        assert [pool["key"] for pool in pools] == [f"{number}.example.com" for number in range(listed // 2)]
        assert found["router_workers"][1]["requests"] == sum(range(NODES)), "whatever is left out"
        assert sum(found["router_workers"][1]["response_time"]["counts"]) == sum(range(NODES))
        assert found["router_workers"][0]["requests"] == 0


def test_what_has_left_meanwhile_is_left_out(state):
    """The nodes that a report began with may be others by the time that it comes to them."""
    found, census = statistics(state)
    state.write(3, None)
    state.write(4, NodeRecord(NODES + 1, NODES + 1, b"other.com", b"127.0.0.1:9"))
    state.write(5, None)
    pools = list(found["subscriptions"])
    assert [len(pool["nodes"]) for pool in pools[:3]] == [1, 2, 2] and pools[1]["key"] == "2.example.com"
    census.take()
    assert census.nodes == NODES, "routing has not changed, as far as anybody has said"
    state.cells[Table.GENERATION] += 1
    census.take()
    assert census.nodes == NODES - 2 and list(census.pools)[-1] == b"other.com"


def test_prometheus_has_every_node_once_in_every_metric(state):
    found, census = statistics(state)
    text = "".join(metrics(found, state, census.first(sys.maxsize)))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name, count in (("requests", NODES + 1), ("weight", NODES), ("leaving", NODES)):
        samples = families[f"fastrouter_node_{name}"].samples
        assert len({sample.labels["node"] for sample in samples}) == len(samples) == count
    times = families["fastrouter_node_response_seconds"].samples
    counts = {one.labels["node"]: one.value for one in times if one.name.endswith("_count")}
    assert counts["127.0.0.1:1024"] == 0 and counts["127.0.0.1:1031"] == 7
    assert text.count("# TYPE") == len(families), "all samples of a metric are together"


def test_a_report_takes_little_memory(state):
    """Whoever reads all that there is to tell of has it piece by piece."""

    def read(pieces):
        for _ in pieces:
            pass

    for most, report in (
        (1 << 20, lambda found, census: found["subscriptions"]),
        (3 << 20, lambda found, census: metrics(found, state, census.first(sys.maxsize))),
    ):
        found, census = statistics(state)
        tracemalloc.start()
        read(report(found, census))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < most, "the text, or what it is made of, is several times as large"
