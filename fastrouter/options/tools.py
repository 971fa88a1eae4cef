"""The options of the commands that look into a running router, or ask it something."""

from dataclasses import dataclass
from typing import ClassVar

from fastrouter.options.declaration import Group, many, one

__all__ = ["DoctorOptions", "ExplainOptions", "RequestOptions", "TopOptions"]


@dataclass(slots=True)
class TopOptions(Group):
    """A live view"""

    USAGE: ClassVar[str] = "fastrouter-top [OPTION...] [ADDRESS]"
    PURPOSE: ClassVar[str] = (
        "Shows what the router on this machine does, or one whose fastrouter-stats is at ADDRESS."
    )

    once: bool = one("flag", False, "print one screen, and end")
    interval: int = one(
        "integer(1, 3600)",
        1,
        "refresh every SECONDS; rates are averages over that time",
        short="i",
        metavar="SECONDS",
    )
    sort: str = one(
        "choice(requests, key, active, failures)",
        "requests",
        "column that nodes are sorted by",
        metavar="COLUMN",
    )
    pid: int = one("integer(1)", 0, "pid of the master, if several run", metavar="PID")
    router: str = one("text", "", "router to look at, if the master has several", metavar="NAME")


@dataclass(slots=True)
class ExplainOptions(Group):
    """Where a request would go"""

    USAGE: ClassVar[str] = "fastrouter-explain [OPTION...] HOST[/PATH]"
    PURPOSE: ClassVar[str] = (
        "Says where the router on this machine would send a request now, and why, without sending one."
    )

    client: str = one(
        "text", "127.0.0.1", "the client's address (REMOTE_ADDR), for iphash", metavar="ADDRESS"
    )
    key: str = one("text", "", "the key that the web server gives (UWSGI_FASTROUTER_KEY)", metavar="KEY")
    call: bool = one("flag", False, "call the function of fastrouter-use-code-string")
    pid: int = one("integer(1)", 0, "pid of the master, if several run", metavar="PID")
    router: str = one("text", "", "router to look at, if the master has several", metavar="NAME")


@dataclass(slots=True)
class DoctorOptions(Group):
    """Moving from uWSGI"""

    USAGE: ClassVar[str] = "fastrouter-doctor FILE[:SECTION]... | uwsgi ARGUMENT..."
    PURPOSE: ClassVar[str] = (
        "Reads a configuration of uWSGI's, or its command line, and says of each option whether it means the"
        " same here, and if not, why; and what a web server in front has to be told."
    )


@dataclass(slots=True)
class RequestOptions(Group):
    """One request"""

    USAGE: ClassVar[str] = "fastrouter-request [OPTION...] ADDRESS [URL]"
    PURPOSE: ClassVar[str] = (
        "Sends one uwsgi request, for http://localhost/ unless told otherwise, to the router or node at"
        " ADDRESS: HOST:PORT, the path of a UNIX socket, or @NAME. Prints the reply."
    )

    method: str = one("text", "GET", "the request's method", short="X", metavar="METHOD")
    data: str = one(
        "string", "", "send a body: TEXT, or with - what comes on standard input", short="d", metavar="TEXT"
    )
    variable: list[tuple[str, str]] = many(
        "variable", "set a variable of the packet, or replace one", short="V", metavar="NAME=VALUE"
    )
    timeout: float = one(
        "seconds", 60.0, "give up when nothing can be sent or read for SECONDS", short="t", metavar="SECONDS"
    )
