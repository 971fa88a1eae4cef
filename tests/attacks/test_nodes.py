"""Nodes that lie about where their answers end, or about what they have sent."""

import contextlib
import re

import pytest
from harness import FakeNode, Router, answer, connect, read_all, read_request, request, wait_until

from fastrouter.passing import REPORT


def keeping(node, *options):
    return Router(
        "--fastrouter=127.0.0.1:0",
        f"--fastrouter-to={node.address}",
        f"--fastrouter-keepalive={node.address}",
        *options,
    )


def lying(with_the_answer):
    def behave(connection, number):
        with contextlib.suppress(ConnectionError):
            while True:
                read_request(connection)
                if with_the_answer:
                    connection.sendall(answer(b"good") + answer(b"evil"))
                else:
                    connection.sendall(answer(b"good"))
                    connection.sendall(answer(b"evil"))

    return behave


@pytest.mark.parametrize("with_the_answer", [True, False])
def test_the_first_surplus_ends_keeping(tmp_path, with_the_answer):
    """The client that came next may have been told it; nobody after that is."""
    stats = str(tmp_path / "stats.sock")
    with FakeNode(lying(with_the_answer)) as node, keeping(node, f"--fastrouter-stats={stats}") as router:
        request(router.address)
        wait_until(
            lambda: request(router.address) and "kept no more" in router.output, "the surplus to be noticed"
        )
        before = node.connections
        for number in range(1, 20):
            assert request(router.address).endswith(b"good")
            assert node.connections == before + number
        with connect(stats) as sock:
            assert re.search(rb'"distrusted_nodes": ?1\b', read_all(sock))
    assert router.output.count("kept no more") == 1


def reporting(size):
    """A node that answers well, and reports nonsense."""

    def behave(connection, number):
        from fastrouter.passing import take

        with take(connection) as client:
            read_request(client)
            client._report = lambda router: router.send(REPORT + b"200 " + size)
            client.sendall(answer(b"served"))

    return behave


@pytest.mark.parametrize("size", [b"18446744073709551615", b"9" * 50, b"-1", b"x", b""])
def test_a_size_that_no_answer_has(tmp_path, size):
    path = str(tmp_path / "node.sock")
    with (
        FakeNode(reporting(size), path=path) as node,
        Router(
            "--fastrouter=127.0.0.1:0", f"--fastrouter-to={path}", f"--fastrouter-fd-passing={path}"
        ) as router,
    ):
        for _ in range(3):
            assert request(router.address).endswith(b"served")
        assert node.connections == 3
    assert "Traceback" not in router.output


def test_a_node_that_promises_to_take_clients_and_relays(tmp_path):
    """Its first answer is whole, with what was read before it was known to be one, and so are bodies."""
    path = str(tmp_path / "node.sock")

    def behave(connection, number):
        with contextlib.suppress(ConnectionError):
            while True:
                _, body = read_request(connection)
                connection.sendall(answer(b"%d " % len(body) + b"x" * 5000))

    stats = str(tmp_path / "stats.sock")
    with (
        FakeNode(behave, path=path),
        Router(
            "--fastrouter=127.0.0.1:0",
            "--fastrouter-subscription-server=127.0.0.1:0",
            f"--fastrouter-stats={stats}",
        ) as router,
    ):
        router.announce("foo.com", path, fd_passing=True, keepalive=True)
        replies = [request(router.address, body=body) for body in (b"", b"b" * 100_000, b"", b"b" * 100_000)]
        sizes = [b"0", b"100000", b"0", b"100000"]
        assert [reply.partition(b"\r\n\r\n")[2] for reply in replies] == [
            s + b" " + b"x" * 5000 for s in sizes
        ]
        with connect(stats) as sock:
            counted = int(re.search(rb'"tx": ?(\d+)', read_all(sock))[1])
        assert counted == sum(map(len, replies))
    assert "though it should; relaying from now on" in router.output
