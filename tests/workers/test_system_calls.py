"""What a request asks of the kernel, counted: it is nearly all that a request costs (docs/performance.md)."""

import re
import shutil
import signal
from collections import Counter

import pytest
from harness import FakeNode, Program, Router, TakingNode, answer, read_request, request, wait_until

REQUESTS = 50

ACCEPTING = Counter(getsockopt=1, accept4=1, getsockname=1, recvfrom=1)
"""How many wait; take one; what Python wants to know of it; its packet."""
DIALLING = Counter(socket=1, connect=1, sendto=1, epoll_ctl=1)
RELAYING = Counter(recvfrom=2, sendto=1, close=2)
"""recvfrom: once, and again if the node's end was not there yet."""


@pytest.fixture
def traced():
    """Start strace of a process; stop it and return how often each call was made."""
    program = shutil.which("strace")
    assert program, "strace is not installed; scripts/test installs all that the tests need"
    running = []

    def start(pid, log):
        running.append(Program(program, "-q", "-o", log, "-p", str(pid)))
        # To be its tracer is not to trace yet: the first call that it writes down says so.
        wait_until(lambda: tracer_of(pid) and log.exists() and log.stat().st_size, "strace to begin")

        def stop():
            running[0].stop(signal.SIGINT)
            return Counter(re.findall(r"^(\w+)\(", log.read_text(), re.MULTILINE))

        return stop

    yield start
    for one in running:
        one.close()


def tracer_of(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"TracerPid:\s+(\d+)", status.read())[1])


def calls(traced, router, log):
    """System calls a request, but for those of waiting."""
    for _ in range(3):
        assert request(router.address)
    stop = traced(router.pids("fastrouter worker")[0], log)
    for _ in range(REQUESTS):
        assert request(router.address)
    found = stop()
    for waiting in ("epoll_wait", "rt_sigreturn", "restart_syscall"):
        del found[waiting]
    return found


def excess(found, expected):
    """What was called more often than it should have been: a few more for the turn of a second."""
    return {name: count for name, count in found.items() if count > expected[name] * REQUESTS + 5}


def answer_at_once(connection, number):
    read_request(connection)
    connection.sendall(answer(b"x"))


def test_tcp_to_tcp(tmp_path, traced):
    with (
        FakeNode(answer_at_once) as node,
        Router("--fastrouter=127.0.0.1:0", "--fastrouter-to", node.address) as router,
    ):
        found = calls(traced, router, tmp_path / "trace")
    assert not excess(found, ACCEPTING + DIALLING + RELAYING + Counter(setsockopt=1)), found
    assert found["connect"] >= REQUESTS  # it was the worker that was looked at


def test_tcp_to_unix(tmp_path, traced):
    path = str(tmp_path / "n.sock")
    with (
        FakeNode(answer_at_once, path=path) as node,
        Router("--fastrouter=127.0.0.1:0", "--fastrouter-to", node.address) as router,
    ):
        found = calls(traced, router, tmp_path / "trace")
    assert not excess(found, ACCEPTING + DIALLING + RELAYING), found
    assert found["connect"] >= REQUESTS


def test_passed_over_a_connection_that_was_kept(tmp_path, traced):
    with (
        TakingNode(tmp_path / "n.sock", keeps=True) as node,
        Router(
            "--fastrouter=127.0.0.1:0",
            "--fastrouter-to",
            node.address,
            "--fastrouter-fd-passing",
            node.address,
        ) as router,
    ):
        found = calls(traced, router, tmp_path / "trace")
    # Now and then a request overtakes the report of the one before, and makes a connection of its own.
    few = {name: count for name, count in found.items() if name in DIALLING}
    assert not excess(found - Counter(few), ACCEPTING + Counter(sendmsg=1, recvfrom=1, close=1)), found
    assert found["sendmsg"] >= REQUESTS
