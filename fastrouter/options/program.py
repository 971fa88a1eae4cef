"""The options of the program around the router: sockets, the master, statistics, hooks, the log."""

from dataclasses import dataclass

from fastrouter.options.declaration import OPTIONAL, Group, many, one
from fastrouter.options.hook import ACTIONS

__all__ = [
    "HookOptions",
    "LogOptions",
    "MasterOptions",
    "SocketOptions",
    "StatisticsOptions",
]


@dataclass(slots=True)
class SocketOptions(Group):
    """Sockets"""

    shared_socket: list[str] = many(
        "text", "bind ADDRESS before privileges are dropped, for use as =N", metavar="ADDRESS"
    )
    undeferred_shared_socket: list[str] = many(
        "text", "the same, without waiting for data before a connection is accepted", metavar="ADDRESS"
    )
    listen: int = one(
        "integer(1)",
        1024,
        "length of the backlog (uWSGI: 100)",
        short="l",
        metavar="N",
        differs="the default is 1024",
    )
    chmod_socket: int | None = one(
        "mode",
        None,
        "mode of UNIX sockets, 666 if none is given",
        aliases=("chmod",),
        short="C",
        argument=OPTIONAL,
        metavar="MODE",
    )
    chown_socket: str = one(
        "text",
        "",
        "owner of UNIX sockets",
        metavar="USER[:GROUP]",
        differs="is for the router's sockets, too",
    )
    abstract_socket: bool = one("flag", False, "bind UNIX sockets in the abstract namespace", short="a")
    vacuum: bool = one(
        "flag",
        False,
        "remove UNIX sockets and the pid file at exit",
        differs="is for the router's sockets, too",
    )
    no_defer_accept: bool = one("flag", False, "do not wait for data before a TCP connection is accepted")
    socket_timeout: int = one(
        "count",
        4,
        "how long the kernel waits for data before it hands out a connection",
        short="z",
        metavar="SECONDS",
    )
    so_keepalive: bool = one("flag", False, "probe idle TCP connections")
    reuse_port: bool = one("flag", False, "let other programs bind the same TCP address (SO_REUSEPORT)")
    freebind: bool = one("flag", False, "bind addresses that the machine does not have yet (IP_FREEBIND)")
    no_fd_passing: bool = one(
        "flag",
        False,
        "relay every answer; pass no client's descriptor",
        differs=(
            "has an effect again: without it, descriptors are passed to nodes that say that they take "
            "them, and to the local application"
        ),
    )
    zerg_server: str = one(
        "text",
        "",
        "zerg server: hand the application's sockets to instances that connect to PATH",
        metavar="PATH",
        differs="obeys chmod-socket",
    )
    zergpool: list[str] = many(
        "text",
        "zerg server: bind ADDRESSes, and hand them to instances that connect to PATH",
        aliases=("zerg-pool",),
        metavar="PATH:ADDRESS[,ADDRESS]...",
    )


