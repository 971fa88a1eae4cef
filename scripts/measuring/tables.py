"""Large tables, and announcements that keep coming."""

import multiprocessing
import random
import signal
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fastrouter.wire.announcement import Announcement
from measuring.processes import Bench, free_address

__all__ = ["measure_tables", "under_announcements"]

ROUTERS = ("uwsgi", "fastrouter")


def with_table(bench: Bench, name: str, keys: int, nodes: int, algorithm: str) -> float:
    """CPU microseconds a request, with so many announced keys and so many nodes of each."""
    with bench.node("tcp", 100, "0.0.0.0") as node:
        port = node.rpartition(":")[2]
        server = str(bench.place / "announcements.sock")
        options = [
            f"--fastrouter-subscription-server={server}",
            f"--subscription-algo={algorithm}",
            "--subscription-tolerance=600",
            *([] if name == "uwsgi" else ["--subscription-max-nodes=30000"]),
        ]
        with bench.router(name, options) as router:
            address = router.address
            announce(server, port, keys, nodes)
            bench.client(address, 16, 1.0 + keys / 5000, keys)  # until every key was asked for
            before = sum(router.cpu())
            result = bench.client(address, bench.connections, bench.seconds, keys)
            used = sum(router.cpu()) - before
        if result["errors"] or not result["requests"]:
            sys.exit(f"bench: {name} {keys} {nodes}: {result}")
        return used / 1000 / result["requests"]


def announce(server: str, port: str, keys: int, nodes: int) -> None:
    """Twice over, so that none is lost; nodes are addresses of this machine that lead to the same one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(server)
        for _ in range(2):
            for key in range(keys):
                for number in range(nodes):
                    address = f"127.0.{number // 250}.{number % 250 + 1}:{port}"
                    sock.send(Announcement(f"k{key:05}.com", address).encode())


def under_announcements(bench: Bench, rubbish: int, rounds: int) -> str:
    """Latency of 1,000 requests a second: while 10,000 nodes announce themselves, while the same datagrams go
    to somebody else on this machine, and while all is quiet."""
    server, found = free_address(), {"busy": [], "elsewhere": [], "quiet": []}
    options = [f"--fastrouter-subscription-server={server}", "--subscription-tolerance=60"]
    with (
        bench.node("tcp", 100) as node,
        bench.router("fastrouter", options) as router,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
    ):
        sink.bind(("127.0.0.1", 0))
        with (
            fleet(server, node, 10_000, rubbish) as (to_router, sent),
            fleet(f"127.0.0.1:{sink.getsockname()[1]}", node, 10_000, rubbish) as (to_sink, _),
        ):
            for number in range(3 * rounds):
                state = list(found)[number % 3]
                (to_router.clear if state == "busy" else to_router.set)()
                (to_sink.clear if state == "elsewhere" else to_sink.set)()
                bench.client(router.address, 64, 0.5, 0, 1000)
                found[state].append(bench.client(router.address, 64, bench.seconds, 0, 1000))
        router.workers[0].parent().send_signal(signal.SIGUSR1)
        time.sleep(0.5)
    log = (bench.place / "fastrouter.log").read_text()
    lines = [f"sent {sent[0]} announcements and {sent[1]} datagrams of rubbish"]
    lines += [line for line in log.splitlines() if line.startswith("figures")][:2]
    lines.append(f"nodes lost: {log.count('as failed')}")
    for state, results in found.items():
        errors = sum(result["errors"] for result in results)
        p50, p99 = (statistics.median(result[name] for result in results) * 1000 for name in ("p50", "p99"))
        lines.append(f"{state}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, {errors} errors")
    return "\n".join(lines)


@contextmanager
def fleet(server: str, node: str, nodes: int, rubbish: int) -> Iterator[tuple[object, Sequence[int]]]:
    """Announce node for foo.com, and so many others every 10 seconds; send so much rubbish a second.

    Yields an event that stops it for as long as it is set, and the numbers of announcements and of datagrams
    of rubbish that were sent.
    """
    sent = multiprocessing.Array("q", 2, lock=False)
    quiet = multiprocessing.Event()
    process = multiprocessing.Process(
        target=announce_for_ever, args=(server, node, nodes, rubbish, sent, quiet)
    )
    process.start()
    time.sleep(12.0)  # until every node is in the table
    try:
        yield quiet, sent
    finally:
        process.terminate()
        process.join()


def announce_for_ever(server: str, node: str, nodes: int, rubbish: int, sent: list[int], quiet) -> None:
    host, _, port = server.rpartition(":")
    fleet = [Announcement("foo.com", node).encode()]
    fleet += [
        Announcement(f"k{n:05}.com", f"10.0.{n // 250}.{n % 250 + 1}:3031").encode() for n in range(nodes)
    ]
    bad = [random.randbytes(size) for size in range(1, 600, 7)] + [one[:20] for one in fleet[:50]]
    pause = 0.002
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, int(port)))
        next_one = next_bad = 0
        began = time.monotonic()
        while True:
            if quiet.is_set():
                paused = time.monotonic()
                time.sleep(pause)
                began += time.monotonic() - paused
                continue
            now = time.monotonic() - began
            while next_one < now * len(fleet) / 10:
                sock.send(fleet[next_one % len(fleet)])
                next_one += 1
            while next_bad < now * rubbish:
                sock.send(bad[next_bad % len(bad)])
                next_bad += 1
            sent[:] = next_one, next_bad
            time.sleep(pause)


TABLES = {"1 key, 1 node": (1, 1), "20,000 keys": (20_000, 1), "500 nodes": (1, 500)}


def measure_tables(bench: Bench, rounds: int, algorithm: str) -> str:
    """Medians of CPU time a request, and their ratio to that of the smallest table."""
    rows: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        for name in ROUTERS if number % 2 else ROUTERS[::-1]:
            for table, (keys, nodes) in TABLES.items():
                rows.setdefault((table, name), []).append(with_table(bench, name, keys, nodes, algorithm))
        print(f"round {number + 1} of {rounds} is done", file=sys.stderr)
    medians = {row: statistics.median(results) for row, results in rows.items()}
    lines = [f"{algorithm:16}{'uwsgi':>10}{'ratio':>8}{'fastrouter':>12}{'ratio':>8}"]
    smallest = next(iter(TABLES))
    for table in TABLES:
        line = f"{table:16}"
        for name, width in (("uwsgi", 10), ("fastrouter", 12)):
            line += f"{medians[table, name]:{width}.2f}{medians[table, name] / medians[smallest, name]:8.2f}"
        lines.append(line)
    return "\n".join(lines)
