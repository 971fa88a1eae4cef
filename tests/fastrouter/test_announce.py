"""The module that programs announce themselves with."""

import ast
import socket
import sys
from pathlib import Path

import pytest
from signing import Ed25519Pair

import fastrouter.announce
from fastrouter.announce import announcement
from fastrouter.wire.announcement import Announcement, parse_announcement
from fastrouter.wire.signature import sign
from fastrouter.wire.traits import Traits


def test_it_can_be_copied():
    tree = ast.parse(Path(fastrouter.announce.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [
        name
        for node in imports
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    ]
    assert names and all(name.partition(".")[0] in sys.stdlib_module_names for name in names)


def test_its_datagrams_are_those_of_the_program():
    assert (
        announcement(
            "foo.com",
            "1.2.3.4:5",
            modifier1=3,
            modifier2=0,
            cores=2,
            load=0,
            weight=7,
            backup=1,
            algo="lrc",
            max_conns=9,
            drain=1,
            notify="/run/n",
        )
        == Announcement(
            "foo.com",
            "1.2.3.4:5",
            traits=Traits(modifier1=3, weight=7, backup=1, algorithm="lrc", max_conns=9),
            cores=2,
            drain=True,
            notify="/run/n",
        ).encode()
    )
    assert parse_announcement(announcement("foo.com", "1.2.3.4:5", leave=True)).unsubscribe


def test_too_much():
    with pytest.raises(ValueError, match="4096"):
        announcement("foo.com", "1.2.3.4:5", notify="n" * 4090)
    with pytest.raises(ValueError, match="notify has 70000 bytes"):
        announcement("foo.com", "1.2.3.4:5", notify="n" * 70000)


def test_its_signatures_are_those_of_the_program(monkeypatch):
    pair = Ed25519Pair()
    sent = []
    announcer = fastrouter.announce.Announcer([], "foo.com", "1.2.3.4:5", sign=pair.key.sign)

    class Socket:
        def __init__(self, *kind):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def sendto(self, datagram, target):
            sent.append(datagram)

    monkeypatch.setattr(fastrouter.announce.socket, "socket", Socket)
    announcer._send_one("127.0.0.1:1", "foo.com", False, {})
    found = parse_announcement(sent[0])
    unsigned = announcement("foo.com", "1.2.3.4:5", unix=found.unix, seq=found.sequence)
    assert sent[0] == sign(unsigned, "ED25519", pair.private)


def test_nobody_waits_for_a_server_that_does_not_read(tmp_path):
    path = str(tmp_path / "full.sock")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler,
    ):
        server.bind(path)
        filler.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                filler.sendto(b"x", path)
        announcer = fastrouter.announce.Announcer(path, "foo.com", "1.2.3.4:5")
        announcer.stop()
        announcer.start()
        announcer.stop(drain=0)
