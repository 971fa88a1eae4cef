"""The options of routing: the router, the subscription server, the caches."""

from dataclasses import dataclass
from typing import ClassVar

from fastrouter.balance import ALGORITHMS
from fastrouter.cache.definition import Definition, parse_definition
from fastrouter.config.option import OPTIONAL, REQUIRED, Group, MappingSource, SignCheck, many, one
from fastrouter.subscriber import SigningKey

__all__ = ["CacheOptions", "RouterOptions", "SubscriptionOptions"]


@dataclass(slots=True)
class RouterOptions(Group):
    """The router"""

    PREFIX: ClassVar[str] = "fastrouter"

    addresses: list[str] = many(
        "text", "listen on ADDRESS; =N is shared socket number N", name="", metavar="ADDRESS"
    )
    zerg: list[str] = many(
        "text", "listen on the sockets that the zerg server at ADDRESS offers, too", metavar="ADDRESS"
    )
    processes: int = one("count", 1, "number of router workers", aliases=("workers",), metavar="N")
    to: list[str] = many("text", "forward to the node at ADDRESS, in turn with the others", metavar="ADDRESS")
    subscription_server: list[str] = many(
        "text", "take announcements on ADDRESS, a UDP address or the path of a UNIX socket", metavar="ADDRESS"
    )
    resubscribe: list[str] = many(
        "text",
        "announce this router, in its nodes' stead, to the subscription server at ADDRESS",
        metavar="ADDRESS",
    )
    resubscribe_bind: str = one("text", "", "send those announcements from HOST:PORT", metavar="HOST:PORT")
    resubscribe_sign: SigningKey | None = one(
        "signing_key", None, "sign them with the private key in FILE", metavar="DIGEST:FILE"
    )
    use_base: str = one(
        "text",
        "",
        "forward to the UNIX socket whose path is BASE and the key, or BASE with the key for %s",
        metavar="BASE",
    )
    use_pattern: str = one(
        "text", "", "forward to the UNIX socket whose path is PATTERN with the key for %s", metavar="PATTERN"
    )
    use_cache: str | None = one(
        "string",
        None,
        "forward to the node that the cache NAME has for the key; to the first cache if none is named",
        argument=OPTIONAL,
        metavar="NAME",
    )
    use_code_string: MappingSource | None = one(
        "mapping",
        None,
        "forward to the node that a Python function returns for the key: 0:SCRIPT.py:FUNCTION",
        metavar="0:SCRIPT:FUNCTION",
    )
    use_socket: int | None = one(
        "position",
        None,
        "forward to the local application's socket number N, from 0",
        argument=OPTIONAL,
        metavar="N",
    )
    subscription_slot: str = one(
        "string", "", "accepted for compatibility, without effect (so it was in uWSGI)", metavar="N"
    )
    fallback: list[str] = many(
        "text",
        "forward to the node at ADDRESS when the one that was chosen cannot be reached",
        metavar="ADDRESS",
    )
    fallback_on_no_key: bool = one("flag", False, "use the fallbacks for keys without a node too")
    subscription_fallback_key: str = one(
        "text", "", "look KEY up when nobody has announced the request's key", metavar="KEY"
    )
    force_key: str = one("text", "", "route every request by KEY, whatever it asks for", metavar="KEY")
    cheap: bool = one("flag", False, "do not accept while there is no node; requests wait in the backlog")
    timeout: int = one("count", 60, "close a session on which nothing moved for SECONDS", metavar="SECONDS")
    connect_timeout: int = one(
        "count", 3, "try the next node when one does not accept within SECONDS", metavar="SECONDS"
    )
    max_retries: int = one("integer", 3, "nodes to try after the first one failed", metavar="N")
    gracetime: int = one(
        "count", 30, "leave a node of fastrouter-to out for SECONDS after it failed", metavar="SECONDS"
    )
    queue_timeout: int = one(
        "count", 3, "wait SECONDS for room when every node has max-conns requests", metavar="SECONDS"
    )
    max_conns: int = one(
        "integer",
        0,
        "give a node N requests at a time, over all router workers, if it announces no limit of its own",
        metavar="N",
    )
    max_sessions: int = one("integer", 0, "accept N connections at a time in each router worker", metavar="N")
    max_fails: int = one(
        "integer", 3, "let a node rest after N requests without an answer in a row, 0: never", metavar="N"
    )
    answer_errors: bool = one(
        "flag", False, "answer 404, 503 and the like where otherwise the connection is closed without a word"
    )
    post_buffering: int = one(
        "integer",
        0,
        "read a body before a node is chosen; those over BYTES are put in a temporary file",
        metavar="BYTES",
    )
    post_buffering_dir: str = one(
        "text", "", "where to put them (default: $TMPDIR or /tmp)", metavar="DIRECTORY"
    )
    harakiri: int = one(
        "integer", 0, "kill a router worker that does one thing for over SECONDS", metavar="SECONDS"
    )
    buffer_size: int = one(
        "count", 65536, "most bytes to move at a time in one direction (uWSGI: 4096)", metavar="BYTES"
    )
    events: int = one("count", 64, "most events to take from the kernel at a time", metavar="N")
    log: str = one("text", "", "log every request to FILE", metavar="FILE")
    log_format: str = one(
        "text",
        "",
        "the form of its lines, with %(method), %(uri), %(status), %(key), %(node), %(micros)... in it; json:"
        " an object a line",
        metavar="FORMAT",
    )
    stats: str = one(
        "text",
        "",
        "tell the figures, as JSON, to whoever connects to ADDRESS",
        aliases=("stats-server", "ss"),
        metavar="ADDRESS",
    )
    prometheus: str = one(
        "text", "", "tell the figures to Prometheus, which asks for http://ADDRESS", metavar="ADDRESS"
    )
    quiet: bool = one(
        "flag", False, "do not log nodes that cannot be reached", argument=REQUIRED, metavar="1"
    )
    uid: str = one("text", "", "user that the router workers run as", metavar="USER")
    gid: str = one("text", "", "group that the router workers run as", metavar="GROUP")

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
        unset = RouterOptions()
        return [field for field in fields if getattr(self, field) != getattr(unset, field)]

    @property
    def is_there(self) -> bool:
        """Whether there is anything to route."""
        return bool(self.addresses or self.zerg)

    @property
    def configured_slots(self) -> int:
        """Slots of shared memory before those of announced nodes: one a node, one for made-up addresses."""
        return len(self.to) + len(self.fallback) + 1


