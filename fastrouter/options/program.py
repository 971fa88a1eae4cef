"""The options of the program around the router: sockets, the master, figures, hooks, the log."""

from dataclasses import dataclass

from fastrouter.options.declaration import OPTIONAL, Group, many, one
from fastrouter.options.hook import ACTIONS

__all__ = [
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
    no_defer_accept: bool = one("flag", False, "accept TCP connections before they carry data")
    socket_timeout: int = one(
        "count", 4, "let the kernel wait SECONDS for data to accept", short="z", metavar="SECONDS"
    )
    so_keepalive: bool = one("flag", False, "probe idle TCP connections")
    reuse_port: bool = one("flag", False, "let other programs bind the same TCP address (SO_REUSEPORT)")
    freebind: bool = one("flag", False, "bind addresses that the machine does not have yet (IP_FREEBIND)")
    no_fd_passing: bool = one(
        "flag",
        False,
        "relay every answer, even to nodes that would take the client's descriptor",
        differs=(
            "has an effect again: without it, descriptors are passed to nodes that say that they take "
            "them, and to the local application"
        ),
    )
    zerg_server: str = one(
        "text",
        "",
        "hand the application's sockets to whoever connects to the UNIX socket at PATH",
        metavar="PATH",
        differs="obeys chmod-socket",
    )
    zergpool: list[str] = many(
        "text",
        "bind ADDRESSes, and hand them to whoever connects to the UNIX socket at PATH",
        aliases=("zerg-pool",),
        metavar="PATH:ADDRESS[,ADDRESS]...",
    )


@dataclass(slots=True)
class MasterOptions(Group):
    """The master"""

    master: bool = one(
        "flag",
        False,
        "accepted for compatibility: there always is a master",
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
    umask: int | None = one("octal", None, "mask of the modes of created files", metavar="MASK")
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
        differs=(
            "B, C, E and f mean nothing here; + and - are for router workers; c, w and W for app workers"
        ),
    )
    touch_reload: list[str] = many(
        "text",
        "load the program anew, as at SIGHUP, when FILE is touched",
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
        "at a graceful stop, wait SECONDS for sessions to end",
        name="worker-reload-mercy",
        aliases=("reload-mercy",),
        metavar="SECONDS",
        differs="is for router workers too, at a reload and at a stop",
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
    """Hooks"""

    exec_asap: list[str] = many("text", "run COMMAND first of all", metavar="COMMAND")
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
    exec_post_app: list[str] = many("text", "run COMMAND when everybody is ready", metavar="COMMAND")
    exec_as_user_atexit: list[str] = many("text", "run COMMAND at the end", metavar="COMMAND")
    hook_asap: list[str] = many(
        "hook",
        "do ACTION first of all",
        metavar="ACTION:ARGUMENT",
        differs=f"the actions are {', '.join(ACTIONS)}; others are errors",
    )
    hook_pre_jail: list[str] = many(
        "hook", "do ACTION when shared sockets are bound", metavar="ACTION:ARGUMENT"
    )
    hook_in_jail: list[str] = many("hook", "do ACTION after that", metavar="ACTION:ARGUMENT")
    hook_post_jail: list[str] = many("hook", "do ACTION after that", metavar="ACTION:ARGUMENT")
    hook_as_root: list[str] = many(
        "hook", "do ACTION before privileges are dropped, if there are any", metavar="ACTION:ARGUMENT"
    )
    hook_as_user: list[str] = many("hook", "do ACTION when they are dropped", metavar="ACTION:ARGUMENT")
    hook_pre_app: list[str] = many("hook", "do ACTION before anything is forked", metavar="ACTION:ARGUMENT")
    hook_post_app: list[str] = many("hook", "do ACTION when everybody is ready", metavar="ACTION:ARGUMENT")
    hook_master_start: list[str] = many(
        "hook", "do ACTION when the master begins, after a reload too", metavar="ACTION:ARGUMENT"
    )
    hook_as_gateway: list[str] = many(
        "hook", "do ACTION in every router worker, before it routes", metavar="ACTION:ARGUMENT"
    )
    hook_post_fork: list[str] = many(
        "hook", "do ACTION in every app worker, before it loads the application", metavar="ACTION:ARGUMENT"
    )
    hook_accepting: list[str] = many(
        "hook", "do ACTION in every app worker, when it is about to accept", metavar="ACTION:ARGUMENT"
    )
    hook_accepting1: list[str] = many("hook", "do ACTION in the first one only", metavar="ACTION:ARGUMENT")
    hook_accepting_once: list[str] = many(
        "hook",
        "do ACTION in every app worker, when it first is about to accept",
        metavar="ACTION:ARGUMENT",
        differs="is not done again after a reload",
    )
    hook_accepting1_once: list[str] = many(
        "hook",
        "do ACTION in the first one only, when it first is",
        metavar="ACTION:ARGUMENT",
        differs="is not done again after a reload",
    )
    hook_touch: list[str] = many(
        "touch_hook", "do ACTION when FILE is touched", metavar="FILE ACTION:ARGUMENT"
    )
    hook_as_user_atexit: list[str] = many("hook", "do ACTION at the end", metavar="ACTION:ARGUMENT")


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
        "log nothing of less weight",
        name="log-level",
        metavar="LEVEL",
    )
    log_date: bool = one(
        "flag", False, "put the date in front of log lines", aliases=("logdate",), argument=OPTIONAL
    )
    truncate: bool = one("flag", False, "begin the log file anew at a start", name="log-truncate")
    maxsize: int = one(
        "integer",
        0,
        "move the log file away when it has over BYTES",
        name="log-maxsize",
        metavar="BYTES",
        differs="the size is looked at once a second",
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
