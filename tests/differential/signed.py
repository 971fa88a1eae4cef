"""Signed announcements, credentials."""

import time

from harness import FakeNode, in_threads
from parts import announcement
from signing import KeyPair

from differential.scenario import SUBSCRIPTION, Group, Scenario, exits
from fastrouter.wire.announcement import Announcement

KEYS, OTHER = KeyPair(), KeyPair()
CHECK = "--subscriptions-sign-check=SHA1:{dir}"
NOW = int(time.time())  # noqa: TID251 - part of the format

REPLAY = (
    "a captured announcement, but for a node's first, is obeyed again; any can be turned into an "
    "unsubscription, since the signature does not cover the command"
)


def _signed(stage, key, node, unix, keys=KEYS, **fields):
    return keys.signed(announcement(key, stage.places[node], **fields), unix)


def _node_appears(stage, datagram, key):
    """Whether a datagram makes a node."""
    before = stage.log_count(f"] {key} => new node")
    stage.datagram(datagram)
    node = stage.keep(FakeNode()).address
    stage.datagram(KEYS.signed(Announcement(f"after-{key}", node), NOW))
    stage.logged(f"after-{key} => new node: {node}")
    return stage.log_count(f"] {key} => new node") - before


def _turned(stage):
    captured = _signed(stage, "turned.com", "A", NOW)
    stage.datagram(captured)
    stage.logged("turned.com => new node")
    stage.datagram(captured[:3] + b"\1" + captured[4:])
    stage.datagram(_signed(stage, "turned2.com", "A", NOW))
    stage.logged("turned2.com => new node")
    return stage.ask("turned.com")


def _changed_file(stage):
    stage.datagram(_signed(stage, "changed.com", "A", NOW))
    stage.logged("changed.com => new node")
    OTHER.write_public(stage.dir / "changed.com.pem")
    stage.datagram(_signed(stage, "changed.com", "B", NOW + 1, keys=OTHER))
    stage.datagram(_signed(stage, "changed2.com", "A", NOW))
    stage.logged("changed2.com => new node")
    return stage.log_count("] changed.com => new node")


_NAMES = ("foo.com", "bar.com_80", "far.com", "turned.com", "turned2.com", "changed.com", "changed2.com")
_AFTER = ("after-foo.com", "after-bar.com_80", "after-plain.com", "after-none.com", "after-far.com")
_FILES = {f"{name}.pem": KEYS.public.decode() for name in (*_NAMES, *_AFTER)}

SIGNED = Group(
    "signed announcements",
    (*SUBSCRIPTION, CHECK),
    [
        Scenario("signed", lambda stage: _node_appears(stage, _signed(stage, "foo.com", "A", NOW), "foo.com")),
        Scenario("the file of a key with a port", lambda stage: _node_appears(
            stage, _signed(stage, "bar.com:80", "A", NOW), "bar.com:80")),
        Scenario("not signed", lambda stage: _node_appears(
            stage, Announcement("plain.com", stage.places["A"]).encode(), "plain.com")),
        Scenario("another key", lambda stage: _node_appears(
            stage, _signed(stage, "foo.com", "B", NOW, keys=OTHER), "foo.com")),
        Scenario("no key file", lambda stage: _node_appears(stage, _signed(stage, "none.com", "A", NOW), "none.com")),
        Scenario("too old", lambda stage: _node_appears(
            stage, _signed(stage, "far.com", "A", NOW - 100_000), "far.com")),
        Scenario("from the future", lambda stage: _node_appears(
            stage, _signed(stage, "far.com", "A", NOW + 100_000), "far.com"),
                 differs="a signed announcement from the future is taken", ours=0),
        Scenario("turned into an unsubscription", _turned, differs=REPLAY, ours="A 0/0"),
        Scenario("another key file", _changed_file, ours=2,
                 differs="a key file is read when the pool is made, and not again"),
    ],
    files=_FILES,
)  # fmt: skip


def _everybody(stage):
    stage.datagram(_signed(stage, "foo.com", "A", NOW))
    stage.logged("foo.com => new node")
    stage.pause(0.2)
    answers = [answer for _ in range(4) for answer in in_threads(16, lambda _: stage.ask())]
    return answers.count("") > 0


SIGNED_MANY = Group(
    "signed announcements, several processes",
    (*SUBSCRIPTION, CHECK, "--fastrouter-processes=4"),
    [Scenario("all know", _everybody, ours=False,
              differs="with several processes only the one that gets a signed announcement takes it")],
    files=_FILES,
)  # fmt: skip

GROUPS = [
    SIGNED,
    SIGNED_MANY,
    exits("credentials over UDP", "--fastrouter-subscription-server={udp}", "--subscriptions-use-credentials", ours=1,
          differs="`subscriptions-use-credentials` makes UDP sockets drop every datagram silently"),
    exits("owners of unknown senders", "--fastrouter-subscription-server={udp}",
          "--subscriptions-credentials-check={dir}/", ours=1,
          differs="without `subscriptions-use-credentials` every sender counts as root"),
    exits("a sign check without a directory", *SUBSCRIPTION, "--subscriptions-sign-check=SHA1"),
]  # fmt: skip
