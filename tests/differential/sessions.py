"""What happens on a connection: streaming, leaving, waiting, buffering."""

import socket
import zlib

from harness import FakeNode, connect, in_threads, read_request

from differential.scenario import SUBSCRIPTION, Group, Scenario
from fastrouter.client import request_packet

MEGABYTE = 1 << 20


def _half_close(stage):
    node = stage.keep(FakeNode(_slow))
    stage.announce("slow.com", node.address)
    sock = stage.connect()
    sock.sendall(request_packet("GET", "http://slow.com/"))
    sock.shutdown(socket.SHUT_WR)
    return stage.read(sock)


def _slow(connection, number):
    read_request(connection)
    connection.settimeout(0.3)
    try:
        connection.recv(1)
    except TimeoutError:
        pass
    connection.sendall(b"\r\n\r\nslow")


def _early(connection, number):
    """Answers at length before it reads the body."""
    head = connection.recv(4, socket.MSG_WAITALL)
    connection.recv(head[1] | head[2] << 8, socket.MSG_WAITALL)
    connection.sendall(b"\r\n\r\n" + b"y" * 8 * MEGABYTE)
    while connection.recv(MEGABYTE):
        pass


def _early_answer(stage):
    """A client that sends everything before it reads anything, as some do."""
    node = stage.keep(FakeNode(_early))
    stage.announce("early.com", node.address)
    body = b"x" * 32 * MEGABYTE
    sock = stage.connect()
    sock.settimeout(6)
    received = bytearray()

    def talk(number):
        try:
            if number:
                while chunk := sock.recv(MEGABYTE):
                    received.extend(chunk)
            else:
                sock.sendall(request_packet("POST", "http://early.com/", body) + body)
        except OSError:
            pass

    in_threads(2, talk)
    return len(received) - 4 == 8 * MEGABYTE


def _extra(connection, number):
    """What comes within a third of a second beyond the body of two bytes."""
    _, body = read_request(connection)
    connection.settimeout(0.3)
    try:
        body += connection.recv(100)
    except TimeoutError:
        pass
    connection.sendall(b"\r\n\r\n" + body)


def _more_than_declared(stage):
    node = stage.keep(FakeNode(_extra))
    stage.announce("extra.com", node.address)
    sock = stage.connect()
    sock.sendall(request_packet("POST", "http://extra.com/", b"ab") + b"ab")
    node.wait_for_requests(1)
    sock.sendall(b"cd")
    return stage.read(sock)


def _large(connection, number):
    read_request(connection)
    connection.sendall(b"\r\n\r\n" + bytes(range(256)) * 40_000)


def _large_answer(stage):
    node = stage.keep(FakeNode(_large))
    stage.announce("large.com", node.address)
    return stage.ask("large.com") == (bytes(range(256)) * 40_000).decode("latin-1")


STREAMS = Group(
    "streaming",
    (*SUBSCRIPTION, "--fastrouter-timeout=2"),
    [
        Scenario("a large answer", _large_answer),
        Scenario("a client that closes its side", _half_close, ours="slow",
                 differs="closes the session when the client half-closes, and loses the answer"),
        Scenario("an answer before the body was read", _early_answer, ours=True,
                 differs="moves one direction at a time; a node that answers before it has read the body can "
                         "deadlock with the client"),
        Scenario("more than the declared body", _more_than_declared, ours="ab",
                 differs="after the declared body, further bytes from the client are forwarded"),
    ],
)  # fmt: skip

SMALL = Group(
    "small buffers, few events",
    (*SUBSCRIPTION, "--fastrouter-buffer-size=1", "--fastrouter-events=1"),
    [
        Scenario(
            "a body",
            lambda stage: (stage.announce("foo.com", "A"), stage.ask(body=b"z" * 9999)),
        ),
        Scenario("requests side by side", lambda stage: in_threads(8, lambda _: stage.ask())),
    ],
)


def _idle(stage):
    """Three clients that say too little; two that go on saying something."""
    packet = request_packet("GET", "http://foo.com/")
    silent, begun, unfinished = stage.connect(), stage.connect(), stage.connect()
    begun.sendall(packet[:2])
    unfinished.sendall(packet[:50])
    return [stage.read(sock) for sock in (silent, begun, unfinished)]


IDLE = Group(
    "timeouts of clients", ("--fastrouter-to={A}", "--fastrouter-timeout=1"), [Scenario("closed", _idle)]
)


