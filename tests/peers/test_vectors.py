"""The byte vectors of docs/vectors: against the parsers, a running router, and a real uWSGI."""

import contextlib
import json
import re
import runpy
import shutil
import signal
import socket

import pytest
from harness import (
    ROOT,
    FakeNode,
    Program,
    connect,
    free_port,
    read_all,
    read_request,
    send_announcement,
    subscription_router,
    wait_until,
)

from fastrouter.cache.definition import Definition
from fastrouter.cache.store import Cache
from fastrouter.subscriptions.admission import Admission
from fastrouter.subscriptions.policy import Sender
from fastrouter.subscriptions.replays import MARK_SIZE
from fastrouter.text import to_text
from fastrouter.wire.announcement import AnnouncementError, parse_announcement
from fastrouter.wire.packet import HEADER, PacketError, encode
from fastrouter.wire.request import read_head
from fastrouter.wire.signature import KeyFiles
from fastrouter.wire.traits import Traits

PLACE = ROOT / "docs" / "vectors"
INDEX = json.loads((PLACE / "index.json").read_text())
TIME = 1795307749


def vectors(kind):
    return [
        pytest.param(one, id=one["file"].removesuffix(".bin"))
        for one in INDEX
        if one["file"].startswith(kind)
    ]


def data_of(vector):
    return (PLACE / vector["file"]).read_bytes()


def test_the_files_are_what_the_script_makes(tmp_path):
    shutil.copytree(PLACE / "keys", tmp_path / "keys")
    main = runpy.run_path(str(ROOT / "scripts" / "vectors"))["main"]
    main.__globals__["PLACE"] = tmp_path
    main()
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path.relative_to(PLACE): path.read_bytes() for path in PLACE.rglob("*") if path.is_file()}
    assert made == kept


def packets_in(text):
    """The packets that are written out in a document, as bytes."""
    for block in re.findall(r"(?:^    .+\n)+", text, re.MULTILINE):
        if re.match(r"    (?:[0-9a-f]{2} ){3}[0-9a-f]{2}  ", block):
            data = bytes.fromhex(block[4:15])
            for line in block.splitlines()[1:]:
                for piece in re.split(r" {2,}", line.strip()):
                    length, _, value = piece[:5], piece[5:6], piece[6:]
                    data += bytes.fromhex(length) + value.encode()
            yield data


def test_the_packets_in_the_document():
    request, datagram = packets_in((ROOT / "docs" / "protocol.md").read_text())
    assert len(request) == 4 + HEADER.unpack_from(request)[1]
    assert read_head(request[4:])[0] == b"foo.com"
    assert len(datagram) == 4 + HEADER.unpack_from(datagram)[1]
    assert parse_announcement(datagram).address == "127.0.0.1:34881"


@pytest.mark.parametrize("vector", vectors("announcements/good"))
def test_good_announcements(vector):
    found = parse_announcement(data_of(vector))
    expected = {
        "key": "foo.com",
        **{name: value for name, value in vector.items() if name not in ("file", "says")},
    }
    expected["unsubscribe"] = expected.pop("leaves", False)
    for name, value in expected.items():
        has_it = found.traits if name in Traits._fields else found
        assert getattr(has_it, name) == (tuple(value) if isinstance(value, list) else value), name


@pytest.mark.parametrize("vector", vectors("announcements/bad"))
def test_bad_announcements(vector):
    with pytest.raises(AnnouncementError):
        parse_announcement(data_of(vector))


def test_signed_announcements(tmp_path):
    shutil.copy(PLACE / "keys" / "rsa.pem", tmp_path / "foo.com.pem")
    shutil.copy(PLACE / "keys" / "ed25519.pem", tmp_path / "bar.com.pem")
    times = Cache(Definition("times", 100, blocksize=MARK_SIZE, keysize=32), 0)
    admission = Admission(KeyFiles("SHA256", str(tmp_path)), times)
    found = {}
    for vector in (param.values[0] for param in vectors("announcements/signed")):
        datagram = data_of(vector)
        try:
            admission.admit(datagram, parse_announcement(datagram), Sender("10.0.0.1"), TIME)
            found[vector["file"]] = "accepted"
        except AnnouncementError as error:
            found[vector["file"]] = error.reason.name.lower()
    assert found == {one["file"]: one["outcome"] for one in INDEX if "signed" in one["file"]}


