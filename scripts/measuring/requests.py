"""What a request costs, how long it takes, how fast bytes go through: ours beside uWSGI's and the floor."""

import random
import resource
import statistics
import sys
from collections.abc import Sequence

import psutil

from measuring.processes import Bench, RunningRouter

__all__ = ["bulk", "idle", "latency", "small", "workers"]

Figures = dict[str, dict[str, float]]
"""Medians, by router."""

MEGABYTE = 1 << 20
LARGE = 64 * MEGABYTE
MANY = 10_000


def small(bench: Bench, rounds: int) -> dict[str, Figures]:
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


def latency(bench: Bench, rounds: int) -> dict[str, Figures]:
    """The same with 1 and with 256 connections."""
    found = {}
    for connections in (1, 256):
        with bench.node("tcp", 100) as node:
            options = {name: [f"--fastrouter-to={node}"] for name in ("uwsgi", "fastrouter")}
            with bench.routers(options) as routers:
                found[f"{connections} connections"] = measured(bench, routers, rounds, connections)
    return found


def workers(bench: Bench, rounds: int) -> dict[str, Figures]:
    """Requests a second and CPU with one worker and with two."""
    found = {}
    for count in (1, 2):
        with bench.node("tcp", 100) as node, bench.node("tcp", 101) as other:
            to = [f"--fastrouter-to={node}", f"--fastrouter-to={other}"]
            with bench.routers({"uwsgi": to, "fastrouter": to}, workers=count) as routers:
                shares = {router.name: [each(router)] for router in routers}
                figures = measured(bench, routers, rounds, 64)
                for router in routers:
                    before, after = shares[router.name][0], each(router)
                    used = [new - old for new, old in zip(after, before, strict=True)]
                    figures[router.name]["least_share"] = min(used) / sum(used)
            found[f"{count} workers"] = figures
    return found


def each(router: RunningRouter) -> list[int]:
    return [RunningRouter("", "", [worker]).cpu() for worker in router.workers]


def bulk(bench: Bench, rounds: int) -> dict[str, Figures]:
    """Megabytes a second, and CPU milliseconds for 64 MB, down and up."""
    found = {}
    for way, size, body in (("download", LARGE, 0), ("upload", 100, LARGE)):
        for kind in ("tcp", "unix"):
            with bench.node(kind, size) as node:
                options = {name: [f"--fastrouter-to={node}"] for name in ("uwsgi", "fastrouter")}
                with bench.routers(options) as routers:
                    found[f"{way}, tcp to {kind}"] = measured(bench, routers, rounds, 2, body)
    return found


def measured(
    bench: Bench, routers: Sequence[RunningRouter], rounds: int, connections: int, body: int = 0
) -> Figures:
    """Medians over rounds, in each of which every router has its turn."""
    rows: dict[str, list[dict[str, float]]] = {router.name: [] for router in routers}
    for number in range(rounds + 1):
        for router in random.sample(routers, len(routers)):
            before = router.cpu()
            result = bench.client(router.address, connections, bench.seconds, body=body)
            used = router.cpu() - before
            if result["errors"]:
                print(f"bench: {router.name}: {result}", file=sys.stderr)
            if number:  # the first one warms up
                rows[router.name].append(figures_of(result, used, body))
        print(".", end="", file=sys.stderr, flush=True)
    return {
        name: {figure: statistics.median(row[figure] for row in results) for figure in results[0]}
        for name, results in rows.items()
    }


def figures_of(result: dict[str, float], used: int, body: int) -> dict[str, float]:
    moved = result["uploaded"] if body else result["bytes"]
    if moved > LARGE:
        return {
            "mb_s": moved / MEGABYTE / result["seconds"],
            "cpu_ms_per_64mb": used / 1e6 / (moved / LARGE),
        }
    return {
        "cpu_us": used / 1000 / max(result["requests"], 1),
        "rps": result["requests"] / result["seconds"],
        "p50_ms": result["p50"] * 1000,
        "p99_ms": result["p99"] * 1000,
    }


def idle(bench: Bench, rounds: int) -> dict[str, Figures]:
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
                figures: Figures = {"without": {}, f"beside {many:,}": {}}
                rows: dict[str, list[dict[str, float]]] = {name: [] for name in figures}
                for _ in range(rounds):
                    for name, router in (("without", alone), (f"beside {many:,}", beside)):
                        result = bench.client(router.address, 64, bench.seconds, rate=1000)
                        rows[name].append(figures_of(result, 0, 0))
                for name, results in rows.items():
                    figures[name] = {
                        figure: statistics.median(row[figure] for row in results)
                        for figure in ("p50_ms", "p99_ms")
                    }
                figures[f"beside {many:,}"]["kb_a_session"] = (
                    (private(beside.workers[0]) - empty) / many / 1024
                )
                figures["without"]["kb_a_session"] = 0.0
    return {"idle sessions": figures}


def private(process: psutil.Process) -> int:
    """Bytes of memory that are a process's own."""
    uss: int = process.memory_full_info().uss
    return uss


def sessions(router: RunningRouter) -> int:
    return router.workers[0].num_fds()
