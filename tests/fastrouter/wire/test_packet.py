"""The codec, against captured packets and hostile ones."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrouter.wire.packet import HEADER, MAX_BLOCK, PacketError, encode, encode_block, records

PACKETS = Path(__file__).parents[2] / "packets"
CAPTURED = sorted(PACKETS.glob("*.json"))

names = st.binary(min_size=1, max_size=300)
values = st.binary(max_size=300)


@pytest.mark.parametrize("path", CAPTURED, ids=lambda path: path.stem)
def test_captured_packets_decode_to_what_was_sent(path):
    expected = json.loads(path.read_text())
    data = path.with_suffix(".bin").read_bytes()
    modifier1, size, modifier2 = HEADER.unpack_from(data)
    assert {"modifier1": modifier1, "datasize": size, "modifier2": modifier2} == expected["header"]
    decoded = list(records(data[4 : 4 + size]))
    assert [name.decode() for name, _ in decoded] == [name for name, _ in expected["vars"]]
    for (_, value), (name, text) in zip(decoded, expected["vars"], strict=True):
        if name != "sign":
            assert value.decode() == text


@given(st.lists(st.tuples(names, values), max_size=50))
def test_what_is_encoded_decodes_to_the_same(pairs):
    packet = encode(pairs, 5, 7)
    assert HEADER.unpack_from(packet) == (5, len(packet) - 4, 7)
    assert list(records(packet[4:])) == pairs


@given(st.binary(max_size=2000))
def test_any_bytes_decode_or_raise_packet_error(block):
    try:
        for name, value in records(block):
            assert name and len(value) <= len(block)
    except PacketError:
        pass


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"\x00", "length of a name"),
        (b"\x00\x00\x01\x00a", "empty name"),
        (b"\x05\x00abc", "name runs over"),
        (b"\x01\x00a", "length of a value"),
        (b"\x01\x00a\x05", "length of a value"),
        (b"\x01\x00a\x05\x00bc", "value runs over"),
        (b"\xff\xffa", "name runs over"),
    ],
)
def test_malformed_blocks_say_what_is_wrong(block, reason):
    with pytest.raises(PacketError, match=reason):
        list(records(block))


def test_records_before_a_bad_one_are_delivered():
    reader = records(encode_block([(b"a", b"1")]) + b"\xff")
    assert next(reader) == (b"a", b"1")
    with pytest.raises(PacketError):
        next(reader)


def test_too_large_packets_are_refused():
    with pytest.raises(PacketError, match="at most 65535"):
        encode([(b"a", bytes(40000)), (b"b", bytes(40000))])
    with pytest.raises(PacketError, match="longer than"):
        encode_block([(b"a", bytes(MAX_BLOCK + 1))])