@pytest.mark.parametrize("vector", vectors("requests/good"))
def test_good_requests(vector):
    packet = data_of(vector)
    size = HEADER.unpack_from(packet)[1]
    assert to_text(read_head(packet[4 : 4 + size])[0]) == vector["key"]


@pytest.mark.parametrize("vector", vectors("requests/bad"))
def test_bad_requests(vector):
    packet = data_of(vector)
    size = HEADER.unpack_from(packet)[1]
    try:
        key = read_head(packet[4 : 4 + size])[0]
    except PacketError:
        return
    assert not key


def test_announcements_to_a_running_router(node):
    good, bad = ([param.values[0] for param in vectors(f"announcements/{kind}")] for kind in ("good", "bad"))
    with subscription_router() as router:
        for vector in good:
            if "host-name" not in vector["file"]:
                send_announcement(router.server, data_of(vector))
        for vector in bad:
            send_announcement(router.server, data_of(vector))
        router.announce("end", node.address)
        router.process.send_signal(signal.SIGUSR1)
        line = router.wait_for(
            r"statistics: fastrouter: (\d+) announcements accepted, (\d+) refused \((\d+) malformed\)"
        )
        assert int(line[2]) == len(bad)
        assert router.output.count("=> new node") > 8


def ask(address, packet, half_closed=False):
    with connect(address) as sock:
        sock.sendall(packet)
        if half_closed:  # a real uWSGI would drop a good session at once, and has closed a bad one already
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


@pytest.fixture(params=["fastrouter", "uwsgi"])
def any_router(request):
    """Ours or uWSGI's: addresses of the router and of its subscription server, and its output."""
    if request.param == "fastrouter":
        with subscription_router() as router:
            yield router.address, router.server, router
        return
    address, server = free_port("127.0.0.1"), free_port("127.0.0.1", socket.SOCK_DGRAM)
    options = ("--master", f"--fastrouter={address}", f"--fastrouter-subscription-server={server}")
    with Program(request.getfixturevalue("uwsgi"), *options) as program:
        program.wait_for("spawned uWSGI fastrouter 1")
        yield address, server, program


def test_requests_to_running_routers(any_router, tmp_path):
    address, server, program = any_router
    good, bad = ([param.values[0] for param in vectors(f"requests/{kind}")] for kind in ("good", "bad"))

    def behave(connection, number):
        node.packets.append(read_request(connection)[0])
        connection.sendall(b"served")

    # It takes the largest packet at once, which TCP may not: the rest uWSGI sends from the packet's beginning.
    with FakeNode(behave, path=str(tmp_path / "node.sock")) as node:
        for key in {vector["key"] for vector in good}:
            pair = [(b"key", key.encode("utf-8", "surrogateescape")), (b"address", node.address.encode())]
            send_announcement(server, encode(pair, 224))
        wait_until(
            lambda: program.output.count("=> new node") == len({vector["key"] for vector in good}), "all keys"
        )
        for vector in good:
            packet = data_of(vector)
            assert ask(address, packet) == b"served", vector
            size = 4 + HEADER.unpack_from(packet)[1]
            assert node.packets.pop()[:size] == b"\0" + packet[1:3] + b"\0" + packet[4:size], vector
        for vector in bad:
            assert ask(address, data_of(vector), half_closed=True) == b"", vector
        assert node.packets == []


def test_good_announcements_to_a_real_uwsgi(uwsgi):
    """It takes them all, too."""
    address, server = free_port("127.0.0.1"), free_port("127.0.0.1", socket.SOCK_DGRAM)
    options = ("--master", f"--fastrouter={address}", f"--fastrouter-subscription-server={server}")
    with Program(uwsgi, *options) as program:
        program.wait_for("spawned uWSGI fastrouter 1")
        for vector in (param.values[0] for param in vectors("announcements/good")):
            if vector.get("leaves"):
                continue
            before = len(re.findall("new node", program.output))
            datagram = data_of(vector)
            send_announcement(server, datagram)
            wait_until(
                lambda before=before: len(re.findall("new node", program.output)) > before, vector["file"]
            )
            send_announcement(server, datagram[:3] + b"\1" + datagram[4:])
