"""The options of the local application, and of announcing it."""

from dataclasses import dataclass

from fastrouter.options.declaration import OPTIONAL, REQUIRED, Group, many, one

__all__ = ["AnnouncerOptions", "AppOptions", "is_file"]


def is_file(application: str) -> bool:
    """Whether a mounted application is named by a file and not by a module (uWSGI 2.0.31 behaviour)."""
    return application.endswith((".py", ".wsgi")) or "/" in application


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
    protocol: str = one(
        "protocol",
        "uwsgi",
        "protocol of these sockets; only uwsgi",
        aliases=("socket-protocol",),
        metavar="uwsgi",
        differs="is an error with every other protocol",
    )
    zerg: list[str] = many(
        "text",
        "accept requests on the sockets that the zerg server at ADDRESS offers",
        metavar="ADDRESS",
        differs="outlives a reload",
    )
    zerg_fallback: bool = one("flag", False, "go on without them when that server does not answer")
    wsgi_file: str = one(
        "text",
        "",
        "load the application from FILE; without a socket, run FILE to fill a cache",
        aliases=("file",),
        metavar="FILE",
        differs=(
            "an application that cannot be loaded stops the start (need-app); without a socket it is "
            "run in a process of its own"
        ),
    )
    module: str = one(
        "text",
        "",
        "load the application from MODULE[:CALLABLE]",
        aliases=("wsgi",),
        short="w",
        metavar="MODULE",
    )
    mount: list[str] = many(
        "mount",
        "serve requests whose SCRIPT_NAME is PATH by APPLICATION, a file or MODULE[:CALLABLE]",
        metavar="PATH=APPLICATION",
        differs="takes no host in front of the path",
    )
    manage_script_name: bool = one(
        "flag",
        False,
        "find mounted applications by PATH_INFO, and move the prefix to SCRIPT_NAME",
        differs="goes by whole segments of the path, and the longest path counts",
    )
    no_default_app: bool = one("flag", False, "answer 500 when no application is mounted at SCRIPT_NAME")
    need_app: bool = one(
        "flag", False, "do not start without an application", argument=OPTIONAL, differs="is always so"
    )
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
        "integer", 0, "kill an app worker whose request takes more than SECONDS", short="t", metavar="SECONDS"
    )
    max_requests: int = one(
        "integer",
        0,
        "replace an app worker after N requests",
        short="R",
        metavar="N",
        differs="is counted by each app worker",
    )
    logformat: str = one("text", "", "format of the request log", aliases=("log-format",), metavar="FORMAT")
    disable_logging: bool = one("flag", False, "do not log requests", short="L")

    @property
    def mounts(self) -> dict[str, str]:
        """Files and modules of mounted applications, by path; that of the root is empty."""
        parts = [text.partition("=") for text in self.mount]
        return {path.rstrip("/"): application for path, _, application in parts}

    @property
    def is_there(self) -> bool:
        """Whether there is an application."""
        return bool(self.wsgi_file or self.module or self.mount)

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
        differs="is sent once the app workers are ready; the server may be a host name",
    )
    subscribe2: list[str] = many(
        "text",
        "announce with server=,key=,addr=,socket=,weight=,modifier1=,...",
        metavar="KEYVAL",
        differs=(
            "is sent once the app workers are ready; check=FILE announces when the file is there; "
            "weight does not leak into later ones"
        ),
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
    start_unsubscribed: bool = one("flag", False, "announce nothing until the FIFO gets S")

    @property
    def is_wanted(self) -> bool:
        """Whether there is anything to announce."""
        return bool(self.subscribe_to or self.subscribe2)