@dataclass(slots=True)
class MasterOptions(Group):
    """The master"""

    master: bool = one(
        "flag",
        False,
        "accepted for compatibility; there is always a master",
        short="M",
        differs="there always is one",
    )
    pidfile: str = one(
        "text",
        "",
        "write the master's pid to FILE",
        aliases=("safe-pidfile", "pidfile2", "safe-pidfile2"),
        metavar="FILE",
        differs="is relative to where the program was started, and written before privileges are dropped",
    )
    daemonize: str = one(
        "text",
        "",
        "go into the background and log to FILE",
        short="d",
        metavar="FILE",
        differs="the command returns when the router serves, and fails when it does not",
    )
    chdir: str = one("text", "", "change to DIRECTORY once shared sockets are bound", metavar="DIRECTORY")
    umask: int | None = one("octal", None, "umask of created files", metavar="MASK")
    uid: str = one(
        "text",
        "",
        "run as USER once sockets are bound",
        aliases=("immediate-uid",),
        metavar="USER",
        differs=(
            "every socket is bound before, those of the router too; supplementary groups are those of "
            "the user"
        ),
    )
    gid: str = one(
        "text", "", "run as GROUP once sockets are bound", aliases=("immediate-gid",), metavar="GROUP"
    )
    add_gid: list[str] = many("text", "add GROUP to the supplementary groups", metavar="GROUP")
    cap: list[str] = one(
        "capabilities", (), "keep these capabilities as USER: net_bind_service, ...", metavar="NAME[,NAME]..."
    )
    no_new_privs: bool = one("flag", False, "forbid started programs to gain privileges (no_new_privs)")
    master_as_root: bool = one("flag", False, "drop privileges in the children only")
    env: list[str] = many("text", "set an environment variable for the application", metavar="NAME=VALUE")
    fifo: list[str] = many(
        "text",
        "take one-letter commands from the FIFO at FILE; a digit activates another one",
        name="master-fifo",
        metavar="FILE",
        differs=(
            "B, C, E and f mean nothing here; + and - are for router workers; c, w and W for app workers"
        ),
    )
    touch_reload: list[str] = many(
        "text",
        "reload, as at SIGHUP, when FILE is touched",
        metavar="FILE",
        differs="loses no request, and changes nothing when the new configuration is wrong",
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
        "wait up to SECONDS for sessions at a graceful stop",
        name="worker-reload-mercy",
        aliases=("reload-mercy",),
        metavar="SECONDS",
        differs="is for router workers too, at a reload and at a stop",
    )
    procname: str = one("text", "", "title of the children", metavar="TITLE")
    procname_master: str = one("text", "", "title of the master", metavar="TITLE")
    procname_prefix: str = one("text", "", "prepend TEXT to every title", metavar="TEXT")
    procname_prefix_spaced: str = one("text", "", "prepend TEXT and a space to every title", metavar="TEXT")
    procname_append: str = one("text", "", "append TEXT to every title", metavar="TEXT")
    strict: bool = one("flag", False, "treat every unknown name as an error, even placeholders")


@dataclass(slots=True)
class StatisticsOptions(Group):
    """Statistics"""

    http: bool = one("flag", False, "serve the JSON over HTTP", name="stats-http")
    minified: bool = one(
        "flag",
        False,
        "leave blanks and line ends out of the JSON",
        name="stats-minified",
        aliases=("stats-min",),
    )


