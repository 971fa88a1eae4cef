"""The raw router: any protocol, with the listener as the key."""

import socket

from harness import FakeNode, connect, wait_until

from differential.scenario import Group, Scenario

SUBSCRIPTION = ("--rawrouter-subscription-server={dir}/sub.sock",)
CRASHES = "the process crashes when a key has no node, or a UNIX node is not there"
ONE_END = "the end of one side ends the other at once, and what was on the way is lost"


class Named(FakeNode):
    """Says its name, and then what it hears, a line at a time, until it hears bye."""

    def __init__(self, name, path=""):
        self.name = name
        super().__init__(self._say, path)

    def _say(self, connection, number):
        connection.sendall(self.name.encode() + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                connection.sendall(line.upper())
                if line == b"bye\n":
                    return


def talk(stage, address=None, *lines):
    """A whole dialogue; what was heard of it."""
    with connect(address or stage.address) as sock, sock.makefile("rb") as heard:
        try:
            said = [heard.readline()]
            for line in (*lines, "bye\n"):
                sock.sendall(line.encode())
                said.append(heard.readline())
            return b"".join([*said, heard.read()]).decode()
        except OSError:
            return ""  # closed, sooner or later


def nodes(stage, *names):
    for name in names:
        stage.keep(Named(name, str(stage.dir / f"{name}.sock")))


def _dialogue(stage):
    nodes(stage, "one")
    return [talk(stage, None, "hello\n", "x" * 100_000 + "\n") for _ in range(3)]


TO = ("--rawrouter-to={dir}/one.sock",)
BASIC = Group(
    "raw",
    (
        *TO,
        "--rawrouter-events=8",
        "--rawrouter-buffer-size=8192",
        "--rawrouter-processes=2",
        "--rawrouter-harakiri=30",
        "--rawrouter-gracetime=3",
        "--rawrouter-max-retries=2",
        "--rawrouter-timeout=20",
        "--rawrouter-quiet=1",
    ),
    [Scenario("a dialogue that the server begins", _dialogue)],
    prefix="rawrouter",
)


def _turns(stage):
    nodes(stage, "one", "two")
    return sorted(talk(stage) for _ in range(4))


TURNS = Group(
    "raw nodes take turns",
    (*TO, "--rawrouter-to={dir}/two.sock"),
    [Scenario("two nodes", _turns)],
    prefix="rawrouter",
)


def _announced(stage):
    nodes(stage, "one", "two")
    other = str(stage.dir / "other.sock")
    stage.announce(stage.address, str(stage.dir / "one.sock"))
    stage.announce(other, str(stage.dir / "two.sock"))
    return [talk(stage), talk(stage, other), talk(stage)]


ANNOUNCED = Group(
    "raw announced nodes",
    (*SUBSCRIPTION, "--rawrouter", "{dir}/router.sock", "--rawrouter", "{dir}/other.sock"),
    [Scenario("the listener is the key", _announced)],
    prefix="rawrouter",
)


def _no_node(stage):
    answer = talk(stage)
    if stage.is_uwsgi:
        stage.logged("respawned uWSGI rawrouter 1")
        return "crashed"
    stage.logged("no node for")
    return answer


LOST = Group(
    "raw without a node",
    SUBSCRIPTION,
    [Scenario("nobody has announced the key", _no_node, CRASHES, "")],
    prefix="rawrouter",
)


def _missing(stage):
    nodes(stage, "two")
    answers = [talk(stage) for _ in range(2)]
    return "crashed" if stage.log_count("respawned uWSGI rawrouter 1") else answers


MISSING = Group(
    "raw node that is not there",
    ("--rawrouter-to={dir}/missing.sock", "--rawrouter-fallback={dir}/two.sock"),
    [Scenario("a fallback serves in place of a UNIX node", _missing, CRASHES, ["two\nBYE\n"] * 2)],
    prefix="rawrouter",
)


def _refused(stage):
    nodes(stage, "two")
    return [talk(stage) for _ in range(3)]


REFUSED = Group(
    "raw node that refuses",
    ("--rawrouter-to={dead}", "--rawrouter-fallback={dir}/two.sock"),
    [Scenario("a fallback serves in place of a TCP node", _refused, CRASHES, ["two\nBYE\n"] * 3)],
    prefix="rawrouter",
)


def _count(connection, number):
    size = 0
    while data := connection.recv(65536):
        size += len(data)
    connection.sendall(f"{size} bytes".encode())


def _client_ends_first(stage):
    stage.keep(FakeNode(_count, str(stage.dir / "one.sock")))
    with connect(stage.address) as sock:
        sock.sendall(b"x" * 10_000)
        sock.shutdown(socket.SHUT_WR)
        return stage.read(sock)


ENDS = Group(
    "raw half-close",
    TO,
    [Scenario("the client ends first", _client_ends_first, ONE_END, "10000 bytes")],
    prefix="rawrouter",
)


def _silence(stage):
    stage.keep(FakeNode(lambda connection, number: connection.recv(1), str(stage.dir / "one.sock")))
    with connect(stage.address) as sock:
        return stage.read(sock)


SILENCE = Group(
    "raw silence",
    (*TO, "--rawrouter-timeout=1"),
    [Scenario("a connection on which nothing moves is closed", _silence)],
    prefix="rawrouter",
)


def _cheap(stage):
    nodes(stage, "one")
    sock = stage.connect()
    sock.settimeout(20)
    stage.announce(stage.address, str(stage.dir / "one.sock"))
    sock.sendall(b"bye\n")
    return stage.read(sock)


CHEAP = Group(
    "raw cheap",
    (*SUBSCRIPTION, "--rawrouter-cheap"),
    [Scenario("a client waits for a node", _cheap)],
    prefix="rawrouter",
)


def _mapped(stage):
    nodes(stage, "one")
    return talk(stage, stage.places["free"])


MAPPED = [
    Group(
        f"raw {name}",
        ("--rawrouter", "{free}", *options),
        [Scenario("one TCP listener", _mapped)],
        {"map.py": "def pick(key):\n    return b'{dir}/one.sock'\n"},
        prefix="rawrouter",
    )
    for name, *options in (
        ("code", "--rawrouter-use-code-string=0:{dir}/map.py:pick"),
        (
            "cache",
            "--cache2=name=c,items=10",
            "--add-cache-item=c {free}={dir}/one.sock",
            "--rawrouter-use-cache=c",
        ),
    )
]


def _patterned(stage):
    stage.keep(Named("one", str(stage.dir / "pre-raw.sock")))
    return talk(stage, str(stage.dir / "raw.sock"))


PATTERNED = [
    Group(
        f"raw {option}",
        ("--rawrouter", "raw.sock", f"--rawrouter-use-{option}={{dir}}/{pattern}"),
        [Scenario("the listener names the node", _patterned)],
        prefix="rawrouter",
    )
    for option, pattern in (("pattern", "pre-%s"), ("base", "pre-"))
]


def _postfix(connection, number):
    connection.sendall(b"220 one\r\n")
    with connection.makefile("rb") as lines:
        heard = []
        for line in lines:
            heard.append(line)
            if line.startswith(b"XCLIENT"):
                connection.sendall(b"220 two\r\n")
            if line == b"QUIT\r\n":
                break
    connection.sendall(b"221 " + b"|".join(heard).replace(b"\r\n", b"") + b"\r\n")


def _xclient(stage):
    stage.keep(FakeNode(_postfix, str(stage.dir / "one.sock")))
    with connect(stage.places["free"]) as sock, sock.makefile("rb") as heard:
        greeting = heard.readline()
        sock.sendall(b"QUIT\r\n")
        return (greeting + heard.read()).decode()


XCLIENT = Group(
    "raw xclient",
    ("--rawrouter", "{free}", *TO, "--rawrouter-xclient"),
    [Scenario("an SMTP server is told the client's address", _xclient)],
    prefix="rawrouter",
)


def _killed(stage):
    nodes(stage, "one")
    before = talk(stage)
    stage.kill_router()
    return before, wait_until(lambda: talk(stage), "an answer")


KILLED = Group("raw killed", TO, [Scenario("a successor serves", _killed)], prefix="rawrouter")

GROUPS = [
    *(BASIC, TURNS, ANNOUNCED, LOST, MISSING, REFUSED, ENDS, SILENCE, CHEAP, XCLIENT, KILLED),
    *MAPPED,
    *PATTERNED,
]
