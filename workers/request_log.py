"""The app workers' request log, in uWSGI's default form or in a chosen one."""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Served", "expand", "format_request", "of_request", "stamps"]

_VARIABLE = re.compile(r"%\(([^()]+)\)")


@dataclass(frozen=True, slots=True)
class Served:
    """What is known of a request once it has been answered."""

    environ: Mapping[str, object]
    status: str
    headers: int
    """Number of response headers."""
    header_bytes: int
    body_bytes: int
    seconds: float
    packet_bytes: int
    variables: int
    worker: int
    thread: int
    number: int
    """Of the request in its worker, from 1."""


def format_request(served: Served, format: str) -> str:
    """One line."""
    return expand(format or _DEFAULT, _values(served))


def expand(format: str, values: Mapping[str, str]) -> str:
    """Put values in the place of ``%(name)``. Unknown and empty ones become ``-``, as in uWSGI."""
    return _VARIABLE.sub(lambda match: values.get(match[1], "-") or "-", format)


_DEFAULT = (
    "[pid: %(pid)|app: 0|req: %(number)/%(number)] %(addr) (%(user)) {%(vars) vars in %(pktsize) bytes} "
    "[%(ctime)] %(method) %(uri) => generated %(rsize) bytes in %(msecs) msecs (%(proto) %(status)) "
    "%(headers) headers in %(hsize) bytes (1 switches on core %(core))"
)


_NAMED = {
    "addr": "REMOTE_ADDR",
    "user": "REMOTE_USER",
    "method": "REQUEST_METHOD",
    "uri": "REQUEST_URI",
    "proto": "SERVER_PROTOCOL",
    "host": "HTTP_HOST",
    "referer": "HTTP_REFERER",
    "uagent": "HTTP_USER_AGENT",
    "cl": "CONTENT_LENGTH",
}


def of_request(variables: Mapping[str, str]) -> dict[str, str]:
    """What is logged of a request itself, by the names of uWSGI's log variables."""
    values = {name: variables.get(variable, "") for name, variable in _NAMED.items()}
    return values | {f"var.{name}": value for name, value in variables.items()}


def stamps() -> dict[str, str]:
    """The time, in all its forms."""
    now = time.localtime()
    epoch = str(int(time.mktime(now)))
    return {
        "ctime": time.strftime("%a %b %e %H:%M:%S %Y", now),
        "ltime": time.strftime("%d/%b/%Y:%H:%M:%S %z", now),
        "time": epoch,
        "epoch": epoch,
    }


def _values(served: Served) -> dict[str, str]:
    environ = {name: value for name, value in served.environ.items() if isinstance(value, str)}
    return {
        **of_request(environ),
        **stamps(),
        "status": served.status.partition(" ")[0],
        "size": str(served.header_bytes + served.body_bytes),
        "rsize": str(served.body_bytes),
        "hsize": str(served.header_bytes),
        "headers": str(served.headers),
        "msecs": str(int(served.seconds * 1000)),
        "micros": str(int(served.seconds * 1_000_000)),
        "secs": str(int(served.seconds)),
        "pktsize": str(served.packet_bytes),
        "vars": str(served.variables),
        "pid": str(os.getpid()),
        "wid": str(served.worker),
        "core": str(served.thread),
        "number": str(served.number),
    }