@dataclass(slots=True)
class HookOptions(Group):
    """Hooks"""

    exec_asap: list[str] = many("text", "run COMMAND before anything else", metavar="COMMAND")
    exec_pre_jail: list[str] = many("text", "run COMMAND when shared sockets are bound", metavar="COMMAND")
    exec_in_jail: list[str] = many(
        "text", "run COMMAND after that", metavar="COMMAND", differs="is run although there is no jail"
    )
    exec_post_jail: list[str] = many(
        "text", "run COMMAND after that", metavar="COMMAND", differs="is run although there is no jail"
    )
    exec_as_root: list[str] = many(
        "text",
        "run COMMAND before privileges are dropped, if there are any",
        metavar="COMMAND",
        differs="is run once",
    )
    exec_as_user: list[str] = many(
        "text",
        "run COMMAND when they are dropped",
        metavar="COMMAND",
        differs="is run once, without root too",
    )
    exec_pre_app: list[str] = many("text", "run COMMAND before anything is forked", metavar="COMMAND")
    exec_post_app: list[str] = many("text", "run COMMAND when all processes are ready", metavar="COMMAND")
    exec_as_user_atexit: list[str] = many("text", "run COMMAND at the end", metavar="COMMAND")
    hook_asap: list[str] = many(
        "hook",
        "run ACTION before anything else",
        metavar="ACTION:ARGUMENT",
        differs=f"the actions are {', '.join(ACTIONS)}; others are errors",
    )
    hook_pre_jail: list[str] = many(
        "hook", "run ACTION when shared sockets are bound", metavar="ACTION:ARGUMENT"
    )
    hook_in_jail: list[str] = many("hook", "run ACTION after that", metavar="ACTION:ARGUMENT")
    hook_post_jail: list[str] = many("hook", "run ACTION after that", metavar="ACTION:ARGUMENT")
    hook_as_root: list[str] = many(
        "hook", "run ACTION before privileges are dropped, if there are any", metavar="ACTION:ARGUMENT"
    )
    hook_as_user: list[str] = many("hook", "run ACTION when they are dropped", metavar="ACTION:ARGUMENT")
    hook_pre_app: list[str] = many("hook", "run ACTION before anything is forked", metavar="ACTION:ARGUMENT")
    hook_post_app: list[str] = many(
        "hook", "run ACTION when all processes are ready", metavar="ACTION:ARGUMENT"
    )
    hook_master_start: list[str] = many(
        "hook", "run ACTION when the master starts, and after each reload", metavar="ACTION:ARGUMENT"
    )
    hook_as_gateway: list[str] = many(
        "hook", "run ACTION in every worker of a router before it accepts", metavar="ACTION:ARGUMENT"
    )
    hook_post_fork: list[str] = many(
        "hook", "run ACTION in every app worker, before it loads the application", metavar="ACTION:ARGUMENT"
    )
    hook_accepting: list[str] = many(
        "hook", "run ACTION in every app worker before it accepts", metavar="ACTION:ARGUMENT"
    )
    hook_accepting1: list[str] = many(
        "hook", "run ACTION in the first app worker only", metavar="ACTION:ARGUMENT"
    )
    hook_accepting_once: list[str] = many(
        "hook",
        "run ACTION in every app worker before it accepts for the first time",
        metavar="ACTION:ARGUMENT",
        differs="is not done again after a reload",
    )
    hook_accepting1_once: list[str] = many(
        "hook",
        "run ACTION in the first app worker, the first time only",
        metavar="ACTION:ARGUMENT",
        differs="is not done again after a reload",
    )
    hook_touch: list[str] = many(
        "touch_hook", "run ACTION when FILE is touched", metavar="FILE ACTION:ARGUMENT"
    )
    hook_as_user_atexit: list[str] = many("hook", "run ACTION at the end", metavar="ACTION:ARGUMENT")


@dataclass(slots=True)
class LogOptions(Group):
    """Logging"""

    logto: str = one(
        "text",
        "",
        "log to FILE, or in datagrams to ADDRESS",
        aliases=("logto2",),
        metavar="FILE-OR-ADDRESS",
        differs="is relative to where the program was started; a file that was moved away is begun anew",
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
        "lowest level that is logged",
        name="log-level",
        metavar="LEVEL",
    )
    log_date: bool = one(
        "flag", False, "prepend the date to log lines", aliases=("logdate",), argument=OPTIONAL
    )
    truncate: bool = one("flag", False, "truncate the log file at the start", name="log-truncate")
    maxsize: int = one(
        "integer",
        0,
        "rotate the log file when it exceeds BYTES",
        name="log-maxsize",
        metavar="BYTES",
        differs="the size is looked at once a second",
    )
    backupname: str = one(
        "text",
        "",
        "name of the rotated file (default: its name and the time)",
        name="log-backupname",
        metavar="FILE",
    )
    touch_reopen: list[str] = many(
        "text",
        "reopen the log file when FILE is touched (a moved file is noticed within a second without it)",
        name="touch-logreopen",
        metavar="FILE",
    )
    touch_rotate: list[str] = many(
        "text", "rotate the log file when FILE is touched", name="touch-logrotate", metavar="FILE"
    )

    @property
    def is_datagrams(self) -> bool:
        """Whether logto is an address (uWSGI 2.0.31 behaviour: it has a colon)."""
        return ":" in self.logto and "/" not in self.logto