@dataclass(slots=True)
class SubscriptionOptions(Group):
    """The subscription server"""

    tolerance: int = one(
        "count",
        17,
        "drop a node that is silent for more than SECONDS",
        name="subscription-tolerance",
        metavar="SECONDS",
    )
    algorithm: str = one(
        f"choice({', '.join(ALGORITHMS)})",
        "wrr",
        f"balancing between the nodes of a pool that ask for nothing else: {', '.join(ALGORITHMS)}",
        name="subscription-algo",
        metavar="NAME",
    )
    dotsplit: bool = one(
        "flag",
        False,
        "look a.b.c up as .b.c and .c when nobody has announced it",
        name="subscription-dotsplit",
    )
    mountpoints: int = one(
        "integer",
        0,
        "let the first N segments of the path be part of the key: foo.com/a/b, foo.com/a, foo.com",
        name="subscription-mountpoints",
        aliases=("subscription-mountpoint",),
        metavar="N",
    )
    slow_start: int = one(
        "integer",
        0,
        "give a node that joins a pool its share of requests by degrees, in SECONDS",
        name="subscription-slow-start",
        metavar="SECONDS",
    )
    state: str = one(
        "text",
        "",
        "keep the table in FILE, and start with what is there after a restart",
        name="subscription-state",
        metavar="FILE",
    )
    max_nodes: int = one(
        "integer(1, 1000000)",
        16384,
        "refuse announcements beyond N nodes",
        name="subscription-max-nodes",
        metavar="N",
    )
    max_pools: int = one(
        "integer", 0, "refuse announcements beyond N keys", name="subscription-max-pools", metavar="N"
    )
    max_pool_nodes: int = one(
        "integer",
        0,
        "refuse announcements beyond N nodes of a key",
        name="subscription-max-pool-nodes",
        metavar="N",
    )
    max_source_nodes: int = one(
        "integer",
        0,
        "refuse announcements beyond N nodes of a source: an address, an IPv6 /64, a user",
        name="subscription-max-source-nodes",
        metavar="N",
    )
    max_rate: int = one(
        "integer",
        0,
        "refuse announcements of a source beyond N a second, over 10 seconds",
        name="subscription-max-rate",
        metavar="N",
    )
    allow: list[str] = many(
        "text",
        "take only announcements that meet every condition of one such rule: key=PATTERN..., signer=NAME...,"
        " uid=UID..., gid=GID..., from=NETWORK..., node=NETWORK-OR-PATTERN...",
        name="subscription-allow",
        metavar="KEYVAL",
    )
    sign_check: SignCheck | None = one(
        "sign_check",
        None,
        "take announcements only if they are signed with the key whose public half is in DIRECTORY/KEY.pem;"
        " ED25519 for DIGEST: in our own scheme only",
        name="subscriptions-sign-check",
        metavar="DIGEST:DIRECTORY",
    )
    sign_tolerance: int = one(
        "count",
        86400,
        "refuse signed announcements that are older than SECONDS",
        name="subscriptions-sign-check-tolerance",
        metavar="SECONDS",
    )
    sign_skip_uid: list[int] = many(
        "integer(0, 4294967295)",
        "take unsigned announcements from processes of user UID, which is not 0",
        name="subscriptions-sign-skip-uid",
        metavar="UID",
    )
    credentials: bool = one(
        "flag",
        False,
        "ask the kernel who sent what arrives on UNIX sockets, and take nothing from unknown senders",
        name="subscriptions-use-credentials",
    )
    credentials_check: list[str] = many(
        "text",
        "take announcements of a key only from the owner (user and group) of the file PREFIX + key",
        name="subscriptions-credentials-check",
        metavar="PREFIX",
    )


@dataclass(slots=True)
class CacheOptions(Group):
    """Caches"""

    cache: int = one("integer(0, 16777216)", 0, "make a cache called default with N items", metavar="N")
    cache2: list[str] = many(
        "text", "make a cache: name=NAME,items=N[,blocksize=BYTES][,expires=SECONDS]...", metavar="KEYVAL"
    )
    blocksize: int = one(
        "count", 65536, "longest value in the default cache", name="cache-blocksize", metavar="BYTES"
    )
    store: str = one(
        "text", "", "keep the default cache in FILE over restarts", name="cache-store", metavar="FILE"
    )
    no_expire: bool = one("flag", False, "let nothing in the default cache expire", name="cache-no-expire")
    add_item: list[str] = many(
        "text",
        "store an item, in every cache if none is named",
        name="add-cache-item",
        metavar="[CACHE ]KEY=VALUE",
    )
    load_file: list[str] = many(
        "text",
        "store a file's content under its path",
        name="load-file-in-cache",
        metavar="[CACHE ]FILE",
    )

    def definitions(self) -> list[Definition]:
        """Of all caches, in the order in which they are made. Raises CacheError."""
        first = []
        if self.cache:
            first = [
                Definition("default", self.cache, self.blocksize, store=self.store, no_expire=self.no_expire)
            ]
        return first + [parse_definition(text) for text in self.cache2]
