"""The command ``fastrouter-explain``: where a request would go now, and why. No request is sent.

It runs the router worker's own code on a private view of the router's memory.
"""

import logging
import re
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

import psutil

from fastrouter.config.dialect.pairs import ConfigError
from fastrouter.memory.cells import Counter, Slot, Table
from fastrouter.memory.shared import NodeRecord, SharedState
from fastrouter.options import ExplainOptions, GatewayOptions, Options
from fastrouter.routing.balance import ALGORITHMS
from fastrouter.routing.counters import NodeCounters
from fastrouter.routing.forwarders import Forwarder
from fastrouter.routing.forwarders.subscription import SubscriptionForwarder
from fastrouter.routing.health import Health
from fastrouter.routing.node import Node
from fastrouter.routing.pool import Balancing
from fastrouter.routing.routes import Routes
from fastrouter.text import printable, to_bytes, to_text
from fastrouter.wire.request import MAX_KEY, with_mountpoint
from master.commands.live import Live, LiveError, attach
from master.commands.tool import WRONG_USAGE, run_tool
from workers.context import Context, Listener
from workers.routing.forwarding import make_balancing, make_fallback, make_forwarder
from workers.usercode.loading import LoadError

__all__ = ["Explanation", "main"]

_SECOND = 1_000_000_000
_WIDTH = 13
"""Of the words that lines begin with."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when a request would be answered, 1 when not, 2 when that cannot be told."""
    return run_tool(ExplainOptions, arguments, _explain, (LiveError, LoadError))


def _explain(options: ExplainOptions, words: Sequence[str]) -> int:
    if len(words) != 1 or not words[0].partition("://")[2] + words[0].partition("/")[0]:
        raise ConfigError("expected HOST[/PATH], one")
    live = attach(options.pid, options.router)
    if options.call and live.user != psutil.Process().username():
        raise LiveError(f"--call would run what belongs to {live.user}; do that as {live.user}")
    logging.disable()
    explanation = Explanation(live, options, words[0])
    for line in explanation.lines():
        print(printable(line))
    return explanation.code


