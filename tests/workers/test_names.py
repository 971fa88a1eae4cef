"""Host names of nodes: announced and configured ones, and what happens when they come to mean something else."""

import threading

import pytest
from harness import Router, request, send_announcement, subscription_router

import workers.resolver
from fastrouter.subscriptions.saved_state import SavedNode, save_state
from fastrouter.wire.announcement import Announcement
from workers.loop import Loop
from workers.resolver import Resolver, TooManyNames, look_up


def port_of(node):
    return node.address.rpartition(":")[2]


def test_announced(node):
    with subscription_router("--fastrouter-processes=2") as router:
        router.announce("foo.com", f"localhost:{port_of(node)}")
        assert {request(router.address).rpartition(b"\n")[2] for _ in range(8)} == {node.address.encode()}
        router.unsubscribe("foo.com", f"localhost:{port_of(node)}")
        assert request(router.address) == b""


def test_a_name_that_nobody_knows(node):
    with subscription_router() as router:
        send_announcement(router.server, Announcement("foo.com", "no-such-host.invalid:80"))
        router.wait_for("refused .* foo.com: nobody knows the name no-such-host.invalid")
        router.announce("foo.com", node.address)
        assert request(router.address).endswith(node.address.encode())


@pytest.mark.parametrize("option", ["to", "fallback"])
def test_configured(node, option):
    to = (f"--fastrouter-to=localhost:{port_of(node)}",)
    fallback = ("--fastrouter-to=no-such-host.invalid:80", f"--fastrouter-fallback=localhost:{port_of(node)}")
    with Router(
        "--fastrouter=127.0.0.1:0", "--fastrouter-processes=2", *(to if option == "to" else fallback)
    ) as router:
        router.wait_for(f"localhost:{port_of(node)} is at (127.0.0.1|.::1.):{port_of(node)}")
        assert request(router.address).endswith(node.address.encode())


def test_configured_and_unknown(node):
    with Router(
        "--fastrouter=127.0.0.1:0", "--fastrouter-to=no-such-host.invalid:80", "--fastrouter-answer-errors"
    ) as router:
        router.wait_for("nobody knows the name no-such-host.invalid")
        assert request(router.address).startswith(b"HTTP/1.1 503")


@pytest.mark.parametrize(
    ("bound", "host"),
    [
        ("127.0.0.1:0", "127.0.0.1"),
        ("127.0.0.1:0", "localhost"),
        ("127.0.0.1:0", ""),
        ("0.0.0.0:0", "127.0.0.1"),
        (":0", "localhost"),
        (":0", "127.0.0.2"),
    ],
)
def test_the_router_itself_under_any_name(bound, host):
    with Router(f"--fastrouter={bound}", "--fastrouter-subscription-server=127.0.0.1:0") as router:
        port = router.address.rpartition(":")[2]
        send_announcement(router.server, Announcement("foo.com", f"{host}:{port}"))
        router.wait_for("is this router itself")
        assert "new node" not in router.output


@pytest.fixture
def resolver(monkeypatch):
    """A resolver whose loop turns only as far as a test lets it, and the names that it may know."""
    names = {}
    monkeypatch.setattr(workers.resolver, "look_up", lambda host: names.get(host, ()))
    monkeypatch.setattr(workers.resolver, "_REFRESH", 0.0)
    changes = []
    loop = Loop(lambda: None)
    resolver = Resolver(loop, lambda host: (changes.append(host), setattr(loop, "running", False)))

    def turn():
        """Until something has changed."""
        loop.running = True
        loop.run()
        return changes.pop()

    def moment():
        loop.running = True
        loop.pause(lambda event: setattr(loop, "running", False))
        loop.run()

    turn.moment = moment
    return resolver, names, turn


