"""``fastrouter-log``: a line for every request, in the form that is asked for."""

import json
import os
import re
import signal
import socket
import struct

import pytest
from harness import (
    LIMIT,
    MASTER,
    FakeNode,
    HeldNode,
    Program,
    Router,
    children,
    connect,
    load,
    refusing_address,
    request,
    wait_until,
)

from fastrouter.client import request_packet


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def logged(path, count):
    """The lines, once there are so many: they are written when sessions end."""
    return wait_until(lambda: len(found := lines(path)) >= count and found, f"{count} lines")


def logging_router(path, node, *options):
    return Router(
        "--fastrouter=127.0.0.1:0", f"--fastrouter-to={node.address}", f"--fastrouter-log={path}", *options
    )


def test_the_default_is_what_web_servers_write(tmp_path, node):
    path = tmp_path / "log"
    with logging_router(path, node) as router:
        request(
            router.address, "http://foo.com/a/b?c=d", REMOTE_ADDR="10.1.2.3", HTTP_USER_AGENT='a "b" \n c'
        )
        (line,) = logged(path, 1)
        size = len(request(router.address))
        assert re.fullmatch(
            r'10\.1\.2\.3 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /a/b\?c=d HTTP/1\.1" 200 '
            rf'{size} "-" "a \\x22b\\x22 \\n c" foo\.com {node.address} tries=1 '
            r"connect=\d+ response=\d+ total=\d+",
            line,
        )


def test_a_chosen_format(tmp_path, node):
    path = tmp_path / "log"
    format = (
        "%(key)|%(method)|%(uri)|%(node)|%(status)|%(sent)|%(var.HTTP_X_TRACE)|%(nothing)|%(outcome)|%(wid)"
    )
    with logging_router(path, node, f"--fastrouter-log-format={format}") as router:
        packet = request_packet("POST", "http://foo.com/x", b"12345", {"HTTP_X_TRACE": "t1"})
        request(router.address, "http://foo.com/x", b"12345", HTTP_X_TRACE="t1")
        assert logged(path, 1) == [f"foo.com|POST|/x|{node.address}|200|{len(packet) + 5}|t1|-|answered|1"]


def test_nothing_that_is_sent_can_be_taken_for_something_else(tmp_path, node):
    path = tmp_path / "log"
    with logging_router(path, node) as router:
        request(
            router.address,
            "http://foo.com/",
            HTTP_HOST="foo.com 10.0.0.9:80 tries=9",
            REMOTE_USER="a] b",
            HTTP_USER_AGENT='evil\\" \\n',
        )
        (line,) = logged(path, 1)
    assert " a]\\x20b [" in line and '"evil\\x5c\\x22 \\x5cn"' in line
    assert f"foo.com\\x2010.0.0.9:80\\x20tries=9 {node.address} tries=1" in line


def test_json_lines_of_every_outcome(tmp_path, nodes):
    path = tmp_path / "log"
    sock, dead = refusing_address()
    silent = FakeNode(lambda connection, number: connection.recv(1 << 20) and connection.recv(1))
    closing = FakeNode(lambda connection, number: connection.recv(1 << 20))
    late = FakeNode(lambda connection, number: connection.recv(1 << 20) and connection.sendall(b"not HTTP"))
    options = (
        "--fastrouter-subscription-server=127.0.0.1:0",
        "--fastrouter-timeout=1",
        "--fastrouter-log-format=json",
    )
    with sock, silent, closing, late:
        with Router("--fastrouter=127.0.0.1:0", f"--fastrouter-log={path}", *options) as router:
            outcomes = []

            def ask(key, outcome, **expected):
                request(router.address, f"http://{key}/", REMOTE_ADDR="10.0.0.1")
                outcomes.append(outcome)
                entry = json.loads(logged(path, len(outcomes))[-1])
                assert (entry["key"], entry["outcome"], entry["addr"]) == (key, outcome, "10.0.0.1")
                for name, value in expected.items():
                    assert entry[name] == value, name
                return entry

            router.announce("foo.com", dead)
            router.announce("foo.com", nodes[0].address)
            router.announce("closing.com", closing.address)
            router.announce("silent.com", silent.address)
            router.announce("odd.com", late.address)
            entries = [
                ask("foo.com", "answered", status=200, node=nodes[0].address, tries=1) for _ in range(2)
            ]
            assert all(
                0 < one["connect"] <= one["micros"] and one["response"] <= one["micros"] for one in entries
            )
            ask("odd.com", "answered", status=None, rsize=8)
            ask("unknown.com", "no node", status=404, node="", tries=0, rsize=0)
            ask("closing.com", "no answer", status=502, node=closing.address, tries=1)
            entry = ask("silent.com", "too late", status=504, node=silent.address, response=0)
            assert entry["micros"] > 900_000
            with connect(router.address) as client:
                client.sendall(b"\0\xff\xff\0")
                client.shutdown(socket.SHUT_WR)
                client.recv(1)
            assert json.loads(logged(path, len(outcomes) + 1)[-1])["outcome"] == "bad request"


def test_it_may_be_moved_away_while_requests_come(tmp_path, node):
    path, moved = tmp_path / "log", tmp_path / "log.1"
    with logging_router(path, node, "--fastrouter-processes=2") as router:
        with load(lambda: request(router.address)) as answers:
            wait_until(lambda: len(lines(path)) > 20, "some lines")
            path.rename(moved)
            wait_until(lambda: len(lines(path)) > 20, "some lines in the new one")
            former = set(router.pids("fastrouter worker", 2))
            router.process.send_signal(signal.SIGHUP)
            wait_until(lambda: not former & set(children(router.pid)), "the end of the former")
        wait_until(lambda: len(lines(path)) + len(lines(moved)) == len(answers), "a line for each request")


def test_a_full_disk_keeps_nobody_waiting(node):
    assert os.path.exists("/dev/full")
    with Router(
        "--fastrouter=127.0.0.1:0", f"--fastrouter-to={node.address}", "--fastrouter-log=/dev/full"
    ) as router:
        for _ in range(5):
            assert request(router.address).endswith(node.address.encode())


def test_a_reader_that_does_not_read(tmp_path, node):
    """A pipe in place of the file: lines are lost, requests are not."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with logging_router(path, node, "--fastrouter-log-format=" + "x" * 4000) as router:
            for _ in range(40):
                assert request(router.address).endswith(node.address.encode())
            assert len(os.read(reader, 1 << 20)) >= 4000
    finally:
        os.close(reader)


def test_mistakes(tmp_path, node):
    with Program(MASTER, "--fastrouter=127.0.0.1:0", f"--fastrouter-log={tmp_path}/none/log") as program:
        assert program.wait() == 1
        program.wait_for("fastrouter-log = .*: there is no such directory")
    with Program(MASTER, "--fastrouter=127.0.0.1:0", f"--fastrouter-log={tmp_path}") as program:
        assert program.wait() == 1
        program.wait_for("cannot log requests to .*: Is a directory")


@pytest.mark.parametrize("end", ["client", "node"])
def test_who_leaves(tmp_path, end):
    path = tmp_path / "log"
    with (
        HeldNode() as node,
        logging_router(path, node, "--fastrouter-log-format=%(outcome) %(node)") as router,
    ):
        with connect(router.address) as client:
            client.sendall(request_packet("GET", "http://foo.com/", b"", {}))
            assert node.entered.wait(LIMIT)
            if end == "client":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset
            else:
                node.release.set()
                client.recv(1 << 16)
        expected = {"client": f"gone {node.address}", "node": f"answered {node.address}"}[end]
        assert logged(path, 1) == [expected]
