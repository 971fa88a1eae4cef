"""What is told to other routers."""

import contextlib
import socket

from differential.scenario import SUBSCRIPTION, Group, Scenario
from fastrouter.wire.announcement import parse_announcement
from fastrouter.wire.packet import encode


def _listen(stage):
    """Be the other router's subscription server."""
    stage.upper = stage.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    host, _, port = stage.places["udp"].rpartition(":")
    stage.upper.bind((host, int(port)))
    stage.upper.settimeout(0.5)


def _heard(stage, key="foo.com"):
    """What it was told of a key."""
    heard = []
    with contextlib.suppress(TimeoutError):
        while True:
            one = parse_announcement(stage.upper.recv(4096))
            if one.key == key:
                heard.append((one.unsubscribe, *one.traits[:2], one.address == stage.address))
    return heard


def _two_nodes(stage):
    stage.announce("two.com", "A")
    stage.announce("two.com", "B")
    stage.unsubscribe("two.com", "A")
    return [one[0] for one in _heard(stage, "two.com")]


def _refused(stage):
    stage.announce("barrier.com", "A")
    stage.datagram(encode([(b"key", b"bad.com"), (b"address", b"no.such.host:99")], 224))
    stage.settle()
    return len(_heard(stage, "bad.com"))


RESUBSCRIBE = Group(
    "resubscribe",
    (*SUBSCRIPTION, "--fastrouter-resubscribe={udp}", "--fastrouter-resubscribe-bind=127.0.0.1:0"),
    [
        Scenario("an announcement", lambda stage: (
            _listen(stage), stage.announce("foo.com", "A", modifier1=5), _heard(stage))),
        Scenario("a refresh", lambda stage: (stage.refresh("foo.com", "A", modifier1=5), _heard(stage))),
        Scenario("the last node leaves", lambda stage: (
            stage.unsubscribe("foo.com", "A"), [one[0] for one in _heard(stage)])),
        Scenario("one of two leaves", _two_nodes, ours=[False, False],
                 differs="an unsubscription is passed on although other nodes of the key are left"),
        Scenario("what is refused", _refused, ours=0,
                 differs="every announcement is passed on to `fastrouter-resubscribe`, refused ones and those that "
                         "have come round too"),
    ],
)  # fmt: skip

GROUPS = [RESUBSCRIBE]
