"""Answers to requests whose body the application does not read: they arrive whole, whatever node gave them.

A node that closes with bytes unread makes its kernel reset the connection right behind the answer.
"""

import pytest
from differential.stage import free_port
from harness import BIN, MASTER, Program, connect, request, router_to, wait_until

SIZES = (3, 3000, 300_000)
REQUESTS = 12

PIECES = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "700")])
    for number in range(7):
        yield b"%d" % number * 100
"""
ONE = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % number * 100 for number in range(7)]
"""


def command(kind, address):
    bind = f"unix:{address}" if address.startswith("/") else address
    return {
        "app": [MASTER, "--socket", address, "--wsgi-file", "answers.py"],
        "uwsgi": [BIN / "uwsgi", "--socket", address, "--wsgi-file", "answers.py"],
        "gunicorn": [
            BIN / "gunicorn",
            "--protocol",
            "uwsgi",
            "--bind",
            bind,
            "--no-control-socket",
            "answers:application",
        ],
        "taking gunicorn": [
            *(BIN / "gunicorn", "--protocol", "uwsgi", "--bind", bind),
            *(
                "--worker-class",
                "fastrouter.gunicorn.SyncWorker",
                "--no-control-socket",
                "answers:application",
            ),
        ],
    }[kind]


class Named:
    """A node as the harness knows them: something with an address."""

    def __init__(self, address):
        self.address = address


def accepts(address):
    try:
        connect(address).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("code", [ONE, PIECES], ids=["one", "pieces"])
@pytest.mark.parametrize(
    ("kind", "family", "passes"),
    [
        ("app", "tcp", False),
        ("app", "unix", False),
        ("app", "unix", True),
        ("uwsgi", "tcp", False),
        ("uwsgi", "unix", False),
        ("gunicorn", "tcp", False),
        ("gunicorn", "unix", False),
        ("taking gunicorn", "unix", True),
    ],
)
def test_answers_arrive_whole(tmp_path, kind, family, passes, code):
    (tmp_path / "answers.py").write_text(code)
    address = str(tmp_path / "node.sock") if family == "unix" else free_port("127.0.0.1")
    with Program(*command(kind, address), cwd=tmp_path):
        wait_until(lambda: accepts(address), f"{kind} at {address}")
        options = [f"--fastrouter-fd-passing={address}"] if passes else []
        with router_to(Named(address), *options) as router:
            request(router.address)  # a node that takes clients has shown it from here on
            request(router.address, body=bytes(max(SIZES)))  # from here on the router knows how the node ends
            whole = dict.fromkeys(SIZES, 0)
            for size in SIZES:
                for _ in range(REQUESTS):
                    whole[size] += request(router.address, body=bytes(size)).endswith(b"6" * 100)
    assert whole == dict.fromkeys(SIZES, REQUESTS)
