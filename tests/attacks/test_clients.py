"""Clients that want a place for ever, a second request, or a circle."""

import re
import socket

import pytest
from harness import (
    MASTER,
    Program,
    Router,
    connect,
    descriptors,
    read_all,
    request,
    router_to,
    wait_until,
)

SLOW = b"\0\xff\xff\0"
"""The header of a packet that never ends."""


def is_closed_on_a_slow_one(address):
    """Send a byte now and then until the other side has enough."""
    with connect(address) as sock:
        sock.sendall(SLOW)

        def is_over():
            try:
                sock.send(b"x")
                return not sock.recv(1, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError:
                return True

        wait_until(is_over, "the end of a client that sends byte by byte")


def test_a_head_has_a_limit_in_all(node):
    with router_to(node, "--fastrouter-header-timeout=1") as router:
        is_closed_on_a_slow_one(router.address)
        assert request(router.address)


def test_an_app_worker_does_not_wait_for_ever_either(app_file):
    with Program(MASTER, "--socket=127.0.0.1:0", "--wsgi-file", app_file, "--socket-timeout=1") as app:
        address = app.wait_for(r"app workers bound on (.*)")[1]
        app.wait_for("^ready$")
        is_closed_on_a_slow_one(address)
        assert request(address)


def test_a_circle_of_routers_ends(tmp_path):
    """Each is the other's node; one request must not become thousands of sessions."""
    a, b = (str(tmp_path / name) for name in "ab")
    options = ("--fastrouter-connect-timeout=1", "--log-level=debug")
    with (
        Router(
            f"--fastrouter={a}", f"--fastrouter-to={b}", f"--fastrouter-stats={a}.stats", *options
        ) as first,
        Router(f"--fastrouter={b}", f"--fastrouter-to={a}", *options) as second,
    ):
        before = descriptors(first.pids("fastrouter worker")[0])
        assert request(a) == b""
        wait_until(lambda: "a loop" in first.output + second.output, "the loop to be logged")
        with connect(f"{a}.stats") as sock:
            accepted = int(re.search(rb'"accepted": ?(\d+)', read_all(sock))[1])
        assert accepted < 200
        wait_until(
            lambda: descriptors(first.pids("fastrouter worker")[0]) <= before, "the end of the sessions"
        )


@pytest.mark.parametrize("what", ["no", "to"])
def test_an_address_of_its_own_as_a_node_is_a_circle_too(tmp_path, what):
    path = str(tmp_path / "fr.sock")
    node = path if what == "to" else str(tmp_path / "link.sock")
    if what == "no":
        (tmp_path / "link.sock").symlink_to(path)
    with Router(f"--fastrouter={path}", f"--fastrouter-to={node}") as router:
        assert request(path) == b""
        router.wait_for("a loop")
        assert request(path) == b""
