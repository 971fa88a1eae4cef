"""Routers that announce themselves to routers: chains, rings, and real uWSGI at either end."""

import os
import signal
from contextlib import ExitStack

import pytest
from harness import (
    FakeNode,
    Program,
    Router,
    connect,
    free_port,
    read_all,
    request,
    send_announcement,
    subscription_router,
    wait_until,
)
from signing import KeyPair

from fastrouter.client import request_packet
from fastrouter.wire.announcement import Announcement


def served_by(router, key="foo.com", **variables):
    return request(router.address, f"http://{key}/", **variables).rpartition(b"\r\n\r\n")[2].decode()


def lower(upper, *more):
    """A router that passes on to another."""
    return subscription_router(f"--fastrouter-resubscribe={upper}", *more)


def test_a_chain_of_three(node):
    with (
        subscription_router() as top,
        lower(top.server) as middle,
        lower(middle.server, "--subscription-tolerance=1") as bottom,
    ):
        bottom.announce("foo.com", node.address, modifier1=5)
        middle.wait_for(f"foo.com => new node: {bottom.address}$")
        top.wait_for(f"foo.com => new node: {middle.address}$")
        assert served_by(top) == node.address
        assert node.packets[-1][0] == 5
        # It falls silent at the bottom, and is gone everywhere at once.
        bottom.wait_for("no announce received in 1 seconds")
        middle.wait_for(f"foo.com => {bottom.address} has left")
        top.wait_for(f"foo.com => {middle.address} has left")


def test_draining_is_leaving_for_those_above(node):
    with subscription_router() as top, lower(top.server) as bottom:
        bottom.announce("foo.com", node.address)
        top.wait_for(f"foo.com => new node: {bottom.address}$")
        send_announcement(bottom.server, Announcement("foo.com", node.address, drain=True))
        top.wait_for(f"foo.com => {bottom.address} has left")


def test_only_the_last_of_several_nodes_takes_the_key_along(nodes):
    with subscription_router() as top, lower(top.server) as bottom:
        for one in nodes[:2]:
            bottom.announce("foo.com", one.address)
        top.wait_for(f"foo.com => new node: {bottom.address}$")
        bottom.unsubscribe("foo.com", nodes[0].address)
        assert served_by(top) == nodes[1].address
        nodes[1].close()
        assert served_by(top) == ""
        top.wait_for(f"foo.com => {bottom.address} has left")


def test_a_ring_of_three_serves_everywhere_and_nothing_circles(node):
    servers = [free_port("127.0.0.1", 2) for _ in range(3)]
    with ExitStack() as stack:
        ring = [
            stack.enter_context(
                Router(
                    "--fastrouter=127.0.0.1:0",
                    f"--fastrouter-subscription-server={servers[number]}",
                    f"--fastrouter-resubscribe={servers[(number + 1) % 3]}",
                )
            )
            for number in range(3)
        ]
        for _ in range(5):
            send_announcement(servers[0], Announcement("foo.com", node.address))
        for router in ring:
            router.wait_for("foo.com => new node")
            assert served_by(router) == node.address
        ring[0].wait_for("refused an announcement from 127.0.0.1: foo.com has come round")

        def accepted():
            before = [router.output.count("announcements accepted") for router in ring]
            for router in ring:
                router.process.send_signal(signal.SIGUSR1)
            wait_until(
                lambda: all(
                    router.output.count("announcements accepted") > count
                    for router, count in zip(ring, before, strict=True)
                ),
                "statistics",
            )
            lines = [
                [line for line in router.lines if "announcements accepted" in line][-1] for router in ring
            ]
            return [int(line.split("statistics: fastrouter: ")[1].split()[0]) for line in lines]

        wait_until(lambda: accepted() == [5, 5, 5], "each once in each router")
        send_announcement(servers[0], Announcement("foo.com", node.address, unsubscribe=True))
        for router in ring:
            router.wait_for("foo.com => .* has left")
            assert served_by(router) == ""


def test_its_own_nodes_come_before_other_routers(nodes):
    """Two routers that announce to each other: a request never goes back."""
    first_server, second_server = (free_port("127.0.0.1", 2) for _ in range(2))
    with (
        Router("--fastrouter=127.0.0.1:0", f"--fastrouter-subscription-server={first_server}",
               f"--fastrouter-resubscribe={second_server}") as first,
        Router("--fastrouter=127.0.0.1:0", f"--fastrouter-subscription-server={second_server}",
               f"--fastrouter-resubscribe={first_server}") as second,
    ):  # fmt: skip
        first.announce("foo.com", nodes[0].address)
        second.wait_for(f"foo.com => new node: {first.address}$")
        second.announce("foo.com", nodes[1].address)
        first.wait_for(f"foo.com => new node: {second.address}$")
        assert {served_by(first) for _ in range(10)} == {nodes[0].address}
        assert {served_by(second) for _ in range(10)} == {nodes[1].address}
        first.unsubscribe("foo.com", nodes[0].address)
        assert {served_by(first) for _ in range(10)} == {nodes[1].address}