class Explanation:
    """Of one request, with everything that decides about it."""

    def __init__(self, live: Live, asked: ExplainOptions, url: str) -> None:
        """Raises LoadError when a mapping function is to be called and is not there."""
        self._live = live
        self._gateway = live.gateway
        self._router: GatewayOptions = live.gateway.options
        self._program: Options = live.context.options
        self._state: SharedState = live.gateway.state
        self._asked = asked
        url = str(re.split("[?#]", url.partition("://")[2] or url)[0])
        self._host, slash, path = url.partition("/")
        self._path = unquote(slash + path, errors="surrogateescape") or "/"
        self._remote = to_bytes(asked.client)
        self._counters = NodeCounters(self._state, 0)
        self._health = Health(self._state, self._counters, self._router.max_fails)
        balancing = make_balancing(self._gateway, 0, self._counters, self._health)
        self._routes = Routes(self._state, balancing)
        self._shared = [name for name in live.sockets if name in live.app_sockets]
        """Addresses where the router and the local application both accept."""
        self.code = 1
        """The exit code of the command."""
        self.goes = ""
        """The address of the node that would get it."""
        self._takers: list[Node] = []
        """All that would take it."""
        self._fallback = make_fallback(self._gateway, self._routes, balancing)
        self._forwarder = self._make_forwarder(balancing)
        self._routes.read_all()

    def lines(self) -> Iterator[str]:
        """What happens to the request, step by step."""
        yield _line("router", f"pid {self._live.pid}, {', '.join(self._live.sockets)}")
        yield _line("request", f"{self._host}{self._path} from {self._asked.client}")
        if self._shared:
            yield _line("beside it", f"the local application accepts on {', '.join(self._shared)}, too")
        key = self._key()
        yield from self._about_the_key(key)
        if not key:
            yield _line("outcome", f"{self._ends(400)}: a request without a key is none")
            return
        yield from self._about_the_forwarder()
        candidates = list(self._candidates(key))
        yield from self._about_lookups(key)
        yield from self._about_candidates(candidates)
        yield from self._about_those_left_out(key, candidates)
        if self._fallback:
            addresses = ", ".join(node.address for node in self._fallback)
            when = "when one of these fails" if candidates else "when a node fails"
            if self._router.fallback_on_no_key:
                when += ", or the key has no node"
            yield _line("fallback", f"{addresses} {when}")
        yield _line("outcome", self._outcome(key, candidates))

    def _key(self) -> bytes:
        router = self._router
        if router.force_key:
            return to_bytes(router.force_key)
        key = to_bytes(self._asked.key or self._host)
        key = b"" if len(key) > MAX_KEY else key
        segments = self._program.subscription.mountpoints if router.subscription_server else 0
        return with_mountpoint(key, to_bytes(self._path), segments) if segments and key else key

    def _about_the_key(self, key: bytes) -> Iterator[str]:
        if self._router.force_key:
            why = "fastrouter-force-key"
        elif not key:
            why = f"a name of more than {MAX_KEY} bytes is none"
        else:
            why = "UWSGI_FASTROUTER_KEY" if self._asked.key else "HTTP_HOST"
            if b"/" in key:
                why += f", with {self._program.subscription.mountpoints} segments of the path"
        yield _line("key", f"{printable(to_text(key)) or '(none)'} ({why})")

    def _about_the_forwarder(self) -> Iterator[str]:
        router = self._router
        field = next(iter(router.forwarders), "")
        if not field:
            yield _line("forwarder", "none is configured")
            return
        name = f"{router.PREFIX}-{field.replace('_', '-')}"
        value = getattr(router, field)
        if field == "use_code_string":
            value = f"{value.function}() of {value.script}"
        text = ", ".join(value) if isinstance(value, list) else str(value)
        yield _line("forwarder", f"{name} = {text}" if text else name)

    def _make_forwarder(self, balancing: Balancing) -> Forwarder | None:
        """None when that would run the user's code, and nobody has asked for that."""
        router = self._router
        used = next(iter(router.forwarders), "")
        if used == "use_code_string" and not self._asked.call:
            return None
        if used == "use_socket":
            _lend_listeners(self._live.context, self._live.app_sockets)
        return make_forwarder(self._gateway, 0, self._routes, balancing, self._fallback)

    def _candidates(self, key: bytes) -> Iterator[Node]:
        if self._forwarder is not None:
            yield from self._forwarder.candidates(key, self._remote)

    def _about_lookups(self, key: bytes) -> Iterator[str]:
        """Which keys of announced nodes are looked up, in order, and what is found."""
        for one in self._keys(key):
            pool = self._routes.pools.get(one)
            name = printable(to_text(one))
            if pool is None:
                is_left = any(record.key == one for _, record in self._records())
                why = "no node of it is left" if is_left else "nobody has announced it, or all have gone"
                yield _line("looked up", f"{name}: {why}")
                continue
            algorithm = _algorithm(self._program, pool.nodes[0])
            yield _line("looked up", f"{name}: a pool of {len(pool.nodes)}, balanced by {algorithm}")
            return

    def _keys(self, key: bytes) -> Sequence[bytes]:
        forwarder = getattr(self._forwarder, "chosen", self._forwarder)
        return list(forwarder.keys(key)) if isinstance(forwarder, SubscriptionForwarder) else []

    def _about_candidates(self, candidates: Sequence[Node]) -> Iterator[str]:
        if self._forwarder is None:
            yield _line("candidates", "what the function returns; --call calls it, here and now")
        for number, node in enumerate(candidates, 1):
            yield _line("candidates" if number == 1 else "", f"{number}. {self._about_node(node)}")

    def _about_node(self, node: Node) -> str:
        record = node.record
        active = self._counters.active(node)
        said = [node.address]
        if record.resolved:
            said.append(f"at {to_text(record.resolved)}")
        if record.id:
            said.append(f"weight {record.traits.weight}")
        if record.traits.backup:
            said.append(f"backup level {record.traits.backup}")
        if node.takes_clients and not self._program.sockets.no_fd_passing:
            said.append("takes clients")
        if node.keeps:
            said.append("keeps connections")
        said.append(f"{active} of {node.max_conns} requests" if node.max_conns else f"{active} requests")
        if problem := self._why_not(node):
            said.append(problem)
        else:
            self._takers.append(node)
            self.goes = self.goes or node.address
        return ", ".join(said)

    def _why_not(self, node: Node) -> str:
        """Why a candidate is passed over; empty when it is not. What is counted here, only we see."""
        self._counters.hold(node, 1)
        admitted = self._health.admits(node)
        self._counters.hold(node, -1)
        if admitted and self._health.is_resting(node) and self.goes:
            seconds = (self._cell(node.slot, Slot.REST) - time.monotonic_ns()) / _SECOND
            return f"rests for {seconds:.0f} s more, since it gave no answers: the last resort"
        if admitted:
            return ""
        if node.max_conns and self._counters.active(node) >= node.max_conns:
            return "full: passed over"
        return "on trial after a rest, and has as many requests as it may: passed over"

    def _about_those_left_out(self, key: bytes, candidates: Sequence[Node]) -> Iterator[str]:
        """Nodes of the keys that were looked up which are no candidates, and why."""
        slots = {node.slot for node in candidates}
        looked_up = set(self._keys(key))
        said = 0
        for slot, record in self._records():
            if record.key in looked_up and slot not in slots:
                yield _line(
                    "" if said else "left out", f"{to_text(record.address)}: {self._why_out(slot, record)}"
                )
                said += 1
        if next(iter(self._router.forwarders), "") == "to":
            for slot, address in enumerate(self._router.to):
                if slot not in slots:
                    seconds = (time.monotonic_ns() - self._cell(slot, Slot.MARK)) / _SECOND
                    why = f"could not be reached {seconds:.0f} s ago (fastrouter-gracetime)"
                    yield _line("" if said else "left out", f"{address}: {why}")
                    said += 1

    def _why_out(self, slot: int, record: NodeRecord) -> str:
        if record.draining:
            return f"is leaving, and has {self._state.total(slot, Counter.ACTIVE)} requests left"
        if self._cell(slot, Slot.MARK) == record.id:
            return "could not be reached; its next announcement brings it back"
        return "a pool that was looked up before has nodes"

    def _records(self) -> Iterator[tuple[int, NodeRecord]]:
        first = self._router.configured_slots
        for slot in range(first, self._state.cells[Table.SLOTS_USED]):
            record = self._state.read(slot)
            if record is not None:
                yield slot, record

    def _cell(self, slot: int, cell: int) -> int:
        return int(self._state.cells[self._state.slot_cell(slot, cell)])

    def _outcome(self, key: bytes, candidates: Sequence[Node]) -> str:
        if self._live.context.program.is_paused:
            return "waits: the router is paused"
        if self._forwarder is None:
            self.code = WRONG_USAGE
            return "only the function can tell"
        if self._router.cheap and self._forwarder.is_empty:
            if self._shared:
                self.code = 0
                return "goes to the local application: the router has no node at all, and does not accept"
            return "waits in the backlog: the router is cheap, since it has no node at all"
        if self.goes:
            self.code = 0
            return f"goes to {self.goes}{self._in_turn()}"
        if candidates:
            seconds = self._router.queue_timeout
            return f"waits for room for {seconds} s at most, then is {self._ends(503)}"
        if self._forwarder.knows(key):
            return f"{self._ends(503)}: no node of it is left"
        return f"{self._ends(404)}: there is no node for this key"

    def _in_turn(self) -> str:
        """What is added where the next request may go elsewhere."""
        first = self._takers[0]
        level = [node for node in self._takers if node.backup == first.backup]
        if len(level) < 2:
            return ""
        if self._router.subscription_server:
            algorithm = _algorithm(self._program, first)
            if algorithm == "iphash":
                return ", and so do all of this client's"
            if algorithm in ("lrc", "wlrc"):
                return f", which has the least to do of these {len(level)}"
        return f" or another of these {len(level)}: each router worker has its own turn"

    def _ends(self, status: int) -> str:
        """What becomes of a request that no node gets."""
        return f"answered with {status}" if self._router.answer_errors else "closed"


def _algorithm(options: Options, node: Node) -> str:
    """That balances the pool of a node: what the first one there has asked for, or what is configured."""
    wish = node.peers[0].record.traits.algorithm if node.peers else ""
    return wish if wish in ALGORITHMS else options.subscription.algorithm


def _lend_listeners(context: Context, names: Sequence[str]) -> None:
    """The forwarder of the local application asks listeners for their addresses only."""
    context.app_listeners = [Listener(name, socket.socket()) for name in names]


def _line(what: str, text: str) -> str:
    return f"{what:<{_WIDTH}}{text}"


if __name__ == "__main__":
    sys.exit(main())