def _buffered(stage, size):
    body = b"b" * size
    sock = stage.connect()
    sock.sendall(request_packet("POST", "http://foo.com/", body) + body[:-1])
    heard_before = bool(stage.nodes["A"].packets)
    sock.sendall(body[-1:])
    answer = stage.read(sock)
    stage.nodes["A"].packets.clear()
    return heard_before, answer


def _leaves(stage):
    with connect(stage.address) as sock:
        sock.sendall(request_packet("POST", "http://foo.com/", b"x" * 1000) + b"x" * 10)
    answer = stage.ask(body=b"next")
    return answer, len(stage.nodes["A"].packets)


def _steady_but_slow(stage):
    """A body that takes longer than the timeout in all, but never pauses that long."""
    sock = stage.connect()
    sock.sendall(request_packet("POST", "http://foo.com/", b"x" * 8))
    for _ in range(8):
        stage.pause(0.6)
        try:
            sock.sendall(b"x")
        except OSError:
            return "cut off"
    return stage.read(sock)


def _node_leaves_meanwhile(stage):
    sock = stage.connect()
    sock.sendall(request_packet("POST", "http://gone.com/", b"x" * 20) + b"x" * 10)
    stage.settle()
    stage.unsubscribe("gone.com", "B")
    stage.announce("gone.com", "C")
    sock.sendall(b"x" * 10)
    return stage.read(sock)


def _said(name, body):
    return f"{name} 0/0 {len(body)}:{zlib.crc32(body):08x}"


def _post_buffering(*more):
    return (*SUBSCRIPTION, "--fastrouter-post-buffering=1000", "--fastrouter-timeout=2", *more)


BUFFERING = Group(
    "post-buffering",
    _post_buffering(),
    [
        Scenario("in memory", lambda stage: _buffered(stage, 1000)),
        Scenario("in a file", lambda stage: _buffered(stage, 200_000)),
        Scenario("no body", lambda stage: stage.ask()),
        Scenario("a client that leaves", _leaves),
        Scenario("steady but slow", _steady_but_slow, ours=_said("A", b"x" * 8),
                 differs="post-buffering chooses the node first, then reads the body; a slow one is cut off after "
                         "`fastrouter-timeout` in total"),
        Scenario("a node that leaves meanwhile", _node_leaves_meanwhile, ours=_said("C", b"x" * 20),
                 differs="post-buffering chooses the node first, then reads the body; a slow one is cut off after "
                         "`fastrouter-timeout` in total"),
    ],
    setup=lambda stage: (stage.announce("foo.com", "A"), stage.announce("gone.com", "B")),
)  # fmt: skip


def _file_there(stage):
    """Whether a body is put in the configured directory (and not where there is no such directory)."""
    outcome = stage.outcome()
    return outcome if outcome != "runs" else "runs all the same"


BUFFERING_DIR = Group(
    "post-buffering-dir",
    ("--fastrouter-to={A}", "--fastrouter-post-buffering=10", "--fastrouter-post-buffering-dir={dir}/nowhere"),
    [Scenario("a directory that is not there", _file_there, ours=1,
              differs="`fastrouter-post-buffering-dir` is ignored")],
    starts=False,
)  # fmt: skip

RETRY = Group(
    "post-buffering, a retry",
    ("--fastrouter-to={dead}", "--fastrouter-to={A}", "--fastrouter-post-buffering=1000"),
    [
        Scenario("from memory", lambda stage: stage.ask(body=b"x" * 500)),
        Scenario("from a file", lambda stage: stage.ask(body=b"x" * 5000)),
    ],
)

HARAKIRI = Group(
    "harakiri",
    ("--fastrouter-use-code-string=0:mapper.py:get", "--fastrouter-harakiri=1"),
    [
        Scenario("a function that hangs", lambda stage: stage.ask("stuck.com")),
        Scenario("is killed", lambda stage: stage.logged("HARAKIRI ON GATEWAY uWSGI fastrouter 1 ")),
        Scenario("and replaced", lambda stage: (stage.logged("respawned"), stage.ask("foo.com"))),
    ],
    files={
        "mapper.py": "import time\n"
        "def get(key):\n"
        "    if b'stuck' in key.decode().encode():\n"
        "        time.sleep(60)\n"
        "    return b'{A}'\n"
    },
)

GROUPS = [STREAMS, SMALL, IDLE, BUFFERING, BUFFERING_DIR, RETRY, HARAKIRI]
