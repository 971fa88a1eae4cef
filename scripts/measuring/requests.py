"""What a request costs, how long it takes, how fast bytes go through: ours beside uWSGI's and the floor."""

import random
import resource
import sys
import time
from collections.abc import Sequence

import psutil

from measuring.comparison import Comparison, Row
from measuring.processes import Bench, RunningRouter

__all__ = ["bulk", "idle", "latency", "raw", "small", "workers"]

MEGABYTE = 1 << 20
LARGE = 64 * MEGABYTE
MANY = 10_000


def small(bench: Bench, rounds: int) -> dict[str, Comparison]:
    """CPU microseconds, requests a second and latency of one small request, by way."""
    found = {}
    for listen, kind in (("tcp", "tcp"), ("tcp", "unix"), ("unix", "unix")):
        with bench.node(kind, 100) as node, bench.node(kind, 100, keeps=True) as keeping:
            names = ("uwsgi", "fastrouter") if listen == "unix" else ("uwsgi", "floor", "fastrouter")
            options: dict[str, Sequence[str]] = {name: [f"--fastrouter-to={node}"] for name in names}
            if kind == "unix":
                options["fastrouter passing"] = [*options["fastrouter"], f"--fastrouter-fd-passing={node}"]
            options["fastrouter keepalive"] = [
                f"--fastrouter-to={keeping}",
                f"--fastrouter-keepalive={keeping}",
            ]
            with bench.routers(options, listen) as routers:
                found[f"{listen} to {kind}"] = measured(bench, routers, rounds, bench.connections)
    return found


def latency(bench: Bench, rounds: int) -> dict[str, Comparison]:
    """The same with 1 and with 256 connections."""
    found = {}
    for connections in (1, 256):
        with bench.node("tcp", 100) as node:
            options = {name: [f"--fastrouter-to={node}"] for name in ("uwsgi", "fastrouter")}
            with bench.routers(options) as routers:
                found[f"{connections} connections"] = measured(bench, routers, rounds, connections)
    return found


def workers(bench: Bench, rounds: int) -> dict[str, Comparison]:
    """Requests a second and CPU with one worker and with two."""
    found = {}
    for count in (1, 2):
        with bench.node("tcp", 100) as node, bench.node("tcp", 101) as other:
            to = [f"--fastrouter-to={node}", f"--fastrouter-to={other}"]
            with bench.routers({"uwsgi": to, "fastrouter": to}, workers=count) as routers:
                found[f"{count} workers"] = measured(bench, routers, rounds, 64)
    return found


def bulk(bench: Bench, rounds: int) -> dict[str, Comparison]:
    """Megabytes a second, and CPU milliseconds for 64 MB, down and up."""
    found = {}
    for way, size, body in (("download", LARGE, 0), ("upload", 100, LARGE)):
        for kind in ("tcp", "unix"):
            with bench.node(kind, size) as node:
                options = {name: [f"--fastrouter-to={node}"] for name in ("uwsgi", "fastrouter")}
                with bench.routers(options) as routers:
                    found[f"{way}, tcp to {kind}"] = measured(bench, routers, rounds, 2, body, is_bulk=True)
    return found


def raw(bench: Bench, rounds: int) -> dict[str, Comparison]:
    """The raw router: what a connection with a small dialogue costs, how fast bytes go through, and what an
    idle connection takes of memory."""
    found = {}
    names = ("uwsgi", "floor", "haproxy", "rawrouter")
    for kind in ("tcp", "unix"):
        with bench.node(kind, 100) as node:
            options = {name: [f"--rawrouter-to={node}"] for name in names}
            with bench.routers(options, prefix="rawrouter") as routers:
                found[f"raw, tcp to {kind}"] = measured(bench, routers, rounds, bench.connections)
    with bench.node("tcp", LARGE) as node:
        options = {name: [f"--rawrouter-to={node}"] for name in names}
        with bench.routers(options, prefix="rawrouter") as routers:
            found["raw download, tcp to tcp"] = measured(bench, routers, rounds, 2, is_bulk=True)
    found["raw idle connections"] = _raw_idle(bench)
    return found


