"""What a client is told when nobody answers it: nothing, unless the router is asked to (answer-errors)."""

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
