"""Announcements, balancing, cheap mode."""

import socket
from collections import Counter
from contextlib import ExitStack

from harness import FakeNode, connect, wait_until

from differential.scenario import SUBSCRIPTION, Group, Scenario
from fastrouter.client import request_packet
from fastrouter.wire.packet import encode


def _asks(name, *hosts, **extra):
    return Scenario(name, lambda stage: [stage.ask(host) for host in hosts], **extra)


def _shares(stage, count, host="foo.com"):
    return sorted(Counter(stage.ask(host) for _ in range(count)).items())


def _new_node_lines(stage, datagram, address):
    """Whether a datagram makes a node."""
    stage.datagram(datagram)
    stage.settle()
    return stage.log_count(f"new node: {address}")


def _raw(command=0, **variables):
    pairs = [(name.encode(), value.encode()) for name, value in variables.items()]
    return encode(pairs, 224, command)


def _expires(stage):
    stage.announce("quiet.com", "B")
    wait_until(
        lambda: stage.log_count("quiet.com => marking") or stage.ask("quiet.com") == "", "it to be left out"
    )
    return stage.logged(r"quiet.com => marking .* as failed \(no announce received in 1 seconds\)")


def _noticed_without_traffic(stage):
    stage.announce("idle.com", "B")
    seen = []

    def found():
        seen.append(stage.log_count("idle.com => marking"))
        return seen[-1] or len(seen) > 400

    wait_until(found, "silence to be noticed")
    return seen[-1]


def _named_node(stage):
    address = "localhost:" + stage.places["A"].rpartition(":")[2]
    stage.announce("n.com", address)  # which waits for it: the name is looked up while others are taken
    return stage.log_count(f"new node: {address}"), stage.ask("n.com")


LIFE = Group(
    "announcements",
    SUBSCRIPTION,
    [
        Scenario("a node", lambda stage: (stage.announce("foo.com", "A"), stage.ask())),
        _asks("only its key", "foo.com", "bar.com", "FOO.COM"),
        Scenario("its modifiers", lambda stage: (stage.announce("mod.com", "B", modifier1=5, modifier2=7), stage.ask("mod.com"))),
        Scenario("two share", lambda stage: (stage.announce("foo.com", "B"), _shares(stage, 10))),
        Scenario("unsubscribing", lambda stage: (stage.unsubscribe("foo.com", "A"), _shares(stage, 4))),
        Scenario("the last one", lambda stage: (stage.unsubscribe("foo.com", "B"), stage.ask())),
        Scenario("what is not there", lambda stage: (stage.unsubscribe("foo.com", "B"), stage.ask())),
        Scenario("pool and node are logged", lambda stage: stage.logged(
            r"\[uwsgi-subscription for pid \d+\] new pool: foo.com \(hash key: 11571\)")),
        Scenario("the minimum", lambda stage: (_new_node_lines(stage, _raw(key="min.com", address="{A}"), "x"))),
        Scenario("variables in any order, unknown ones, rubbish behind", lambda stage: (
            _new_node_lines(stage, _raw(zzz="1", address=stage.places["C"], weight="2x", key="odd.com") + b"\xff\xff\xff",
                            stage.places["C"]), stage.ask("odd.com"))),
        Scenario("too short", lambda stage: _new_node_lines(stage, b"\xe0\0\0\0", "x")),
        Scenario("no address", lambda stage: _new_node_lines(stage, _raw(key="a.com"), "a.com")),
        Scenario("an empty key", lambda stage: _new_node_lines(stage, _raw(key="", address="127.0.0.1:99"), "127.0.0.1:99"),
                 ours=0, differs="a key of more than 255 bytes overwrites memory; an empty one makes a pool that nothing reaches"),
        Scenario("garbage", lambda stage: _new_node_lines(stage, _raw(key="g.com", address="not at all:99"), "not at all:99"),
                 ours=0, differs="an address that cannot be dialled becomes a node that fails every request"),
        Scenario("a host name", _named_node, ours=(1, "A 0/0"), differs="host names of nodes are not looked up: such nodes fail every request"),
        Scenario("the router itself", lambda stage: _new_node_lines(stage, _raw(key="me.com", address=stage.address), stage.address),
                 ours=0, differs="the router's own address becomes a node, and a request goes round until descriptors run out"),
        Scenario("a refresh with other modifiers", lambda stage: (
            stage.announce("new.com", "A", modifier1=1), stage.refresh("new.com", "A", modifier1=2), stage.ask("new.com")),
                 ours=(None, None, "A 2/0"), differs="a refresh does not change a node's modifiers"),
    ],
)  # fmt: skip


