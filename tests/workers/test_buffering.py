"""Bodies that are read before a node is chosen (fastrouter-post-buffering)."""

import os
import resource
import subprocess

import psutil
import pytest
from harness import (
    MASTER,
    FakeNode,
    Router,
    connect,
    descriptors,
    in_threads,
    read_all,
    read_request,
    refusing_address,
    request,
    wait_until,
)

from fastrouter.client import request_packet

LIMIT_BYTES = 8192


@pytest.fixture
def router(node):
    with Router(
        "--fastrouter=127.0.0.1:0",
        f"--fastrouter-to={node.address}",
        f"--fastrouter-post-buffering={LIMIT_BYTES}",
    ) as router:
        yield router


@pytest.mark.parametrize("size", [1, LIMIT_BYTES, LIMIT_BYTES + 1, 3_000_000])
def test_the_node_hears_nothing_until_all_is_there_and_then_has_it_all(router, node, size):
    body = os.urandom(size)
    with connect(router.address) as sock:
        sock.sendall(request_packet("POST", "http://foo.com/", body))
        sock.sendall(body[:-1])
        worker = router.pids("fastrouter worker")[0]
        wait_until(lambda: len(psutil.Process(worker).net_connections()) >= 2, "the connection")
        assert node.connections == 0
        sock.sendall(body[-1:])
        assert read_all(sock).endswith(node.address.encode())
    assert node.bodies == [body]


def test_many_at_once_leave_nothing_behind(router, node, tmp_path):
    worker = router.pids("fastrouter worker")[0]
    before = descriptors(worker)
    sizes = [1 + 5000 * number for number in range(40)]
    in_threads(len(sizes), lambda number: request(router.address, body=b"x" * sizes[number]))
    assert sorted(map(len, node.bodies)) == sizes
    wait_until(lambda: descriptors(worker) == before, "the descriptors to be given back")


def test_a_client_that_leaves_in_the_middle_is_not_heard_of(router, node):
    with connect(router.address) as sock:
        sock.sendall(request_packet("POST", "http://foo.com/", b"x" * 100) + b"x" * 50)
    assert request(router.address, body=b"y").endswith(node.address.encode())
    assert node.bodies == [b"y"]


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_buffered_body_goes_to_the_next_node(node, size):
    dead, address = refusing_address()
    arguments = [f"--fastrouter-to={address}", f"--fastrouter-to={node.address}"]
    with dead, Router("--fastrouter=127.0.0.1:0", *arguments, "--fastrouter-post-buffering=1000") as router:
        assert request(router.address, body=b"x" * size).endswith(node.address.encode())
    assert node.bodies == [b"x" * size]


def test_a_repeatable_request_with_a_body_is_repeated_and_no_other(node):
    def closes(connection, number):
        read_request(connection)

    arguments = ["--fastrouter-post-buffering=1000", "--fastrouter-max-fails=0"]
    for method, answered in (("OPTIONS", True), ("POST", False)):
        with FakeNode(closes) as bad:
            to = [f"--fastrouter-to={bad.address}", f"--fastrouter-to={node.address}"]
            with Router("--fastrouter=127.0.0.1:0", *to, *arguments) as router:
                for body in (b"x" * 10, b"x" * 50_000):
                    with connect(router.address) as sock:
                        sock.sendall(request_packet(method, "http://foo.com/", body))
                        sock.sendall(body)
                        assert bool(read_all(sock)) is answered
                    request(router.address) if not answered else None
                assert bad.connections


def test_the_directory(node, tmp_path):
    arguments = [f"--fastrouter-to={node.address}", "--fastrouter-post-buffering=10"]
    with Router(
        "--fastrouter=127.0.0.1:0", *arguments, f"--fastrouter-post-buffering-dir={tmp_path}"
    ) as router:
        worker = router.pids("fastrouter worker")[0]
        with connect(router.address) as sock:
            sock.sendall(request_packet("POST", "http://foo.com/", b"x" * 1000) + b"x" * 999)

            def files():
                links = (f"/proc/{worker}/fd/{fd}" for fd in os.listdir(f"/proc/{worker}/fd"))
                return [link for link in links if os.path.exists(link) or str(tmp_path) in os.readlink(link)]

            wait_until(lambda: any(str(tmp_path) in os.readlink(link) for link in files()), "a file there")
            assert os.listdir(tmp_path) == [], "it has no name"
            sock.sendall(b"x")
            assert read_all(sock)
    missing = subprocess.run(
        [MASTER, "--fastrouter=127.0.0.1:0", *arguments, "--fastrouter-post-buffering-dir=/nowhere"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert missing.returncode == 1 and "/nowhere: there is no such directory" in missing.stderr


def test_a_full_disk_costs_that_request_only(node):
    with Router(
        "--fastrouter=127.0.0.1:0",
        f"--fastrouter-to={node.address}",
        "--fastrouter-post-buffering=10",
        "--fastrouter-answer-errors",
    ) as router:
        resource.prlimit(router.pids("fastrouter worker")[0], resource.RLIMIT_FSIZE, (65536, 65536))
        assert request(router.address, body=b"x" * 200_000).startswith(b"HTTP/1.1 500")
        router.wait_for("cannot buffer a body in .*: File too large")
        assert request(router.address, body=b"x" * 20_000).endswith(node.address.encode())


def test_an_unknown_key_is_not_read_for(node):
    with Router(
        "--fastrouter=127.0.0.1:0",
        "--fastrouter-subscription-server=127.0.0.1:0",
        "--fastrouter-post-buffering=10",
    ) as router:
        with connect(router.address) as sock:
            sock.sendall(request_packet("POST", "http://unknown.com/", b"x" * 1000))
            assert read_all(sock) == b""