def test_signed_and_from_a_given_address(node, tmp_path):
    keys = KeyPair()
    (tmp_path / "public").mkdir()
    keys.write_public(tmp_path / "public" / "foo.com.pem")
    private = keys.write_private(tmp_path / "private.pem")
    source = free_port("127.0.0.1", 2)
    with (
        subscription_router(f"--subscriptions-sign-check=SHA256:{tmp_path}/public") as top,
        lower(top.server, f"--fastrouter-resubscribe-sign=SHA256:{private}") as signing,
        lower(top.server, f"--fastrouter-resubscribe-bind={source}") as not_signing,
    ):
        not_signing.announce("foo.com", node.address)
        top.wait_for("refused an announcement from 127.0.0.1: foo.com is not signed")
        signing.announce("foo.com", node.address)
        top.wait_for(f"foo.com => new node: {signing.address}$")
        assert served_by(top) == node.address
        signing.unsubscribe("foo.com", node.address)
        top.wait_for(f"foo.com => {signing.address} has left")


def test_what_is_refused_is_not_passed_on(node, tmp_path):
    with (
        subscription_router() as top,
        lower(top.server, f"--subscriptions-sign-check=SHA1:{tmp_path}") as bottom,
    ):
        send_announcement(bottom.server, Announcement("foo.com", node.address))
        bottom.wait_for("foo.com is not signed")
        top.announce("barrier", node.address)
        assert "foo.com" not in top.output


def test_all_addresses_become_one_that_can_be_dialled(node):
    with subscription_router() as top:
        with Router(
            "--fastrouter=0.0.0.0:0",
            "--fastrouter-subscription-server=127.0.0.1:0",
            f"--fastrouter-resubscribe={top.server}",
        ) as bottom:
            bottom.announce("foo.com", node.address)
            port = bottom.address.rpartition(":")[2]
            top.wait_for(f"foo.com => new node: 127.0.0.1:{port}$")
            assert served_by(top) == node.address


def test_it_goes_on_after_the_subscription_server_is_killed(node):
    with subscription_router() as top, lower(top.server) as bottom:
        bottom.announce("foo.com", node.address)
        top.wait_for("foo.com => new node")
        os.kill(bottom.pids("subscription server")[0], signal.SIGKILL)
        bottom.wait_for("respawned fastrouter subscription server")
        bottom.announce("bar.com", node.address)
        top.wait_for("bar.com => new node")


@pytest.mark.parametrize("ours", ["top", "bottom"])
def test_with_a_real_uwsgi_on_the_other_level(uwsgi, node, tmp_path, ours):
    top_server, bottom_server = (str(tmp_path / f"{level}.sock") for level in ("top-sub", "bottom-sub"))
    top, bottom = str(tmp_path / "top.sock"), str(tmp_path / "bottom.sock")
    start = [uwsgi, "--master"]
    upper = ["--fastrouter", top, "--fastrouter-subscription-server", top_server]
    under = [
        "--fastrouter",
        bottom,
        "--fastrouter-subscription-server",
        bottom_server,
        "--fastrouter-resubscribe",
        top_server,
    ]
    with ExitStack() as stack:
        above = stack.enter_context(Router(*upper) if ours == "top" else Program(*start, *upper))
        below = stack.enter_context(Router(*under) if ours == "bottom" else Program(*start, *under))
        for program in (above, below):
            program.wait_for("^ready$|spawned uWSGI fastrouter 1")
        send_announcement(bottom_server, Announcement("foo.com", node.address))
        below.wait_for(f"foo.com => new node: {node.address}")
        above.wait_for(f"foo.com => new node: {bottom}")
        with connect(top) as sock:
            sock.sendall(request_packet("GET", "http://foo.com/"))
            assert read_all(sock).endswith(node.address.encode())
        send_announcement(bottom_server, Announcement("foo.com", node.address, unsubscribe=True))
        above.wait_for(f"foo.com => (marking )?{bottom} (as failed|has left)")


def test_a_loop_of_one():
    with FakeNode() as node:
        server = free_port("127.0.0.1", 2)
        with Router(
            "--fastrouter=127.0.0.1:0",
            f"--fastrouter-subscription-server={server}",
            f"--fastrouter-resubscribe={server}",
        ) as router:
            router.announce("foo.com", node.address)
            router.wait_for("this router itself|has come round")
            assert all(served_by(router) == node.address for _ in range(4))
