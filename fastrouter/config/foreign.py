"""Options of uWSGI that are no options here: which of them cannot be passed over, and why the others can."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

__all__ = ["foreign_options", "why_ignored", "why_refused"]

_UNSUPPORTED = {
    "fastrouter": "not supported by this version",
    "fastrouter-emperor-socket": "not supported, because there is no emperor here whom to ask for instances",
    "fastrouter-defer-connect-timeout": "not supported, because there is no emperor here to wait for",
    "subscription": "not supported by this version",
    "cache-udp-node": "not supported, because caches are not replicated by datagrams here",
    "cache-udp-server": "not supported, because caches are not replicated by datagrams here",
    "cache-sync": "not supported, because caches are not replicated here; cache-store outlives a restart",
    "load-file-in-cache-gzip": "not supported; give load-file-in-cache a compressed file",
    "http": "there is no HTTP router here; put nginx in front",
    "https": "there is no HTTPS router here; put nginx in front",
    "rawrouter": "there is no raw router here",
    "sslrouter": "there is no SSL router here",
    "forkptyrouter": "there is no pseudo-terminal router here",
    "forkptyurouter": "there is no pseudo-terminal router here",
    "tuntap": "there is no tun/tap router here",
    "emperor": "there is no emperor here; use systemd, supervisord or circus",
    "chroot": "not supported here; use RootDirectory= of systemd, or a container",
    "unshare": "not supported here; use systemd, or a container",
    "xml": "configurations are ini files here",
    "xmlconfig": "configurations are ini files here",
    "yaml": "configurations are ini files here",
    "yml": "configurations are ini files here",
    "json": "configurations are ini files here",
    "js": "configurations are ini files here",
    "config": "configurations are ini files here",
}
"""By their first words: something else would be served."""

_ELSEWHERE = {
    "alarm": "watch the log or fastrouter-prometheus instead",
    "attach-daemon": "start it with your process manager",
    "attach-daemon2": "start it with your process manager",
    "auto-procname": "processes always have titles",
    "buffer-size": "packets of every size are accepted",
    "carbon": "fastrouter-prometheus tells the figures",
    "cheap": "it is about application workers; fastrouter-cheap is the router's",
    "cheaper": "the number of app workers is fixed; that of router workers changes with TTIN and TTOU",
    "check-interval": "the master looks at everything at least once a second",
    "cron": "use cron, or timers of systemd",
    "die-on-term": "TERM always stops here",
    "drop-after-apps": "privileges are dropped once everything is bound",
    "drop-after-init": "privileges are dropped once everything is bound",
    "enable-threads": "threads of the application always run",
    "exit-on-reload": "a reload keeps the process",
    "force-gateway": "router workers always have a master",
    "http": "there is no HTTP router here",
    "idle": "it is about application workers; fastrouter-cheap is the router's",
    "lazy": "each application worker loads the application itself",
    "lazy-apps": "each application worker loads the application itself",
    "legion": "use keepalived, or what else moves addresses",
    "log": "requests are logged by fastrouter-log, all else by logto, log-syslog or log-journald",
    "log-4xx": "the log of requests is fastrouter-log's",
    "log-5xx": "the log of requests is fastrouter-log's",
    "log-master": "no process ever waits for the log here",
    "log-reopen": "a reload opens the log again, and so does who finds it moved away",
    "logger": "see log-syslog and log-journald",
    "metric": "fastrouter-prometheus tells the figures",
    "mule": "start such processes with your process manager",
    "need-plugin": "there are no plugins; what is supported is built in",
    "no-orphans": "no process outlives the master",
    "plugin": "there are no plugins; what is supported is built in",
    "plugins": "there are no plugins; what is supported is built in",
    "plugins-dir": "there are no plugins; what is supported is built in",
    "py": "of the application server, there is only a small one here",
    "python": "of the application server, there is only a small one here",
    "req-logger": "see log-syslog and log-journald",
    "route": "there is no internal routing here; do that in the web server",
    "rrdtool": "fastrouter-prometheus tells the figures",
    "safe-pidfile": "use pidfile",
    "single-interpreter": "there is one interpreter in each process",
    "snmp": "fastrouter-prometheus tells the figures",
    "spooler": "use a queue and its workers",
    "static": "files are the web server's",
    "stats": "it tells about application workers; fastrouter-stats tells about the router",
    "thunder-lock": "the kernel wakes one waiter at a time (EPOLLEXCLUSIVE)",
    "touch-exec": "use a path unit of systemd",
    "websocket": "websockets pass through",
    "websockets": "websockets pass through",
}
"""By their first words: what to do instead, or why nothing is to be done."""


@cache
def foreign_options() -> dict[str, str]:
    """All of them, and whether they take an argument."""
    text = files("fastrouter.config").joinpath("foreign.txt").read_text("utf-8")
    return dict(line.split() for line in text.splitlines() if not line.startswith("#"))


def why_refused(name: str) -> str:
    """Why an option cannot be passed over; empty when it can."""
    return _longest(name, _UNSUPPORTED)


def why_ignored(name: str) -> str:
    return _longest(name, _ELSEWHERE) or "it is about a part of uWSGI that is not here"


def _longest(name: str, table: Mapping[str, str]) -> str:
    """What the table has for the longest beginning of a name that ends where a word does."""
    for end in range(len(name), 0, -1):
        if (end == len(name) or name[end] == "-") and name[:end] in table:
            return table[name[:end]]
    return ""
