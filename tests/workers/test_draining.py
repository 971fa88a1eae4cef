"""Nodes that drain, nodes that start slowly, and the table over restarts: with real processes."""

import collections
import os
import signal
import time

import psutil
import pytest
from harness import (
    LIMIT,
    FakeNode,
    HeldNode,
    connect,
    in_threads,
    read_all,
    request,
    request_packet,
    send_announcement,
    subscription_router,
    wait_until,
)

from fastrouter.wire.announcement import Announcement


def served_by(router, key="foo.com"):
    return request(router.address, f"http://{key}/").rpartition(b"\r\n\r\n")[2].decode()


@pytest.mark.parametrize("how", ["drain", "unsubscribe"])
def test_a_busy_node_ends_what_it_has_and_gets_no_more(node, how):
    with subscription_router("--fastrouter-processes=2") as router, HeldNode() as busy:
        router.announce("foo.com", busy.address)
        answers = []

        def ask(number):
            if number == 0:
                answers.append(request(router.address))
                return
            assert busy.entered.wait(LIMIT)
            send_announcement(router.server, Announcement("foo.com", busy.address, **{how: True}))
            router.wait_for("no more requests to|has left$")
            router.announce("foo.com", node.address)
            assert {served_by(router) for _ in range(10)} == {node.address}
            assert "has no request left" not in router.output
            busy.release.set()

        in_threads(2, ask)
        assert answers[0].endswith(b"served")
        router.wait_for(f"{busy.address} has no request left")


def test_a_request_that_comes_after_a_change_of_the_table_meets_the_new_table(node):
    with subscription_router() as router, FakeNode() as gone:
        router.announce("foo.com", gone.address)
        (worker,) = map(psutil.Process, router.pids("fastrouter worker"))
        packet, before = request_packet("GET", "http://foo.com/"), worker.num_fds()
        with connect(router.address) as client:
            client.sendall(packet[:9])
            wait_until(lambda: worker.num_fds() > before, "the connection to be accepted")
            worker.suspend()
            # The end of the request waits in front of the changes, in a worker that stands still.
            client.sendall(packet[9:])
            router.unsubscribe("foo.com", gone.address)
            router.announce("foo.com", node.address)
            worker.resume()
            assert read_all(client).endswith(node.address.encode())
        assert not gone.connections


def test_a_cheap_router_waits_when_its_only_node_drains(node):
    with subscription_router(cheap=True) as router, HeldNode() as busy:
        router.announce("foo.com", busy.address)
        router.wait_for("leaving cheap mode")

        def ask(number):
            if number == 0:
                return request(router.address)
            assert busy.entered.wait(LIMIT)
            send_announcement(router.server, Announcement("foo.com", busy.address, drain=True))
            router.wait_for("no more nodes available. Going cheap")
            busy.release.set()
            return b""

        assert in_threads(2, ask)[0].endswith(b"served"), "what was begun ends"
        send_announcement(router.server, Announcement("foo.com", node.address))
        assert served_by(router) == node.address


def test_a_node_that_comes_back_while_it_drains(node):
    with subscription_router() as router, HeldNode() as busy:
        router.announce("foo.com", busy.address)

        def ask(number):
            if number == 0:
                return request(router.address)
            assert busy.entered.wait(LIMIT)
            send_announcement(router.server, Announcement("foo.com", busy.address, drain=True))
            router.wait_for("no more requests to")
            router.announce("foo.com", busy.address)
            busy.release.set()
            return request(router.address)

        assert all(answer.endswith(b"served") for answer in in_threads(2, ask))


