"""Announcements: captured ones, our own, and everything that must be refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import announcement

from fastrouter.wire.announcement import Announcement, AnnouncementError, parse_announcement, pool_hash
from fastrouter.wire.packet import PacketError, encode

PACKETS = Path(__file__).parents[2] / "packets"
CAPTURED = sorted(path for path in PACKETS.glob("subscribe*.json"))


@pytest.mark.parametrize("path", CAPTURED, ids=lambda path: path.stem)
def test_captured_announcements_are_understood(path):
    expected = dict(json.loads(path.read_text())["vars"])
    found = parse_announcement(path.with_suffix(".bin").read_bytes())
    assert found.key == expected["key"]
    assert found.address == expected["address"]
    assert found.unsubscribe is path.stem.endswith("-unsubscribe")
    assert found.traits.modifier1 == int(expected["modifier1"])
    assert found.traits.modifier2 == int(expected["modifier2"])
    assert found.cores == int(expected["cores"])
    assert found.traits.weight == (int(expected["weight"]) or 1)
    assert found.notify == expected.get("notify", "")


def test_what_we_send_is_what_uwsgi_sends():
    captured = (PACKETS / "subscribe-to-plain.bin").read_bytes()
    address = json.loads((PACKETS / "subscribe-to-plain.json").read_text())["vars"][1][1]
    assert announcement("foo.com", address, cores=1, weight=0).encode() == captured
    gone = (PACKETS / "subscribe-to-plain-unsubscribe.bin").read_bytes()
    assert announcement("foo.com", address, True, cores=1, weight=0).encode()[:4] == gone[:4]


def datagram(**values):
    pairs = {"key": "foo.com", "address": "127.0.0.1:80"} | values
    return encode(
        [(name.encode(), value.encode()) for name, value in pairs.items() if value is not None], 224
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "too short"),
        (b"\xe0\0\0\0", "too short"),
        (bytes(5000), "longer than 4096"),
        (datagram(key=None), "key has 0 bytes"),
        (datagram(key=""), "key has 0 bytes"),
        (datagram(key="k" * 256), "key has 256 bytes"),
        (datagram(address=None), "address has 0 bytes"),
        (datagram(address="a" * 256), "address has 256 bytes"),
        (datagram(address="local host:80"), "cannot be dialled"),
        (datagram(address="localhost:0"), "cannot be dialled"),
        (datagram(address="-x.com:80"), "cannot be dialled"),
        (datagram(address="1.2.3:80"), "cannot be dialled"),
        (datagram(address="256.2.3.4:80"), "cannot be dialled"),
        (datagram(address="1.2.3.4:0"), "cannot be dialled"),
        (datagram(address="1.2.3.4:http"), "cannot be dialled"),
        (bytes(range(256)) * 4, "key has 0 bytes"),
    ],
)
def test_what_cannot_become_a_node_is_refused_with_a_reason(data, reason):
    with pytest.raises(AnnouncementError, match=reason):
        parse_announcement(data)


EVERYTHING = announcement(
    "foo.com",
    "app.example:3031",
    modifier1=5,
    modifier2=7,
    cores=8,
    load=2,
    weight=3,
    backup=1,
    algorithm="lrc",
    max_conns=4,
    drain=True,
    via=("a", "b"),
    notify="/run/n.sock",
    signer="team",
    unix=1795307749,
    sequence=17,
)


def test_what_is_sent_is_what_is_read():
    assert parse_announcement(EVERYTHING.encode()) == EVERYTHING


def test_variables_for_other_routers_come_where_uwsgi_sends_them():
    captured = (PACKETS / "subscribe2-sni-notify.bin").read_bytes()
    values = dict(json.loads((PACKETS / "subscribe2-sni-notify.json").read_text())["vars"])
    more = tuple((name, values[name]) for name in ("sni_key", "sni_crt", "sni_ca"))
    sent = announcement(
        values["key"], values["address"], cores=1, weight=0, more=more, notify=values["notify"]
    )
    assert sent.encode() == captured
    assert parse_announcement(captured).more == ()


def test_too_long_an_announcement_is_not_sent():
    with pytest.raises(PacketError, match="at most 4096"):
        Announcement("foo.com", "127.0.0.1:80", notify="n" * 4096).encode()


@pytest.mark.parametrize(
    ("address", "sender", "expected"),
    [
        ("localhost:80", "10.0.0.1", "localhost:80"),
        ("app-1.example.com.:80", "", "app-1.example.com.:80"),
        (":3031", "10.0.0.7", "10.0.0.7:3031"),
        ("0.0.0.0:3031", "10.0.0.7", "10.0.0.7:3031"),
        (":3031", "fd00::7", "[fd00::7]:3031"),
        (":3031", "", ":3031"),
        ("10.0.0.1:3031", "10.0.0.7", "10.0.0.1:3031"),
    ],
)
def test_a_port_on_all_addresses_is_dialled_at_its_sender(address, sender, expected):
    assert parse_announcement(datagram(address=address), sender).address == expected


def test_lenient_where_uwsgi_is():
    found = parse_announcement(datagram(modifier1="5x", weight="0", cores="x", unknown="y") + b"\xff\xff")
    assert (found.traits.modifier1, found.traits.weight, found.cores) == (5, 1, 0)
    twice = encode([(b"key", b"a"), (b"address", b"/x"), (b"key", b"b")], 224)
    assert parse_announcement(twice).key == "b"
    assert parse_announcement(datagram()[:3] + b"\x07" + datagram()[4:]).unsubscribe


@given(st.binary(max_size=4200))
def test_any_datagram_is_parsed_or_refused(data):
    try:
        found = parse_announcement(data)
    except AnnouncementError:
        return
    assert found.key and found.address and 1 <= found.traits.weight <= 65535


@pytest.mark.parametrize(("key", "expected"), [("foo.com", 11571), ("", 5381)])
def test_pool_hash_is_the_one_that_people_know(key, expected):
    assert pool_hash(key) == expected
