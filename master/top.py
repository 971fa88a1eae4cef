"""The command ``fastrouter-top``: a router's figures, live, in a terminal."""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from rich.console import Console, Group
from rich.live import Live as Screen
from rich.table import Table
from rich.text import Text

from fastrouter.address import AddressError, parse_node
from fastrouter.census import Census
from fastrouter.config.pairs import ConfigError
from fastrouter.options import TopOptions
from fastrouter.stats import snapshot
from fastrouter.text import printable
from master.live import LiveError, attach
from master.tool import run_tool

__all__ = ["main"]

_PATIENCE = 10.0
"""Seconds for a stats server to answer."""

_WIDE = ("requests", "weight", "in/s", "out/s")
"""Columns for terminals that have room for them."""

_NAME = 32
"""Characters of a key and of an address; what is longer is cut off."""

_WIDE_FROM = 100
"""Characters in a line."""

_TRIES = 10
_PAUSE = 0.3
"""Seconds."""

_HEAD_LINES = 6
"""Of a screen, that no node can have, beside one line a worker."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 when there is no router to be seen."""
    return run_tool(TopOptions, arguments, _top, (LiveError, AddressError, OSError, ValueError))


def _top(options: TopOptions, words: Sequence[str]) -> int:
    if len(words) > 1:
        raise ConfigError("expected one ADDRESS at most")
    try:
        _show(_remote(words[0]) if words else _local(options.pid), options)
    except KeyboardInterrupt:
        pass
    return 0


Figures = dict[str, Any]


def _local(pid: int) -> Callable[[], Figures]:
    pid = attach(pid).pid

    def look() -> Figures:
        live = attach(pid)  # anew: a reload makes other memory
        state, router = live.context.state, live.context.options.router
        census = Census(state, router.configured_slots)
        figures = snapshot(state, live.sockets, census, router.configured_nodes, sys.maxsize)
        figures["subscriptions"] = list(figures["subscriptions"])
        live.close()
        return {**figures, "pid": live.pid, "version": live.version}

    return look


def _patiently(look: Callable[[], Figures]) -> Figures:
    """In the moment of a reload there is nothing to be seen."""
    for _ in range(_TRIES):
        try:
            return look()
        except (LiveError, ConnectionError):
            threading.Event().wait(_PAUSE)
    return look()


def _remote(address: str) -> Callable[[], Figures]:
    dial = parse_node(address)

    def look() -> Figures:
        data = bytearray()
        with socket.socket(dial.family) as sock:
            sock.settimeout(_PATIENCE)
            sock.connect(dial.sockaddr)
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")  # for stats-http; without, it does not matter
            while chunk := sock.recv(1 << 20):
                data += chunk
        found = json.loads(data[max(data.find(b"{"), 0) :])
        if "time_buckets" not in found:
            raise ValueError(f"{address}: what answers there is no fastrouter's stats server")
        return dict(found)

    return look


def _show(look: Callable[[], Figures], options: TopOptions) -> None:
    console = Console(highlight=False)
    before, now = look(), time.monotonic()
    if options.once:
        threading.Event().wait(options.interval)
        is_wide = console.width >= _WIDE_FROM
        console.print(_screen(look(), before, time.monotonic() - now, options.sort, 0, is_wide))
        return
    in_place = not console.is_dumb_terminal  # which can only go on
    with Screen(console=console, screen=in_place, auto_refresh=False) as screen:
        while True:
            threading.Event().wait(options.interval)
            figures, then = _patiently(look), now
            now = time.monotonic()
            height = console.size.height - _HEAD_LINES - len(figures["router_workers"])
            is_wide = console.width >= _WIDE_FROM
            content = _screen(figures, before, now - then, options.sort, max(height, 1), is_wide)
            if in_place:
                screen.update(content, refresh=True)
            else:
                console.print(content)
            before = figures


def _screen(
    figures: Figures, before: Figures, seconds: float, sort: str, height: int, is_wide: bool
) -> Group:
    """height is how many nodes there is room for, 0 for all."""
    return Group(
        _head(figures, before, seconds),
        _workers(figures, before, seconds),
        _nodes(figures, before, seconds, sort, height, is_wide),
    )


def _head(figures: Figures, before: Figures, seconds: float) -> Text:
    taken, left_out = figures["announcements"], figures["nodes_left_out"]
    refused = sum(taken["refused"].values())
    nodes = f"{figures['announced_nodes']} announced nodes"
    if left_out:
        nodes += f" ({left_out} left out by the stats server)"
    accepted, errors = (_rate(figures, before, name, seconds) for name in ("accepted", "errors"))
    cheap = ", cheap" if figures["cheap"] else ""
    return Text(
        f"fastrouter {figures['version']}, pid {figures['pid']}, {', '.join(figures['fastrouter'])}\n"
        f"{accepted} requests/s, {figures['active_sessions']} sessions, {errors} errors/s"
        f" ({figures['errors']} in all)\n"
        f"{figures['pools']} keys, {nodes}, {taken['accepted']} announcements, {refused} refused"
        f"{cheap}"
    )


