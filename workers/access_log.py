"""The router's own log of requests (``fastrouter-log``), off by default."""

import json
import os
import re
import socket
import time
from _socket import socket as PlainSocket
from collections.abc import Mapping

from fastrouter.memory.outcomes import outcome_word
from fastrouter.text import printable, to_text
from workers.request_log import expand, of_request, stamps
from workers.sinks import FileSink

__all__ = ["JSON", "AccessLog", "Record"]

JSON = "json"
"""The format that makes a line a JSON object."""

_DEFAULT = (
    '%(addr) - %(user) [%(ltime)] "%(method) %(uri) %(proto)" %(status) %(rsize) "%(referer)" "%(uagent)" '
    "%(key) %(node) tries=%(tries) connect=%(connect) response=%(response) total=%(micros)"
)
"""The form that web servers' logs have, and what only a router knows."""

_STATUS = re.compile(rb"HTTP/1\.\d (\d{3})")


class Record:
    """What is to be told of one session."""

    __slots__ = ("begun", "connect", "node", "problem", "received", "response", "sent", "status", "tries")

    def __init__(self) -> None:
        self.begun = time.monotonic_ns()
        self.node = ""
        self.tries = 0
        """Nodes that were connected."""
        self.connect = 0
        """Nanoseconds until the last one was, and from there until the first byte of its answer."""
        self.response = 0
        self.sent = 0
        """Bytes to the node, and from it."""
        self.received = 0
        self.status = ""
        self.problem = 0
        """A status of outcomes.py; 0 when there was an answer."""

    def connected(self, node: str, nanoseconds: int) -> None:
        self.node = node
        self.tries += 1
        self.connect = nanoseconds

    def peek_at(self, sock: PlainSocket) -> None:
        """See what status the answer has, before it is read."""
        try:
            self.look_at(sock.recv(16, socket.MSG_PEEK))
        except OSError:
            pass

    def look_at(self, answer: bytes) -> None:
        """See what status an answer has that begins so."""
        match = _STATUS.match(answer)
        self.status = match[1].decode() if match else ""

    def moved(self, sent: int, received: int) -> None:
        self.sent, self.received = sent, received


class AccessLog:
    """Writes a line for every session."""

    def __init__(self, sink: FileSink, format: str, worker: int) -> None:
        self._sink = sink
        self._format = format
        self._worker = worker

    def write(self, record: Record, key: bytes, variables: Mapping[str, str]) -> None:
        """Log a session; variables are the request's, as far as they came."""
        values = self._values(record, key, variables)
        if self._format == JSON:
            line = json.dumps(_typed(values))
        else:
            # Nothing in a value may end what it stands in, or begin another line.
            values = {name: _escaped(name, value) for name, value in values.items()}
            line = expand(self._format or _DEFAULT, values)
        self._sink.write(0, line)

    def _values(self, record: Record, key: bytes, variables: Mapping[str, str]) -> dict[str, str]:
        nanoseconds = time.monotonic_ns() - record.begun
        return {
            **of_request(variables),
            **stamps(),
            "key": to_text(key),
            "node": record.node,
            "outcome": outcome_word(record.problem),
            "status": record.status or str(record.problem or ""),
            "tries": str(record.tries),
            "connect": str(record.connect // 1000),
            "response": str(record.response // 1000),
            "sent": str(record.sent),
            "rsize": str(record.received),
            "size": str(record.received),
            "micros": str(nanoseconds // 1000),
            "msecs": str(nanoseconds // 1_000_000),
            "secs": str(nanoseconds // 1_000_000_000),
            "wid": str(self._worker + 1),
            "pid": str(os.getpid()),
        }


_LISTED = (
    *("time", "outcome", "status", "key", "node", "tries", "connect", "response", "micros", "sent", "rsize"),
    *("addr", "user", "method", "uri", "proto", "host", "referer", "uagent", "wid", "pid"),
)
"""What a JSON object has, in this order."""

_NUMBERS = frozenset(
    {"time", "status", "tries", "connect", "response", "micros", "sent", "rsize", "wid", "pid"}
)


def _typed(values: Mapping[str, str]) -> dict[str, object]:
    return {
        name: (int(values[name]) if values[name] else None) if name in _NUMBERS else _valid(values[name])
        for name in _LISTED
    }


def _valid(text: str) -> str:
    """JSON is text, names from the network are any bytes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


_QUOTED = frozenset({"uri", "referer", "uagent"})
"""What a format has in quotes as a rule, and may have blanks in it; times have some of their own."""


def _escaped(name: str, value: str) -> str:
    text = printable(value.replace("\\", "\\x5c")).replace('"', "\\x22")
    return text if name in _QUOTED or name in _OWN or name.startswith("var.") else text.replace(" ", "\\x20")


_OWN = frozenset({"ltime", "ctime", "outcome"})
