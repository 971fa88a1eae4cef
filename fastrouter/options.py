"""Every option, declared once: the parser, --help, --check and docs/options.md all come from here.

Names, aliases and defaults are uWSGI's where it has the option; where a default or an effect differs, the
help says so and docs/differences.md says why.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from fastrouter.balance import ALGORITHMS
from fastrouter.cache.definition import Definition, parse_definition
from fastrouter.config.option import (
    OPTIONAL,
    REQUIRED,
    Group,
    MappingSource,
    Option,
    SignCheck,
    declared,
    many,
    one,
)
from fastrouter.subscriber import SigningKey

__all__ = [
    "GROUPS",
    "AnnouncerOptions",
    "AppOptions",
    "CacheOptions",
    "LogOptions",
    "MappingSource",
    "MasterOptions",
    "Options",
    "RouterOptions",
    "SocketOptions",
    "SubscriptionOptions",
    "all_options",
]


@dataclass(slots=True)
class RouterOptions(Group):
    """The router"""

    PREFIX: ClassVar[str] = "fastrouter"

    addresses: list[str] = many(
        "text", "listen on ADDRESS; =N is shared socket number N", name="", metavar="ADDRESS"
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
    max_nodes: int = one(
        "integer(1, 1000000)",
        16384,
        "refuse announcements beyond N nodes",
        name="subscription-max-nodes",
        metavar="N",
    )

    sign_check: SignCheck | None = one(
        "sign_check",
        None,
        "take announcements only if they are signed with the key whose public half is in DIRECTORY/KEY.pem",
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


@dataclass(slots=True)
class SocketOptions(Group):
    """Sockets"""

    shared_socket: list[str] = many(
        "text", "bind ADDRESS before privileges are dropped, for use as =N", metavar="ADDRESS"
    )
    undeferred_shared_socket: list[str] = many(
        "text", "the same, accepting connections before they carry data", metavar="ADDRESS"
    )
    listen: int = one("integer(1)", 1024, "length of the backlog (uWSGI: 100)", short="l", metavar="N")
    chmod_socket: int | None = one(
        "mode",
        None,
        "mode of UNIX sockets, 666 if none is given",
        short="C",
        argument=OPTIONAL,
        metavar="MODE",
    )
    chown_socket: str = one("text", "", "owner of UNIX sockets", metavar="USER[:GROUP]")
    abstract_socket: bool = one("flag", False, "bind UNIX sockets in the abstract namespace", short="a")
    vacuum: bool = one("flag", False, "remove UNIX sockets and the pid file at exit")
    no_defer_accept: bool = one("flag", False, "accept TCP connections before they carry data")
    socket_timeout: int = one(
        "count", 4, "let the kernel wait SECONDS for data to accept", short="z", metavar="SECONDS"
    )
    so_keepalive: bool = one("flag", False, "probe idle TCP connections")
    reuse_port: bool = one("flag", False, "let other programs bind the same TCP address (SO_REUSEPORT)")
    freebind: bool = one("flag", False, "bind addresses that the machine does not have yet (IP_FREEBIND)")


@dataclass(slots=True)
class AppOptions(Group):
    """The local application"""

    sockets: list[str] = many(
        "text",
        "accept uwsgi requests on ADDRESS",
        name="socket",
        aliases=("uwsgi-socket",),
        short="s",
        metavar="ADDRESS",
    )
    wsgi_file: str = one(
        "text",
        "",
        "load the application from FILE; without a socket to serve, run it to fill a cache",
        aliases=("file",),
        metavar="FILE",
    )
    module: str = one(
        "text",
        "",
        "load the application from MODULE[:CALLABLE]",
        aliases=("wsgi",),
        short="w",
        metavar="MODULE",
    )
    need_app: bool = one("flag", False, "do not start without an application", argument=OPTIONAL)
    callable: str = one("text", "application", "name of the application in its module", metavar="NAME")
    pythonpath: list[str] = many(
        "text", "add DIRECTORY to the import path", aliases=("python-path", "pp"), metavar="DIRECTORY"
    )
    virtualenv: str = one(
        "text",
        "",
        "use the packages of the virtual environment DIRECTORY",
        aliases=("venv", "home", "pyhome"),
        short="H",
        metavar="DIRECTORY",
    )
    processes: int = one("count", 1, "number of app workers", aliases=("workers",), short="p", metavar="N")
    threads: int = one("count", 1, "threads in each app worker", metavar="N")
    harakiri: int = one(
        "integer", 0, "kill an app worker whose request takes over SECONDS", short="t", metavar="SECONDS"
    )
    max_requests: int = one("integer", 0, "replace an app worker after N requests", short="R", metavar="N")
    logformat: str = one("text", "", "format of the request log", aliases=("log-format",), metavar="FORMAT")
    disable_logging: bool = one("flag", False, "do not log requests", short="L")


@dataclass(slots=True)
class AnnouncerOptions(Group):
    """Announcing the local application"""

    subscribe_to: list[str] = many(
        "text",
        "announce to the subscription server: SERVER:KEY[,MODIFIER1] or SERVER:@FILE",
        aliases=("st", "subscribe"),
        metavar="SUBSCRIPTION",
    )
    subscribe2: list[str] = many(
        "text", "announce with server=,key=,addr=,socket=,weight=,modifier1=,...", metavar="KEYVAL"
    )
    frequency: int = one("integer(1)", 10, "announce every SECONDS", name="subscribe-freq", metavar="SECONDS")
    with_modifier1: int | None = one(
        "integer(0, 255)", None, "announce modifier1 N", name="subscribe-with-modifier1", metavar="N"
    )
    weight: int = one("integer(0, 65535)", 0, "announce weight N", metavar="N")
    auto_weight: bool = one(
        "flag", False, "announce processes times threads as weight", argument=REQUIRED, metavar="1"
    )
    notify_socket: str = one(
        "text",
        "",
        "ask for acknowledgements on the UNIX datagram socket PATH",
        name="subscription-notify-socket",
        metavar="PATH",
    )


@dataclass(slots=True)
class MasterOptions(Group):
    """The master"""

    master: bool = one("flag", False, "accepted for compatibility: there always is a master", short="M")
    pidfile: str = one("text", "", "write the master's pid to FILE", metavar="FILE")
    daemonize: str = one("text", "", "go into the background and log to FILE", short="d", metavar="FILE")
    chdir: str = one("text", "", "change to DIRECTORY once shared sockets are bound", metavar="DIRECTORY")
    umask: int | None = one("octal", None, "mask of the modes of created files", metavar="MASK")
    uid: str = one("text", "", "run as USER once sockets are bound", metavar="USER")
    gid: str = one("text", "", "run as GROUP once sockets are bound", metavar="GROUP")
    master_as_root: bool = one("flag", False, "drop privileges in the children only")
    env: list[str] = many("text", "set an environment variable for the application", metavar="NAME=VALUE")
    mercy: int = one(
        "count",
        60,
        "at a graceful stop, wait SECONDS for sessions to end",
        name="worker-reload-mercy",
        aliases=("reload-mercy",),
        metavar="SECONDS",
    )
    procname: str = one("text", "", "title of the children", metavar="TITLE")
    procname_master: str = one("text", "", "title of the master", metavar="TITLE")
    procname_prefix: str = one("text", "", "put TEXT in front of every title", metavar="TEXT")
    procname_prefix_spaced: str = one(
        "text", "", "put TEXT and a space in front of every title", metavar="TEXT"
    )
    procname_append: str = one("text", "", "put TEXT behind every title", metavar="TEXT")
    strict: bool = one("flag", False, "take every unknown name as an error, even one used as a placeholder")


@dataclass(slots=True)
class LogOptions(Group):
    """Logging"""

    logto: str = one("text", "", "log to FILE", aliases=("logto2",), metavar="FILE")
    log_date: bool = one(
        "flag", False, "put the date in front of log lines", aliases=("logdate",), argument=OPTIONAL
    )


GROUPS: tuple[type[Group], ...] = (
    RouterOptions,
    SubscriptionOptions,
    CacheOptions,
    SocketOptions,
    AppOptions,
    AnnouncerOptions,
    MasterOptions,
    LogOptions,
)


@dataclass(slots=True)
class Options:
    """A checked configuration."""

    router: RouterOptions = field(default_factory=RouterOptions)
    subscription: SubscriptionOptions = field(default_factory=SubscriptionOptions)
    cache: CacheOptions = field(default_factory=CacheOptions)
    sockets: SocketOptions = field(default_factory=SocketOptions)
    app: AppOptions = field(default_factory=AppOptions)
    announcer: AnnouncerOptions = field(default_factory=AnnouncerOptions)
    master: MasterOptions = field(default_factory=MasterOptions)
    log: LogOptions = field(default_factory=LogOptions)
    files: list[str] = field(default_factory=list)
    """The configuration files read, in order."""

    def groups(self) -> tuple[Group, ...]:
        return (
            self.router,
            self.subscription,
            self.cache,
            self.sockets,
            self.app,
            self.announcer,
            self.master,
            self.log,
        )


def all_options() -> dict[str, Option]:
    """Every option by its name and by each alias."""
    names = {}
    for group in GROUPS:
        for option in declared(group):
            for name in (option.name, *option.aliases):
                names[name] = option
    return names