@pytest.mark.parametrize("algorithm", ["wrr", "lrc"])
def test_slow_start(nodes, algorithm):
    """A newcomer among old nodes gets a little at first, and its whole share in the end."""
    options = (
        f"--subscription-algo={algorithm}",
        "--subscription-slow-start=2",
        "--subscription-tolerance=60",
    )
    with subscription_router(*options) as router:
        for one in nodes[:2]:
            router.announce("foo.com", one.address)
        began = time.monotonic()

        def ask(number=0):
            return (
                request(router.address, REMOTE_ADDR=f"10.0.0.{number % 250}")
                .rpartition(b"\r\n\r\n")[2]
                .decode()
            )

        assert {ask(number) for number in range(20)} == {nodes[0].address, nodes[1].address}
        wait_until(lambda: time.monotonic() - began > 2, "the old ones to be old")
        began = time.monotonic()
        router.announce("foo.com", nodes[2].address)
        first = collections.Counter(ask(number) for number in range(60))
        age = min((time.monotonic() - began) / 2, 1)
        assert first[nodes[2].address] <= 20 * age + 2, "a share of 20 is not had at once"
        assert min(first[one.address] for one in nodes[:2]) > 10, "the others share its turns"
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 2, "the new one to be old")
        later = collections.Counter(ask(number) for number in range(90))
        assert later[nodes[2].address] > 15


def test_a_pool_of_newcomers_is_served_at_once(nodes):
    with subscription_router("--subscription-slow-start=60") as router:
        for one in nodes[:2]:
            router.announce("foo.com", one.address)
        assert collections.Counter(served_by(router) for _ in range(20)) == {
            nodes[0].address: 10,
            nodes[1].address: 10,
        }


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_restarted_router_knows_its_nodes(tmp_path, nodes, end):
    state = tmp_path / "state"
    options = (f"--subscription-state={state}",)
    with subscription_router(*options) as router:
        router.announce("foo.com", nodes[0].address)
        router.announce("foo.com", nodes[1].address)
        router.announce("bar.com", nodes[0].address, modifier1=7)
        router.unsubscribe("foo.com", nodes[1].address)
        if end == signal.SIGKILL:  # it saves every few seconds
            wait_until(
                lambda: (
                    state.exists()
                    and b"bar.com" in state.read_bytes()
                    and nodes[1].address.encode() not in state.read_bytes()
                ),
                "a file",
            )
            os.kill(router.pid, end)
        else:
            router.stop(end)
    with subscription_router(*options) as router:
        assert "3 nodes" not in router.output
        router.wait_for(f"{state}: 2 nodes of the last run")
        assert served_by(router) == nodes[0].address
        assert served_by(router, "bar.com") == nodes[0].address
        assert nodes[0].packets[-1][0] == 7
        # And what is announced goes on from there.
        send_announcement(router.server, Announcement("foo.com", nodes[0].address, unsubscribe=True))
        router.wait_for("foo.com => .* has left$")


def test_a_node_that_died_meanwhile_is_dropped(tmp_path, node):
    options = (f"--subscription-state={tmp_path}/state", "--subscription-tolerance=1")
    with FakeNode() as dead, subscription_router(*options) as router:
        router.announce("foo.com", dead.address)
        router.announce("foo.com", node.address)
        router.announce("bar.com", dead.address)
        router.stop()
    with subscription_router(*options) as router:
        assert {served_by(router) for _ in range(4)} == {node.address}
        router.wait_for("bar.com => marking .* as failed .no announce received in 1 seconds")


def test_a_file_that_cannot_be_used_or_written(tmp_path, node):
    state = tmp_path / "state"
    state.write_bytes(b"rubbish")
    with subscription_router(f"--subscription-state={state}") as router:
        router.wait_for(f"{state}: .*; it is kept as {state}.bad")
        assert (tmp_path / "state.bad").read_bytes() == b"rubbish"
        router.announce("foo.com", node.address)
        assert served_by(router) == node.address
    with subscription_router("--subscription-state=/proc/nothing") as router:
        router.announce("foo.com", node.address)
        router.wait_for("cannot save the table in /proc/nothing: ")
        assert served_by(router) == node.address
        assert router.stop() == 0