def _ipv6(stage):
    node = stage.keep(FakeNode(host="::1"))
    stage.announce("six.com", node.address)
    return bool(stage.ask("six.com"))


IPV6 = Group(
    "IPv6 nodes",
    SUBSCRIPTION,
    [Scenario("a request", _ipv6, differs="IPv6 nodes are accepted and never reached", ours=True)],
)

DEAD = Group(
    "announced, but dead",
    SUBSCRIPTION,
    [
        Scenario("the other serves", lambda stage: (
            stage.announce("foo.com", "dead"), stage.announce("foo.com", "A"), _shares(stage, 6))),
        Scenario("it is marked", lambda stage: stage.logged("foo.com => marking .* as failed$")),
        Scenario("and back when it announces", lambda stage: (stage.announce("foo.com", "dead"), _shares(stage, 4))),
    ],
)  # fmt: skip

TOLERANCE = Group(
    "subscription-tolerance",
    (*SUBSCRIPTION, "--subscription-tolerance=1"),
    [
        Scenario("silence", _expires),
        Scenario("noticed without traffic", _noticed_without_traffic, ours=1,
                 differs="a node that falls silent is noticed by the next request for its key, which is lost"),
    ],
)  # fmt: skip


def _three(stage, *weights):
    for name, weight in zip("ABC", weights, strict=True):
        stage.announce("foo.com", name, weight=weight)


EQUAL = Group("wrr, equal weights", SUBSCRIPTION, [
    Scenario("all the same", lambda stage: (_three(stage, 1, 1, 1), _shares(stage, 12))),
])  # fmt: skip

WEIGHTS = Group("wrr, whole ratios", SUBSCRIPTION, [
    Scenario("4 : 2 : 2", lambda stage: (_three(stage, 4, 2, 2), [stage.ask() for _ in range(3)] and None,
                                         _shares(stage, 12))[2]),
])  # fmt: skip

UNEVEN = Group("wrr, 3 to 2", SUBSCRIPTION, [
    Scenario("a cycle", lambda stage: (stage.announce("foo.com", "A", weight=3), stage.announce("foo.com", "B", weight=2),
                                       _shares(stage, 10))[2], ours=[("A 0/0", 6), ("B 0/0", 4)],
             differs="round robin divides weights as integers and picks in bursts"),
])  # fmt: skip


def _concurrent(stage, weights, count):
    """How requests that do not end are spread over held nodes."""
    held = [stage.hold() for _ in weights]
    for node, weight in zip(held, weights, strict=True):
        stage.announce("held.com", node.address, weight=weight)
    with ExitStack() as stack:
        for number in range(count):
            sock = stack.enter_context(connect(stage.address))
            sock.sendall(request_packet("GET", "http://held.com/"))
            wait_until(lambda: sum(node.connections for node in held) == number + 1, "it to arrive")  # noqa: B023
        return [node.connections for node in held]


LRC = Group("lrc", (*SUBSCRIPTION, "--subscription-algo=lrc"), [
    Scenario("concurrent requests", lambda stage: _concurrent(stage, (1, 1, 1), 9)),
    Scenario("sequential ones", lambda stage: (_three(stage, 1, 1, 1), _shares(stage, 9))[1]),
])  # fmt: skip

WLRC = Group("wlrc", (*SUBSCRIPTION, "--subscription-algo=wlrc"), [
    Scenario("concurrent requests", lambda stage: _concurrent(stage, (3, 1, 1), 10)),
])  # fmt: skip


def _new_in_21(stage):
    """What 2.0.31 takes no notice of: a backup node, and the pool's own algorithm."""
    stage.announce("foo.com", "A", backup=1)
    stage.announce("foo.com", "B")
    return _shares(stage, 4)


NEWER = Group("what 2.1 has", SUBSCRIPTION, [
    Scenario("a backup node", _new_in_21, ours=[("B 0/0", 4)],
             differs="`iphash`, backup levels, `algo` and mountpoints are in 2.1 only"),
])  # fmt: skip

MANY = Group(
    "several processes",
    (*SUBSCRIPTION, "--fastrouter-processes=4", "--subscription-algo=lrc"),
    [
        Scenario("all know the node", lambda stage: (stage.announce("foo.com", "A"), stage.everybody_knows(4),
                                                     _shares(stage, 20))[2]),
        Scenario("there are so many", lambda stage: len(stage.router_processes(4))),
    ],
)  # fmt: skip


def _waits(stage):
    sock = stage.connect()
    sock.sendall(request_packet("GET", "http://foo.com/"))
    stage.announce("foo.com", "A")
    return stage.read(sock)


def _falls_silent(stage):
    stage.announce("foo.com", "A")
    stage.pause(3)
    return stage.log_count("Going cheap") > 0