def test_a_name_changes_its_meaning(resolver):
    resolver, names, turn = resolver
    names["app"] = ("10.0.0.1", "10.0.0.2")
    assert resolver.numeric("app", 80) is None, "nobody knows yet"
    assert turn() == "app"
    assert resolver.numeric("app", 80) == "10.0.0.1:80"
    names["app"] = ("10.0.0.2", "10.0.0.1")
    names["other"] = ("fd00::1",)
    assert resolver.numeric("other", 80) is None
    assert turn() == "other"
    assert resolver.numeric("other", 80) == "[fd00::1]:80"
    resolver.tick()
    names["app"] = ("10.0.0.3",)
    while resolver.numeric("app", 80) == "10.0.0.1:80":  # another order is no change, another address is
        resolver.tick()
        turn.moment()
    assert resolver.numeric("app", 80) == "10.0.0.3:80"


def test_the_last_address_stands_while_nobody_knows(resolver):
    resolver, names, turn = resolver
    names["app"] = ("10.0.0.1",)
    resolver.numeric("app", 80)
    turn()
    del names["app"]
    resolver.tick()
    resolver.numeric("unknown", 80)
    assert turn() == "unknown"
    assert resolver.numeric("unknown", 80) == ""
    assert resolver.numeric("app", 80) == "10.0.0.1:80"


def test_one_slow_name_does_not_keep_others_waiting(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(
        workers.resolver,
        "look_up",
        lambda host: (release.wait(10), ("10.0.0.1",))[1] if host == "slow" else ("10.0.0.2",),
    )
    loop = Loop(lambda: None)
    changes = []
    resolver = Resolver(loop, lambda host: (changes.append(host), setattr(loop, "running", False)))
    resolver.numeric("slow", 1)
    resolver.numeric("fast", 1)
    loop.running = True
    loop.run()
    release.set()
    assert changes == ["fast"]
    assert resolver.numeric("slow", 1) is None


def test_names_cannot_pile_up(resolver, monkeypatch):
    resolver, _, _ = resolver
    monkeypatch.setattr(workers.resolver, "_MOST_NAMES", 10)
    assert [resolver.numeric(f"host{number}", 1) for number in range(10)] == [None] * 10
    with pytest.raises(TooManyNames):
        resolver.numeric("host10", 1)


def test_a_flood_of_new_names_leaves_known_ones_alone(monkeypatch):
    release = threading.Event()
    known = {"known": ("10.0.0.1",)}
    monkeypatch.setattr(
        workers.resolver, "look_up", lambda host: known.get(host) or (release.wait(10), ())[1]
    )
    monkeypatch.setattr(workers.resolver, "_REFRESH", 0.0)
    loop = Loop(lambda: None)
    resolver = Resolver(loop, lambda host: setattr(loop, "running", False))
    resolver.numeric("known", 1)
    loop.run()
    for number in range(64):
        resolver.numeric(f"slow{number}", 1)
    with pytest.raises(TooManyNames):
        resolver.numeric("one more", 1)
    known["known"] = ("10.0.0.2",)
    resolver.tick()
    loop.running = True
    loop.run()
    release.set()
    assert resolver.numeric("known", 1) == "10.0.0.2:1"


def test_another_address_of_a_name_is_tried(resolver):
    resolver, names, turn = resolver
    names["app"] = ("10.0.0.1", "10.0.0.2")
    resolver.numeric("app", 80)
    turn()
    resolver.try_another("app")
    assert resolver.numeric("app", 80) == "10.0.0.2:80"
    resolver.try_another("unknown")


def test_localhost_is_ipv4_first():
    assert look_up("localhost")[0] == "127.0.0.1"


def test_names_do_not_need_a_name_server_over_a_restart(tmp_path, node):
    """What the state file knows of a node stands while nobody knows its name."""
    name = f"no-such-host.invalid:{port_of(node)}"
    save_state(str(tmp_path / "state"), [SavedNode(Announcement("foo.com", name), node.address)])
    with subscription_router(
        f"--subscription-state={tmp_path}/state", "--subscription-tolerance=3"
    ) as router:
        assert request(router.address).endswith(node.address.encode())
        send_announcement(router.server, Announcement("foo.com", name))
        send_announcement(router.server, Announcement("bar.com", name))
        router.wait_for("refused .* bar.com: nobody knows the name")
        assert request(router.address).endswith(node.address.encode())
        assert "as failed" not in router.output