def _raw_idle(bench: Bench) -> Comparison:
    many = min(MANY, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 200)
    rows: dict[str, list[Row]] = {}
    with bench.node("tcp", 100) as node:
        for name in ("uwsgi", "haproxy", "rawrouter"):
            options = [f"--rawrouter-to={node}", *([] if name == "haproxy" else ["--rawrouter-timeout=3600"])]
            with bench.router(name, options, prefix="rawrouter") as router:
                empty, there = private(router.workers[0]), sessions(router)
                with bench.idle(router.address, many, 1):
                    deadline = time.monotonic() + 60
                    while sessions(router) < there + 2 * many - 10 and time.monotonic() < deadline:
                        time.sleep(0.1)
                    connected = (sessions(router) - there) / 2
                    used = (private(router.workers[0]) - empty) / 1024 / max(connected, 1)
                    rows[name] = [{"kb_a_connection": used, "connections": connected}]
    return Comparison(rows)


def measured(
    bench: Bench,
    routers: Sequence[RunningRouter],
    rounds: int,
    connections: int,
    body: int = 0,
    is_bulk: bool = False,
) -> Comparison:
    """Rounds in each of which every router has its turn."""
    rows: dict[str, list[Row]] = {router.name: [] for router in routers}
    for number in range(rounds + 1):
        for router in random.sample(routers, len(routers)):
            before = router.cpu()
            result = bench.client(router.address, connections, bench.seconds, body=body)
            used = [after - so_far for after, so_far in zip(router.cpu(), before, strict=True)]
            if result["errors"]:
                print(f"bench: {router.name}: {result}", file=sys.stderr)
            if number:  # the first one warms up
                rows[router.name].append((moved if is_bulk else took)(result, used))
        print(".", end="", file=sys.stderr, flush=True)
    return Comparison(rows)


def moved(result: dict[str, float], used: Sequence[int]) -> Row:
    """Of a client that moves large bodies; used has the nanoseconds of each worker."""
    size = max(result["uploaded"], result["bytes"], 1)
    return {"mb_s": size / MEGABYTE / result["seconds"], "cpu_ms_per_64mb": sum(used) / 1e6 / (size / LARGE)}


def took(result: dict[str, float], used: Sequence[int]) -> Row:
    """Of a client that asks again and again; used has the nanoseconds of each worker, where they matter."""
    row = {"cpu_us": sum(used) / 1000 / max(result["requests"], 1)} if used else {}
    row |= {
        "rps": result["requests"] / result["seconds"],
        "p50_ms": result["p50"] * 1000,
        "p99_ms": result["p99"] * 1000,
    }
    return row | {"least_share": min(used) / max(sum(used), 1)} if len(used) > 1 else row


def idle(bench: Bench, rounds: int) -> dict[str, Comparison]:
    """Latency of 1,000 requests a second beside 10,000 sessions that wait, and what one of these costs."""
    most = (
        resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 200
    )  # two descriptors a session, and some to spare
    many = min(MANY, most)
    with bench.node("tcp", 100) as node:
        options = [f"--fastrouter-to={node}", "--fastrouter-timeout=3600"]
        with bench.router("fastrouter", options) as alone, bench.router("fastrouter", options) as beside:
            empty = private(beside.workers[0])
            with bench.idle(beside.address, many, 100):
                while sessions(beside) < many:
                    bench.client(beside.address, 1, 0.1)
                each = {"kb_a_session": (private(beside.workers[0]) - empty) / many / 1024}
                rows: dict[str, list[Row]] = {"without": [], f"beside {many:,}": []}
                for _ in range(rounds):
                    for name, router, more in zip(
                        rows, (alone, beside), ({"kb_a_session": 0.0}, each), strict=True
                    ):
                        result = bench.client(router.address, 64, bench.seconds, rate=1000)
                        rows[name].append(took(result, ()) | more)
    return {"idle sessions": Comparison(rows)}


def private(process: psutil.Process) -> int:
    """Bytes of memory that are a process's own."""
    uss: int = process.memory_full_info().uss
    return uss


def sessions(router: RunningRouter) -> int:
    return router.workers[0].num_fds()