CHEAP = Group(
    "cheap",
    (*SUBSCRIPTION, "--fastrouter-cheap"),
    [
        Scenario("it says so", lambda stage: stage.logged("starting .*fastrouter in cheap mode")),
        Scenario("a request waits for a node", _waits),
        Scenario("leaving is logged", lambda stage: stage.logged(r"\[uWSGI fastrouter pid \d+\] leaving cheap mode...")),
        Scenario("the last node leaves", lambda stage: (
            stage.unsubscribe("foo.com", "A"), stage.drop_barriers(), stage.logged("no more nodes available. Going cheap"))[2]),
    ],
)  # fmt: skip


CHEAP_SILENT = Group(
    "cheap, and the last node falls silent",
    (*SUBSCRIPTION, "--fastrouter-cheap", "--subscription-tolerance=1"),
    [Scenario("it is cheap again", _falls_silent, ours=True,
              differs="left and entered by each process in its own time, entered only when something is sent")],
)  # fmt: skip


def _from_all_addresses(stage):
    """A node that listens on one address says "all of them", in a datagram from there."""
    node = stage.keep(FakeNode(host="127.0.0.2"))
    port = node.address.rpartition(":")[2]
    host, _, server = stage.places["udp"].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.2", 0))
        sock.sendto(_raw(key="foo.com", address=f":{port}"), (host, int(server)))
    stage.logged("foo.com => new node")
    return bool(stage.ask())


UDP = Group(
    "UDP",
    ("--fastrouter-subscription-server={udp}",),
    [
        Scenario("a port on all addresses", _from_all_addresses, ours=True,
                 differs="`:3031` is dialled on the router's own machine"),
    ],
)  # fmt: skip


def _too_long(stage):
    filler = {f"filler{number}": "x" * 400 for number in range(12)}
    return _new_node_lines(stage, _raw(key="long.com", address="127.0.0.1:98", **filler), "127.0.0.1:98")


LONG = Group(
    "a long datagram",
    SUBSCRIPTION,
    [Scenario("over 4096 bytes", _too_long, ours=0, differs="datagrams over 4096 bytes are cut")],
)


def _after_a_kill(stage):
    stage.announce("foo.com", "A")
    before = stage.ask()
    stage.kill_router()
    return before, stage.ask(limit=2)


KILLED = Group(
    "a router process is killed",
    SUBSCRIPTION,
    [
        Scenario("its successor", _after_a_kill, ours=("A 0/0", "A 0/0"),
                 differs="each router process has its own table; a restarted one forgets every node until it "
                         "announces again"),
    ],
)  # fmt: skip

KILLED_CHEAP = Group(
    "a cheap router process is killed",
    (*SUBSCRIPTION, "--fastrouter-cheap"),
    [
        Scenario("its successor", _after_a_kill, ours=("A 0/0", "A 0/0"),
                 differs="a respawned process is cheap until the next announcement"),
    ],
)  # fmt: skip


def _one_process_each(stage):
    """Two requests that do not end, each to another process where that can be arranged."""
    held = [stage.hold() for _ in range(2)]
    for node in held:
        stage.announce("held.com", node.address)
    stage.everybody_knows(2)
    processes = stage.router_processes(2)
    for number in range(2):
        if stage.is_uwsgi:
            processes[1 - number].suspend()
        sock = stage.connect()
        sock.sendall(request_packet("GET", "http://held.com/"))
        wait_until(lambda: sum(node.connections for node in held) == number + 1, "it to arrive")  # noqa: B023
        processes[1 - number].resume()
    return sorted(node.connections for node in held)


LRC_MANY = Group(
    "lrc, several processes",
    (*SUBSCRIPTION, "--fastrouter-processes=2", "--subscription-algo=lrc"),
    [
        Scenario("requests of both count", _one_process_each, ours=[1, 1],
                 differs="least connections and weights count one process's requests"),
    ],
)  # fmt: skip

CHEAP_STATIC = Group(
    "cheap with static nodes",
    ("--fastrouter-to={A}", "--fastrouter-cheap"),
    [Scenario("a request", lambda stage: stage.ask(limit=2), ours="A 0/0",
              differs="with static nodes (`fastrouter-to`) a cheap router never accepts anything")],
)  # fmt: skip

GROUPS = [
    LIFE, IPV6, DEAD, TOLERANCE, EQUAL, WEIGHTS, UNEVEN, LRC, WLRC, NEWER, MANY, CHEAP, CHEAP_SILENT, CHEAP_STATIC, UDP, LONG, KILLED, KILLED_CHEAP, LRC_MANY,
]  # fmt: skip
