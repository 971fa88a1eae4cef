"""What fastrouter-top shows of a router's statistics, and the keys that change it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from fastrouter.text import printable

__all__ = ["Statistics", "View"]

Statistics = dict[str, Any]

_NAME = 32
"""Characters of a key and of an address; what is longer is cut off."""

_HEAD_LINES = 9
"""Of a screen, that no node can have, beside one line a worker."""

_UNSERVED = 5
"""Keys without a node that are shown."""

_SORTS = {"r": "requests", "a": "active", "f": "failures", "k": "key"}

_HELP = """\
q  quit
/  show only keys and nodes that contain what is typed next; Enter ends it, Esc shows all again
r  sort by requests a second
a  sort by active requests
f  sort by failures
k  sort by key
?  this help; any key goes back

Times are upper bounds: "< 2 ms" at p99 means that 99 of 100 took less. A router worker that is cheap accepts
nothing. States of nodes: up, failed (could not be reached), resting (gave no answers), leaving.
"""


@dataclass(slots=True)
class View:
    """What somebody wants to see."""

    sort: str
    wanted: str = ""
    """Part of a key or of an address; empty for all."""
    is_typing: bool = False
    helps: bool = False

    def press(self, key: str) -> bool:
        """Obey a key, a character or the sequence that a terminal sends for one. False at the end."""
        if self.helps:
            self.helps = False
        elif key == "\x1b":
            self.wanted, self.is_typing = "", False
        elif self.is_typing:
            self._type(key)
        elif key == "q":
            return False
        elif key in _SORTS:
            self.sort = _SORTS[key]
        elif key == "/":
            self.is_typing = True
        elif key == "?":
            self.helps = True
        return True

    def _type(self, key: str) -> None:
        if key in "\r\n":
            self.is_typing = False
        elif key in "\x7f\b":
            self.wanted = self.wanted[:-1]
        elif key.isprintable():
            self.wanted += key

    def screen(
        self, statistics: Statistics, before: Statistics, seconds: float, width: int, height: int
    ) -> Group:
        """Statistics, with rates over so many seconds. width and height are in characters; 0 is no limit."""
        if self.helps:
            return Group(Text(_HELP))
        nodes = max(height - _HEAD_LINES - len(statistics["router_workers"]), 1) if height else 0
        head = _head(statistics, before, seconds)
        if height:
            head.no_wrap, head.overflow = True, "ellipsis"
        parts: list[Text | Table] = [head, _workers(statistics, before, seconds)]
        parts.append(self._nodes(statistics, before, seconds, width, nodes))
        if footer := self._footer(width, is_live=bool(height)):
            parts.append(Text(footer, style="dim"))
        return Group(*parts)

    def _footer(self, width: int, is_live: bool) -> str:
        said = []
        hidden = [column.least for column in _COLUMNS if column.least > width]
        if hidden:
            said.append(f"{_count(len(hidden), 'column')} hidden: widen to {max(hidden)}")
        if self.is_typing:
            said.append(f"filter: {self.wanted}_")
        elif is_live:
            keys = f"filter: {self.wanted} (Esc ends it)" if self.wanted else "q quit, ? help, / filter"
            said.append(f"sorted by {self.sort}; {keys}")
        return "\n".join(said)

    def _nodes(
        self, statistics: Statistics, before: Statistics, seconds: float, width: int, height: int
    ) -> Table:
        """height is how many nodes there is room for, 0 for all."""
        columns = [column for column in _COLUMNS if column.least <= width]
        table = _table(*(column.title for column in columns), left=3)
        former = {(key, node["name"]): node for key, node in _each(before)}
        rows = [
            _Row(key, node, former.get((key, node["name"]), {}), seconds, statistics)
            for key, node in _each(statistics)
            if self.wanted in printable(key) or self.wanted in printable(node["name"])
        ]
        rows.sort(key=_ORDERS[self.sort])
        for row in rows[: height or None]:
            table.add_row(*(column.cell(row) for column in columns))
        if height and len(rows) > height:
            table.caption = f"and {len(rows) - height} more"
        return table


class _Row(NamedTuple):
    """A node."""

    key: str
    node: Statistics
    past: Statistics
    """The same at the look before; empty if it was not there."""
    seconds: float
    """Since then."""
    statistics: Statistics
    """Of the whole router."""


_ORDERS: dict[str, Callable[[_Row], Any]] = {
    "requests": lambda row: -_change(row.node, row.past, "requests"),
    "active": lambda row: -row.node["ref"],
    "failures": lambda row: -row.node["failcnt"],
    "key": lambda row: (row.key, row.node["name"]),
}


class _Column(NamedTuple):
    title: str
    cell: Callable[[_Row], str | Text]
    least: int = 0
    """Characters in a line that it is shown from."""


def _response(row: _Row, share: float) -> str:
    return _quantile(_difference(row.node, row.past, "response_time"), share, row.statistics)


_COLUMNS = (
    _Column("key", lambda row: printable(row.key) or "-"),
    _Column("node", lambda row: printable(row.node["name"])),
    _Column("state", lambda row: _state(row.node)),
    _Column("active", lambda row: str(row.node["ref"])),
    _Column("req/s", lambda row: _rate(row.node, row.past, "requests", row.seconds)),
    _Column("failed", lambda row: str(row.node["failcnt"]), 60),
    _Column("p50", lambda row: _response(row, 0.5), 80),
    _Column("p99", lambda row: _response(row, 0.99), 80),
    _Column("requests", lambda row: str(row.node["requests"]), 100),
    _Column("weight", lambda row: str(row.node.get("weight", "-")), 100),
    _Column("in/s", lambda row: _bytes(_change(row.node, row.past, "rx") / row.seconds), 100),
    _Column("out/s", lambda row: _bytes(_change(row.node, row.past, "tx") / row.seconds), 100),
)


def _head(statistics: Statistics, before: Statistics, seconds: float) -> Text:
    taken, left_out = statistics["announcements"], statistics["nodes_left_out"]
    nodes = _count(statistics["announced_nodes"], "announced node")
    if left_out:
        nodes += f" ({left_out} left out by the stats server)"
    accepted, errors = (_rate(statistics, before, name, seconds) for name in ("accepted", "errors"))
    router = statistics.get("router", "fastrouter")  # a stats server before 0.1.0 was out may not say so
    cheap = ", cheap" if statistics["cheap"] else ""
    text = (
        f"{router} {statistics['version']}, pid {statistics['pid']}, {', '.join(statistics[router])}\n"
        f"{accepted} requests/s, {_count(statistics['active_sessions'], 'session')}, {errors} errors/s"
        f" ({statistics['errors']} in all)\n"
        f"{_count(statistics['pools'], 'key')}, {nodes}, {_count(taken['accepted'], 'announcement')},"
        f" {sum(taken['refused'].values())} refused{cheap}"
    )
    if statistics["unserved_keys"]:
        keys = [f"{printable(key)} ({count})" for key, count in statistics["unserved_keys"].items()]
        more = f" and {_count(len(keys) - _UNSERVED, 'more key')}" if len(keys) > _UNSERVED else ""
        text += f"\nrequests without a node: {', '.join(keys[:_UNSERVED])}{more}"
    return Text(text)


def _workers(statistics: Statistics, before: Statistics, seconds: float) -> Table:
    table = _table(
        "router worker", "sessions", "req/s", "accepted", "errors", "connect", "response p50", "p99"
    )
    former = {worker["id"]: worker for worker in before["router_workers"]}
    for worker in statistics["router_workers"]:
        past = former.get(worker["id"], {})
        response = _difference(worker, past, "response_time")
        table.add_row(
            str(worker["id"]) + (" cheap" if worker["cheap"] else ""),
            str(worker["sessions"]),
            _rate(worker, past, "accepted", seconds),
            str(worker["accepted"]),
            str(worker["errors"]),
            _quantile(_difference(worker, past, "connect_time"), 0.5, statistics),
            _quantile(response, 0.5, statistics),
            _quantile(response, 0.99, statistics),
        )
    return table


def _each(statistics: Statistics) -> Iterator[tuple[str, Statistics]]:
    """Every node, with its key; configured ones have none."""
    for node in statistics["nodes"]:
        yield "", node
    for pool in statistics["subscriptions"]:
        for node in pool["nodes"]:
            yield pool["key"], node


def _table(*columns: str, left: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold reverse", expand=True)
    for number, column in enumerate(columns):
        width = _NAME if number < left - 1 else None  # of names: anybody may announce long ones
        side: Literal["left", "right"] = "left" if number < left else "right"
        table.add_column(column, justify=side, no_wrap=True, max_width=width)
    return table


def _state(node: Statistics) -> Text:
    if node.get("draining"):
        return Text("leaving", "yellow")
    if node.get("death_mark"):
        return Text("failed", "red")
    if node["resting"]:
        return Text("resting", "red")
    return Text("up", "green")


def _change(now: Statistics, before: Statistics, name: str) -> int:
    """Since the look before; counts of what was replaced meanwhile begin anew."""
    return max(int(now[name] - before.get(name, 0)), 0)


def _rate(now: Statistics, before: Statistics, name: str, seconds: float) -> str:
    return f"{_change(now, before, name) / seconds:.0f}"


def _difference(now: Statistics, before: Statistics, name: str) -> list[int]:
    """How often in which bucket since the look before."""
    counts = now[name]["counts"]
    past = before[name]["counts"] if before else []
    return [max(count - (past[at] if at < len(past) else 0), 0) for at, count in enumerate(counts)]


def _quantile(counts: Sequence[int], share: float, statistics: Statistics) -> str:
    """The bound that so many stayed below; nothing when there were none."""
    wanted, seen = share * sum(counts), 0
    if not wanted:
        return "-"
    bounds = statistics["time_buckets"]
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


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
