"""Addresses, privileges, and configurations that are refused."""

from harness import wait_until

from differential.scenario import Group, Scenario, exits


def _asks_at(name, address):
    return Scenario(name, lambda stage: stage.ask(address=stage.place(address)))


LISTENING = Group(
    "addresses to listen on",
    (
        "--shared-socket={dir}/shared.sock",
        "--fastrouter", "=0",
        "--fastrouter", "{dir}/a.sock",
        "--fastrouter", "{free6}",
        "--fastrouter", "{free}",
        "--fastrouter-to={A}",
    ),
    [
        _asks_at("a shared socket", "{dir}/shared.sock"),
        _asks_at("a UNIX socket", "{dir}/a.sock"),
        _asks_at("TCP", "{free}"),
        _asks_at("IPv6", "{free6}"),
    ],
)  # fmt: skip


def _identities(stage):
    """User and group of the processes, once they have changed them."""
    processes = stage.router_processes(3)
    wait_until(lambda: all(process.uids().real for process in processes), "privileges to be dropped")
    return [(process.uids().real, process.gids().real) for process in processes]


PROCESSES = Group(
    "uid, gid, processes",
    (
        "--fastrouter-to={A}",
        "--fastrouter-processes=3",
        "--fastrouter-uid=nobody",
        "--fastrouter-gid=65534",
        "--chmod-socket=666",
    ),
    [
        Scenario("who they are", _identities),
        Scenario("they route", lambda stage: [stage.ask() for _ in range(3)]),
    ],
)

_INI = "[uwsgi]\nmaster = true\nfastrouter = {dir}/router.sock\nfastrouter-to = {A}\n"

GROUPS = [
    LISTENING,
    PROCESSES,
    Group(
        "a file",
        ("--ini", "router.ini"),
        [Scenario("a request", lambda stage: stage.ask())],
        {"router.ini": _INI},
    ),
    exits(
        "a UDP address in use",
        "--fastrouter-subscription-server={udp_taken}",
        ours=1,
        differs="a UDP address in use is shared silently; the last one bound takes all announcements",
    ),
    exits("an unknown option", "--fastrouter-nonsense=1"),
    exits("an unknown user", "--fastrouter-to={A}", "--fastrouter-uid=nosuchuser"),
    exits("an unknown group", "--fastrouter-to={A}", "--fastrouter-gid=nosuchgroup"),
    exits("a negative number", "--fastrouter-to={A}", "--fastrouter-timeout=-5"),
    exits("a shared socket that is not there", "--fastrouter", "=3", "--fastrouter-to={A}"),
    exits("an address in use", "--fastrouter", "{A}", "--fastrouter-to={B}"),
    exits("a path that is too long", "--fastrouter", "/tmp/" + "x" * 200, "--fastrouter-to={B}"),
]