def _workers(figures: Figures, before: Figures, seconds: float) -> Table:
    table = _table(
        "router worker", "sessions", "req/s", "accepted", "errors", "connect", "response p50", "p99"
    )
    former = {worker["id"]: worker for worker in before["router_workers"]}
    for worker in figures["router_workers"]:
        past = former.get(worker["id"], {})
        response = _difference(worker, past, "response_time")
        table.add_row(
            str(worker["id"]) + (" cheap" if worker["cheap"] else ""),
            str(worker["sessions"]),
            _rate(worker, past, "accepted", seconds),
            str(worker["accepted"]),
            str(worker["errors"]),
            _quantile(_difference(worker, past, "connect_time"), 0.5, figures),
            _quantile(response, 0.5, figures),
            _quantile(response, 0.99, figures),
        )
    return table


_ORDERS: dict[str, Callable[[tuple[str, Figures, Figures]], Any]] = {
    "requests": lambda row: -_change(row[1], row[2], "requests"),
    "active": lambda row: -row[1]["ref"],
    "failures": lambda row: -row[1]["failcnt"],
    "key": lambda row: (row[0], row[1]["name"]),
}
"""Of rows: a key, a node, and the node at the look before."""


def _nodes(figures: Figures, before: Figures, seconds: float, sort: str, height: int, is_wide: bool) -> Table:
    titles = ["key", "node", "state", "active", "req/s", "failed", "p50", "p99"]
    table = _table(*titles, *(_WIDE if is_wide else ()), left=3)
    former = {(key, node["name"]): node for key, node in _each(before)}
    rows = [(key, node, former.get((key, node["name"]), {})) for key, node in _each(figures)]
    rows.sort(key=_ORDERS[sort])
    for key, node, past in rows[: height or None]:
        times = _difference(node, past, "response_time")
        wide = (
            str(node["requests"]),
            str(node.get("weight", "-")),
            _bytes(_change(node, past, "rx") / seconds),
            _bytes(_change(node, past, "tx") / seconds),
        )
        table.add_row(
            printable(key) or "-",
            printable(node["name"]),
            _state(node),
            str(node["ref"]),
            _rate(node, past, "requests", seconds),
            str(node["failcnt"]),
            _quantile(times, 0.5, figures),
            _quantile(times, 0.99, figures),
            *(wide if is_wide else ()),
        )
    if height and len(rows) > height:
        table.caption = f"and {len(rows) - height} more"
    return table


def _each(figures: Figures) -> Iterator[tuple[str, Figures]]:
    """Every node, with its key; configured ones have none."""
    for node in figures["nodes"]:
        yield "", node
    for pool in figures["subscriptions"]:
        for node in pool["nodes"]:
            yield pool["key"], node


def _table(*columns: str, left: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold reverse", expand=True)
    for number, column in enumerate(columns):
        width = _NAME if number < left - 1 else None  # of names: anybody may announce long ones
        side: Literal["left", "right"] = "left" if number < left else "right"
        table.add_column(column, justify=side, no_wrap=True, max_width=width)
    return table


def _state(node: Figures) -> Text:
    if node.get("draining"):
        return Text("leaving", "yellow")
    if node.get("death_mark"):
        return Text("failed", "red")
    if node["resting"]:
        return Text("resting", "red")
    return Text("up", "green")


def _change(now: Figures, before: Figures, name: str) -> int:
    """Since the look before; counts of what was replaced meanwhile begin anew."""
    return max(int(now[name] - before.get(name, 0)), 0)


def _rate(now: Figures, before: Figures, name: str, seconds: float) -> str:
    return f"{_change(now, before, name) / seconds:.0f}"


def _difference(now: Figures, before: Figures, name: str) -> list[int]:
    """How often in which bucket since the look before."""
    counts = now[name]["counts"]
    past = before[name]["counts"] if before else []
    return [max(count - (past[at] if at < len(past) else 0), 0) for at, count in enumerate(counts)]


def _quantile(counts: Sequence[int], share: float, figures: Figures) -> str:
    """The bound that so many stayed below; nothing when there were none."""
    wanted, seen = share * sum(counts), 0
    if not wanted:
        return "-"
    bounds = figures["time_buckets"]
    for at, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return f"< {_seconds(bounds[at])}" if at < len(bounds) else f"> {_seconds(bounds[-1])}"
    return "-"


def _seconds(value: float) -> str:
    if value < 0.001:
        return f"{value * 1e6:.0f} us"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.0f} s"


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


if __name__ == "__main__":
    sys.exit(main())
