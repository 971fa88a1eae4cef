"""What a client is told when nobody answers it: nothing, unless the router is asked to (answer-errors)."""

import json
import os
import signal

import pytest
from harness import (
    FakeNode,
    Router,
    connect,
    read_all,
    read_request,
    refusing_address,
    request,
    subscription_router,
    wait_until,
)


def status(reply):
    return int(reply.split(b" ", 2)[1]) if reply else 0


def closes(connection, number):
    read_request(connection)


def hangs(connection, number):
    read_request(connection)
    connection.recv(1)


@pytest.fixture(params=[True, False], ids=["told", "closed"])
def told(request):
    return request.param


def options(told, *more):
    return [*(["--fastrouter-answer-errors"] if told else []), *more]


def test_unknown_dead_silent_and_hanging(told):
    dead, address = refusing_address()
    with (
        dead,
        FakeNode(closes) as silent,
        FakeNode(hangs) as hanging,
        subscription_router(*options(told, "--fastrouter-timeout=1")) as router,
    ):
        router.announce("dead.com", address)
        router.announce("silent.com", silent.address)
        router.announce("hanging.com", hanging.address)
        expected = {"unknown.com": 404, "dead.com": 503, "silent.com": 502, "hanging.com": 504}
        for host, code in expected.items():
            reply = request(router.address, f"http://{host}/")
            assert status(reply) == (code if told else 0), host
            assert (b"Retry-After: 10" in reply) is (told and code == 503)
        assert status(request(router.address, "http://dead.com/")) == (503 if told else 0), "still known"
        assert status(request(router.address, "http://silent.com/", body=b"x" * 300000)) == (
            502 if told else 0
        )


@pytest.mark.parametrize(
    "data", [b"\0\0\0\0", b"\0\4\0\0\xff\xff\xff\xff", b"GET / HTTP/1.0\r\n\r\n" + b"x" * 40000]
)
def test_what_is_no_request(told, data):
    with subscription_router(*options(told)) as router, connect(router.address) as sock:
        sock.sendall(data)
        assert status(read_all(sock)) == (400 if told else 0)


def test_a_node_that_does_not_accept(told, tmp_path):
    with FakeNode() as node:
        address = node.address
    with Router("--fastrouter=127.0.0.1:0", f"--fastrouter-to={address}", *options(told)) as router:
        for _ in range(2):
            assert status(request(router.address)) == (503 if told else 0)


def test_a_key_that_has_no_node_is_logged_and_counted(told, node):
    with subscription_router(*options(told), "--fastrouter-stats=127.0.0.1:0") as router:
        stats = router.wait_for(r"stats server enabled on (\S+)")[1]

        def counted():
            with connect(stats) as sock:
                return json.loads(read_all(sock))["unserved_keys"]

        assert counted() == {}
        router.announce("left.com", node.address)
        assert request(router.address, "http://left.com/")
        assert counted() == {}, "nothing is noted of requests that are answered"
        router.unsubscribe("left.com", node.address)
        for key, count in (("nobody.com", 3), ("left.com", 1), ("\x1b[31mred.com", 2)):
            for _ in range(count):
                request(router.address, HTTP_HOST=key)
        wait_until(lambda: sum(counted().values()) == 6, "all requests")
        assert counted() == {"nobody.com": 3, "\x1b[31mred.com": 2, "left.com": 1}
        assert next(iter(counted())) == "nobody.com"
        router.wait_for(r"no node for \\x1b")
        lines = [line for line in router.lines if "no node for" in line]
        assert lines == [
            "[uwsgi-fastrouter] no node for nobody.com: nobody has announced it",
            "[uwsgi-fastrouter] no node for left.com: all that it had are gone, or could not be reached",
            "[uwsgi-fastrouter] no node for \\x1b[31mred.com: nobody has announced it",
        ]


def test_what_is_said_of_keys_that_clients_make_up_is_bounded():
    with subscription_router("--fastrouter-stats=127.0.0.1:0") as router:
        stats = router.wait_for(r"stats server enabled on (\S+)")[1]
        for number in range(100):
            request(router.address, f"http://{number}.com/")
            request(router.address, "http://often.com/")
        router.wait_for("more than 32 keys without a node in a minute")
        assert sum("no node for" in line for line in router.lines) == 32
        worker = router.pids("fastrouter worker")[0]
        os.kill(worker, signal.SIGKILL)
        router.wait_for("respawned fastrouter worker 1")
        with connect(stats) as sock:
            counted = json.loads(read_all(sock))["unserved_keys"]
        assert len(counted) == 32 and counted["often.com"] == 100 and counted["99.com"] == 1
