"""The options of the program around the router: sockets, the local application, the master, the log."""

from dataclasses import dataclass

from fastrouter.config.option import OPTIONAL, REQUIRED, Group, many, one

__all__ = [
    "AnnouncerOptions",
    "AppOptions",
    "FiguresOptions",
    "HookOptions",
    "LogOptions",
    "MasterOptions",
    "SocketOptions",
]


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
    zerg_server: str = one(
        "text",
        "",
        "hand the application's sockets to whoever connects to the UNIX socket at PATH",
        metavar="PATH",
    )
    zergpool: list[str] = many(
        "text",
        "bind ADDRESSes, and hand them to whoever connects to the UNIX socket at PATH",
        aliases=("zerg-pool",),
        metavar="PATH:ADDRESS[,ADDRESS]...",
    )


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
    zerg: list[str] = many(
        "text", "accept them on the sockets that the zerg server at ADDRESS offers", metavar="ADDRESS"
    )
    zerg_fallback: bool = one("flag", False, "do without those when there is no such server")
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

    @property
    def is_served(self) -> bool:
        """Whether there are app workers."""
        return bool(self.sockets or self.zerg)


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
    start_unsubscribed: bool = one("flag", False, "announce nothing until the master's pipe is told S")


@dataclass(slots=True)
class MasterOptions(Group):
    """The master"""

    master: bool = one("flag", False, "accepted for compatibility: there always is a master", short="M")
    pidfile: str = one("text", "", "write the master's pid to FILE", metavar="FILE")
    daemonize: str = one("text", "", "go into the background and log to FILE", short="d", metavar="FILE")
    chdir: str = one("text", "", "change to DIRECTORY once shared sockets are bound", metavar="DIRECTORY")
    umask: int | None = one("octal", None, "mask of the modes of created files", metavar="MASK")
    uid: str = one(
        "text", "", "run as USER once sockets are bound", aliases=("immediate-uid",), metavar="USER"
    )
    gid: str = one(
        "text", "", "run as GROUP once sockets are bound", aliases=("immediate-gid",), metavar="GROUP"
    )
    add_gid: list[str] = many("text", "be a member of GROUP, too", metavar="GROUP")
    cap: list[str] = one(
        "capabilities", (), "keep these capabilities as USER: net_bind_service, ...", metavar="NAME[,NAME]..."
    )
    no_new_privs: bool = one("flag", False, "let no program that is started from here gain privileges")
    master_as_root: bool = one("flag", False, "drop privileges in the children only")
    env: list[str] = many("text", "set an environment variable for the application", metavar="NAME=VALUE")
    fifo: list[str] = many(
        "text",
        "take commands of one letter from the named pipe FILE; of several, from the first, until a digit says"
        " which",
        name="master-fifo",
        metavar="FILE",
    )
    touch_reload: list[str] = many(
        "text", "load the program anew, as at SIGHUP, when FILE is touched", metavar="FILE"
    )
    touch_workers_reload: list[str] = many(
        "text", "replace the app workers when FILE is touched", metavar="FILE"
    )
    touch_chain_reload: list[str] = many(
        "text", "replace them one after the other when FILE is touched", metavar="FILE"
    )
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
class FiguresOptions(Group):
    """Figures"""

    http: bool = one(
        "flag", False, "answer like a web server where figures are asked for as JSON", name="stats-http"
    )
    minified: bool = one(
        "flag", False, "leave blanks and line ends out of that", name="stats-minified", aliases=("stats-min",)
    )


@dataclass(slots=True)
class HookOptions(Group):
    """Commands to run"""

    exec_asap: list[str] = many("text", "run COMMAND first of all", metavar="COMMAND")
    exec_pre_jail: list[str] = many("text", "run COMMAND when shared sockets are bound", metavar="COMMAND")
    exec_in_jail: list[str] = many("text", "run COMMAND after that", metavar="COMMAND")
    exec_post_jail: list[str] = many("text", "run COMMAND after that", metavar="COMMAND")
    exec_as_root: list[str] = many(
        "text", "run COMMAND before privileges are dropped, if there are any", metavar="COMMAND"
    )
    exec_as_user: list[str] = many("text", "run COMMAND when they are dropped", metavar="COMMAND")
    exec_pre_app: list[str] = many("text", "run COMMAND before anything is forked", metavar="COMMAND")
    exec_post_app: list[str] = many("text", "run COMMAND when everybody is ready", metavar="COMMAND")
    exec_as_user_atexit: list[str] = many("text", "run COMMAND at the end", metavar="COMMAND")
    hook_asap: list[str] = many("hook", "run COMMAND first of all", metavar="exec:COMMAND")
    hook_pre_jail: list[str] = many(
        "hook", "run COMMAND when shared sockets are bound", metavar="exec:COMMAND"
    )
    hook_in_jail: list[str] = many("hook", "run COMMAND after that", metavar="exec:COMMAND")
    hook_post_jail: list[str] = many("hook", "run COMMAND after that", metavar="exec:COMMAND")
    hook_as_root: list[str] = many(
        "hook", "run COMMAND before privileges are dropped, if there are any", metavar="exec:COMMAND"
    )
    hook_as_user: list[str] = many("hook", "run COMMAND when they are dropped", metavar="exec:COMMAND")
    hook_pre_app: list[str] = many("hook", "run COMMAND before anything is forked", metavar="exec:COMMAND")
    hook_post_app: list[str] = many("hook", "run COMMAND when everybody is ready", metavar="exec:COMMAND")
    hook_master_start: list[str] = many(
        "hook", "run COMMAND when the master begins, after a reload too", metavar="exec:COMMAND"
    )
    hook_as_gateway: list[str] = many(
        "hook", "run COMMAND in every router worker, before it routes", metavar="exec:COMMAND"
    )
    hook_as_user_atexit: list[str] = many("hook", "run COMMAND at the end", metavar="exec:COMMAND")


@dataclass(slots=True)
class LogOptions(Group):
    """Logging"""

    logto: str = one(
        "text", "", "log to FILE, or in datagrams to ADDRESS", aliases=("logto2",), metavar="FILE-OR-ADDRESS"
    )
    syslog: str | None = one(
        "string",
        None,
        "log to syslog, under NAME",
        name="log-syslog",
        argument=OPTIONAL,
        metavar="NAME",
    )
    journald: bool = one("flag", False, "log to systemd's journal", name="log-journald")
    level: str = one(
        "choice(debug, info, warning, error)",
        "info",
        "log nothing of less weight",
        name="log-level",
        metavar="LEVEL",
    )
    log_date: bool = one(
        "flag", False, "put the date in front of log lines", aliases=("logdate",), argument=OPTIONAL
    )
    truncate: bool = one("flag", False, "begin the log file anew at a start", name="log-truncate")
    maxsize: int = one(
        "integer", 0, "move the log file away when it has over BYTES", name="log-maxsize", metavar="BYTES"
    )
    backupname: str = one(
        "text",
        "",
        "what to name it then (default: its name and the time)",
        name="log-backupname",
        metavar="FILE",
    )
    touch_reopen: list[str] = many(
        "text",
        "go on in a new log file when FILE is touched (as is done, within a second, when the file was moved)",
        name="touch-logreopen",
        metavar="FILE",
    )
    touch_rotate: list[str] = many(
        "text", "move the log file away when FILE is touched", name="touch-logrotate", metavar="FILE"
    )

    @property
    def is_datagrams(self) -> bool:
        """Whether logto is an address (uWSGI 2.0.31 behaviour: it has a colon)."""
        return ":" in self.logto and "/" not in self.logto
