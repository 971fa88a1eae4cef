"""The family of options that every gateway has, under its own prefix."""

from dataclasses import dataclass, field
from typing import ClassVar

from fastrouter.options.declaration import OPTIONAL, REQUIRED, Group, MappingSource, many, one
from fastrouter.wire.signing_key import SigningKey

__all__ = ["GatewayOptions"]


@dataclass(slots=True)
class GatewayOptions(Group):
    """A gateway. PREFIX in a text stands for the prefix."""

    DEFERS: ClassVar[bool] = True
    """Whether connections are accepted only once they carry data (TCP_DEFER_ACCEPT)."""
    PASSES_CLIENTS: ClassVar[bool] = False
    """Whether clients' descriptors are passed to nodes that take them."""

    addresses: list[str] = many(
        "text",
        "listen on ADDRESS; =N is shared socket number N",
        name="",
        metavar="ADDRESS",
    )
    zerg: list[str] = many(
        "text",
        "listen also on the sockets that the zerg server at ADDRESS offers",
        metavar="ADDRESS",
        differs="makes a router even where there is no PREFIX address besides",
    )
    processes: int = one(
        "count",
        1,
        "number of workers",
        aliases=("workers",),
        metavar="N",
        differs=(
            "all of them share one table, one set of caches and one set of counts; requests are not "
            "lost when their number changes (TTIN, TTOU)"
        ),
    )
    to: list[str] = many(
        "text",
        "forward to the node at ADDRESS, in turn with the others",
        metavar="ADDRESS",
        differs="may be a host name; a node that failed is left out by all router workers",
    )
    subscription_server: list[str] = many(
        "text",
        "take announcements on ADDRESS, a UDP address or the path of a UNIX socket",
        metavar="ADDRESS",
        differs=(
            "an address that is in use is an error; nodes may have host names and IPv6 addresses; "
            "what cannot be dialled is refused; silent nodes go without waiting for a request"
        ),
    )
    resubscribe: list[str] = many(
        "text",
        "announce this router to the subscription server at ADDRESS, under the keys of its own nodes",
        metavar="ADDRESS",
        differs=(
            "passes on what was accepted only, says which routers it came by, and takes the key back "
            "when its last node has gone"
        ),
    )
    resubscribe_bind: str = one("text", "", "send these announcements from HOST:PORT", metavar="HOST:PORT")
    resubscribe_sign: SigningKey | None = one(
        "signing_key", None, "sign them with the private key in FILE", metavar="DIGEST:FILE"
    )
    use_base: str = one(
        "text",
        "",
        "forward to the UNIX socket BASE followed by the key, or BASE with %s replaced by the key",
        metavar="BASE",
        differs=(
            "a key with a slash, or that is . or .., has no node; a directory gets its slash, and %s "
            "is the key"
        ),
    )
    use_pattern: str = one(
        "text",
        "",
        "forward to the UNIX socket PATTERN, with %s replaced by the key",
        metavar="PATTERN",
        differs="a key with a slash, or that is . or .., has no node; %s need not be written %%s",
    )
    use_cache: str | None = one(
        "string",
        None,
        "forward to the node stored in the cache NAME under the key (default: the first cache)",
        argument=OPTIONAL,
        metavar="NAME",
    )
    use_code_string: MappingSource | None = one(
        "mapping",
        None,
        "forward to the node that a Python function returns for the key: 0:SCRIPT.py:FUNCTION",
        metavar="0:SCRIPT:FUNCTION",
        differs=(
            "the function gets text, and may return text; it must be there at the start; 0: (Python) only"
        ),
    )
    use_socket: int | None = one(
        "position",
        None,
        "forward to socket number N of the local application, counted from 0",
        argument=OPTIONAL,
        metavar="N",
    )
    subscription_slot: str = one(
        "string",
        "",
        "accepted for compatibility; it has no effect, as in uWSGI",
        metavar="N",
    )
    fallback: list[str] = many(
        "text",
        "forward to the node at ADDRESS when the one that was chosen cannot be reached",
        metavar="ADDRESS",
        differs=(
            "is used after every kind of connect failure, and after a node that closed without an answer"
        ),
    )
    fallback_on_no_key: bool = one("flag", False, "use the fallbacks also for keys without a node")
    cheap: bool = one(
        "flag",
        False,
        "accept nothing while there is no node; requests wait in the backlog",
        differs=("is entered and left by all router workers at once; with PREFIX-to there is always a node"),
    )
    timeout: int = one(
        "count",
        60,
        "close a session that is idle for SECONDS",
        metavar="SECONDS",
        differs="is for silence, and with post-buffering also for that of the client",
    )
    connect_timeout: int = one(
        "count", 3, "try the next node when a connection is not made within SECONDS", metavar="SECONDS"
    )
    max_retries: int = one(
        "integer", 3, "number of further nodes to try when the first one fails", metavar="N"
    )
    gracetime: int = one("count", 30, "leave a failed node of PREFIX-to out for SECONDS", metavar="SECONDS")
    queue_timeout: int = one(
        "count", 3, "let a request wait for SECONDS when every node has max-conns requests", metavar="SECONDS"
    )
    max_conns: int = one(
        "integer",
        0,
        "most concurrent requests of a node, over all workers, unless it announces a limit of its own",
        metavar="N",
    )
    max_sessions: int = one(
        "integer",
        0,
        "most concurrent connections of each worker (default: what the limit of descriptors allows)",
        metavar="N",
    )
    max_fails: int = one(
        "integer",
        3,
        "leave a node out for a while after N consecutive requests without an answer; 0: never",
        metavar="N",
    )
    harakiri: int = one(
        "integer",
        0,
        "kill a worker whose event loop is blocked for more than SECONDS",
        metavar="SECONDS",
        differs="watches one turn of the event loop, which is what can block",
    )
    buffer_size: int = one(
        "count",
        1 << 20,
        "size of the buffer: most bytes moved at a time in one direction (uWSGI: 4096)",
        metavar="BYTES",
        differs="the default is 1048576, and it is the most that is moved at a time",
    )
    events: int = one("count", 64, "most events that one epoll_wait returns", metavar="N")
    log: str = one("text", "", "log every request to FILE", metavar="FILE")
    log_format: str = one(
        "text",
        "",
        "format of its lines, with %(method), %(uri), %(status), %(key), %(node), %(micros)...; json: one"
        " object a line",
        metavar="FORMAT",
    )
    stats: str = one(
        "text",
        "",
        "serve statistics as JSON on ADDRESS",
        aliases=("stats-server", "ss"),
        metavar="ADDRESS",
        differs="has the statistics of all workers, and more of them",
    )
    prometheus: str = one("text", "", "serve statistics for Prometheus on http://ADDRESS", metavar="ADDRESS")
    quiet: bool = one(
        "flag", False, "do not log nodes that cannot be reached", argument=REQUIRED, metavar="1"
    )
    uid: str = one("text", "", "run the workers as USER", metavar="USER")
    gid: str = one("text", "", "run the workers as GROUP", metavar="GROUP")
    # What some gateways have an option for, as it is in all others:
    force_key: str = ""
    subscription_fallback_key: str = ""
    header_timeout: int = 0
    answer_errors: bool = False
    post_buffering: int = 0
    post_buffering_dir: str = ""
    fd_passing: list[str] = field(default_factory=list)
    keepalive: list[str] = field(default_factory=list)
    xclient: bool = False
    send_proxy: int = 0

    @property
    def forwarders(self) -> list[str]:
        """Fields of the configured ways to find a node, in uWSGI's order; only the first one counts."""
        fields = (
            "use_cache",
            "use_pattern",
            "subscription_server",
            "use_base",
            "use_code_string",
            "use_socket",
            "to",
        )
        unset = type(self)()
        return [name for name in fields if getattr(self, name) != getattr(unset, name)]

    @property
    def is_there(self) -> bool:
        """Whether there is anything to route."""
        return bool(self.addresses or self.zerg)

    @property
    def is_wanted(self) -> bool:
        """Whether there is anything to do: to route, or only to report that nothing is routed."""
        return self.is_there or bool(self.stats or self.prometheus)

    @property
    def configured_nodes(self) -> list[str]:
        """Addresses of nodes that are not announced; theirs are the first slots of shared memory."""
        return [*self.to, *self.fallback]

    @property
    def configured_slots(self) -> int:
        """Slots of shared memory before those of announced nodes: one a node, one for made-up addresses."""
        return len(self.configured_nodes) + 1
