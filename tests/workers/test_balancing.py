"""Balancing, limits and health with real processes: several workers, concurrent requests."""

import threading
from collections import Counter
from contextlib import ExitStack

import pytest
from harness import (
    LIMIT,
    FakeNode,
    HeldNode,
    answer,
    connect,
    in_threads,
    load,
    read_all,
    read_request,
    request,
    subscription_router,
    wait_until,
)

from fastrouter.client import request_packet


@pytest.fixture
def held():
    """Three nodes that keep requests back."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(HeldNode()) for _ in range(3)]
        yield nodes
        for node in nodes:
            node.release.set()


def open_request(stack, router):
    sock = stack.enter_context(connect(router.address))
    sock.sendall(request_packet("GET", "http://foo.com/"))
    return sock


@pytest.mark.parametrize(
    ("algorithm", "weights", "shares"), [("lrc", (3, 1, 1), (3, 3, 3)), ("wlrc", (3, 1, 1), (6, 2, 2))]
)
def test_concurrent_requests_are_counted_over_all_workers(held, algorithm, weights, shares):
    options = ("--fastrouter-processes=3", "--subscription-algo", algorithm)
    with ExitStack() as stack, subscription_router(*options) as router:
        for node, weight in zip(held, weights, strict=True):
            router.announce("foo.com", node.address, weight=weight)
        for number in range(sum(shares)):
            open_request(stack, router)
            wait_until(lambda: sum(node.connections for node in held) == number + 1, "a request there")  # noqa: B023
        assert tuple(node.connections for node in held) == shares


def test_iphash_by_the_address_that_the_web_server_saw(nodes):
    with subscription_router("--fastrouter-processes=2", "--subscription-algo=iphash") as router:
        for node in nodes:
            router.announce("foo.com", node.address)
        seen = {}
        for _ in range(3):
            for client in range(30):
                remote = f"10.0.0.{client}"
                found = request(router.address, REMOTE_ADDR=remote)
                assert seen.setdefault(remote, found) == found
        assert len(set(seen.values())) == 3


def test_backup_nodes_and_the_algorithm_that_the_announcement_asks_for(nodes):
    with subscription_router() as router:
        router.announce("foo.com", nodes[0].address, algorithm="iphash")
        router.announce("foo.com", nodes[1].address)
        router.announce("foo.com", nodes[2].address, backup=1)
        answers = Counter(request(router.address, REMOTE_ADDR="10.0.0.1") for _ in range(6))
        assert len(answers) == 1, "iphash"
        answers = Counter(request(router.address, REMOTE_ADDR=f"10.0.0.{n}") for n in range(30))
        assert len(answers) == 2 and not any(nodes[2].address.encode() in text for text in answers)
        router.unsubscribe("foo.com", nodes[0].address)
        nodes[1].close()
        assert request(router.address).endswith(nodes[2].address.encode())


def test_mountpoints(nodes):
    with subscription_router("--subscription-mountpoints=2") as router:
        for key, node in zip(("foo.com", "foo.com/a", "foo.com/a/b"), nodes, strict=True):
            router.announce(key, node.address)
        for path, node in (
            ("/", nodes[0]),
            ("/x/b", nodes[0]),
            ("/a", nodes[1]),
            ("/a/", nodes[1]),
            ("/a/x/b", nodes[1]),
            ("/a/b", nodes[2]),
            ("/a/b/c/d", nodes[2]),
            ("/ab", nodes[0]),
        ):
            assert request(router.address, f"http://foo.com{path}").endswith(node.address.encode()), path
        assert request(router.address, "http://bar.com/a/b") == b""


def test_max_conns_is_kept_by_all_workers_and_the_rest_wait(node):
    running, most, lock = Counter(), Counter(), threading.Lock()

    def behave(connection, number):
        read_request(connection)
        with lock:
            running["now"] += 1
            most["ever"] = max(most["ever"], running["now"])
        threading.Event().wait(0.02)
        with lock:
            running["now"] -= 1
        connection.sendall(answer(b"served"))

    with FakeNode(behave) as limited, subscription_router("--fastrouter-processes=3") as router:
        router.announce("foo.com", limited.address, max_conns=2)
        answers = in_threads(30, lambda _: request(router.address))
        assert all(text.endswith(b"served") for text in answers)
        assert most["ever"] == 2


def test_a_full_node_passes_requests_on_and_who_waits_too_long_is_told(held, nodes):
    options = (
        "--fastrouter-max-conns=1",
        "--fastrouter-queue-timeout=1",
        "--fastrouter-answer-errors",
    )
    with ExitStack() as stack, subscription_router(*options) as router:
        router.announce("foo.com", held[0].address)
        router.announce("foo.com", nodes[0].address)
        first = open_request(stack, router)
        held[0].entered.wait(LIMIT)
        assert all(request(router.address).endswith(nodes[0].address.encode()) for _ in range(5))
        router.unsubscribe("foo.com", nodes[0].address)
        late = request(router.address)
        assert late.startswith(b"HTTP/1.1 503") and b"Retry-After: " in late
        waiting = open_request(stack, router)
        held[0].release.set()
        assert read_all(first).endswith(b"served")
        assert read_all(waiting).endswith(b"served")


def test_max_sessions_of_a_worker(held):
    with ExitStack() as stack, subscription_router("--fastrouter-max-sessions=2") as router:
        router.announce("foo.com", held[0].address)
        for _ in range(2):
            open_request(stack, router)
        wait_until(lambda: held[0].connections == 2, "both to be there")
        third = open_request(stack, router)
        router.wait_for("has 2 sessions, as many as it may have")
        assert held[0].connections == 2
        held[0].release.set()
        assert read_all(third).endswith(b"served")


def test_a_node_that_gives_no_answers_rests_and_comes_back(node):
    broken = threading.Event()
    broken.set()

    def behave(connection, number):
        read_request(connection)
        if not broken.is_set():
            connection.sendall(answer(b"recovered"))

    with FakeNode(behave) as bad, subscription_router() as router:
        router.announce("foo.com", bad.address)
        router.announce("foo.com", node.address)
        with load(lambda: request(router.address), threads=2) as answers:
            router.wait_for(r"foo.com => .* gave no answer again and again and rests for 1 seconds")
            router.wait_for(r"rests for 2 seconds")
            seen = bad.connections
            broken.clear()
            wait_until(lambda: any(b"recovered" in text for text in answers), "it to come back")
            wait_until(lambda: bad.connections > seen + 20, "it to have its share")
        assert all(text for text in answers), "no repeatable request was lost"
        assert seen < 10


def test_a_node_that_hangs_counts_as_one_that_failed(node):
    def behave(connection, number):
        read_request(connection)
        connection.recv(1)

    with FakeNode(behave) as bad, subscription_router("--fastrouter-timeout=1") as router:
        router.announce("foo.com", bad.address)
        router.announce("foo.com", node.address)
        in_threads(6, lambda _: request(router.address))
        router.wait_for("rests for 1 seconds")
