"""Which key a packet has, and what is no packet."""

import struct

from differential.scenario import SUBSCRIPTION, Group, Scenario
from fastrouter.wire.packet import encode

H, S, F = "HTTP_HOST", "SERVER_NAME", "UWSGI_FASTROUTER_KEY"

_KEYS = ["a", "b", "c", "k", "l", "x" * 255, "Foo.com:8080"]


def _announce_keys(stage):
    for modifier, key in enumerate(_KEYS, 1):
        stage.announce(key, "A", modifier1=modifier)


def _row(*pairs):
    name = ", ".join(f"{name}={value[:12]}" for name, value in pairs) or "no variable"
    return Scenario(name, lambda stage: stage.ask_with(*pairs))


KEYS = Group(
    "keys",
    SUBSCRIPTION,
    [
        _row((S, "a")),
        _row((S, "a"), (H, "b")),
        _row((H, "b"), (S, "a")),
        _row((H, "b"), (H, "c")),
        _row((S, "a"), (S, "b")),
        _row((S, "a"), (H, "")),
        _row((H, ""), (S, "a")),
        _row((F, "k"), (H, "b"), (S, "a")),
        _row((H, "b"), (S, "a"), (F, "k")),
        _row((F, "k"), (F, "l")),
        _row((F, ""), (H, "b")),
        _row((F, ""), (S, "a")),
        _row((H, "y" * 256), (S, "a")),
        _row((H, "x" * 255)),
        _row((H, "Foo.com:8080")),
        _row((H, "foo.com:8080")),
        _row(("PATH_INFO", "/")),
        _row(),
    ],
    setup=_announce_keys,
)

_GOOD = encode([(b"HTTP_HOST", b"foo.com")])


def _packet(name, data):
    return Scenario(name, lambda stage: stage.send(data))


def _byte_by_byte(stage):
    sock = stage.connect()
    for at in range(len(_GOOD)):
        sock.sendall(_GOOD[at : at + 1])
    return stage.read(sock)


PACKETS = Group(
    "packets",
    # What a node's socket does not take at once uWSGI sends again, from the packet's beginning; this one takes
    # the largest, where TCP's room depends on how busy the machine is.
    ("--fastrouter-to={dir}/node.sock",),
    [
        _packet("an empty block", b"\0\0\0\0"),
        _packet("an empty name", b"\0\x08\0\0" + b"\0\0\1\0v\1\0k"),
        _packet("a name over the end", b"\0\x04\0\0" + b"\xff\0ab"),
        _packet("a value over the end", b"\0\x07\0\0" + b"\1\0k\xff\0ab"),
        _packet("a length cut off", b"\0\x05\0\0" + b"\1\0k\1\0"),
        _packet("bytes left over", struct.pack("<BHB", 0, len(_GOOD) - 3, 0) + _GOOD[4:] + b"\0"),
        Scenario("byte by byte", _byte_by_byte),
        Scenario(
            "the client's modifiers are lost",
            lambda stage: stage.ask_with(("HTTP_HOST", "a"), modifiers=(5, 7)),
        ),
        Scenario("the largest packet", lambda stage: stage.ask(FILLER="x" * 65000)),
        Scenario("a body", lambda stage: stage.ask(body=b"hello")),
        Scenario("a large body", lambda stage: stage.ask(body=b"0123456789" * 100_000)),
        Scenario(
            "a body in pieces", lambda stage: stage.ask(body=b"piece", method="PUT", CONTENT_LENGTH="5")
        ),
        Scenario("no key, though the node is fixed", lambda stage: stage.ask_with(("PATH_INFO", "/"))),
    ],
    nodes=[("N", "{dir}/node.sock")],
)


def _forced(stage):
    outcome = stage.outcome()
    if outcome == "runs":
        stage.announce("k", "A")
        outcome = stage.ask("other")
    return outcome


FORCED = Group(
    "force-key",
    (*SUBSCRIPTION, "--fastrouter-force-key=k"),
    [Scenario("any request", _forced, differs="`fastrouter-force-key` is in 2.1 only", ours="A 0/0")],
    starts=False,
)

GROUPS = [KEYS, PACKETS, FORCED]
