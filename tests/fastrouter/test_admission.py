"""Who may announce what: signatures, their times, credentials; and where key files are looked for."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signing import KeyPair

from fastrouter.admission import Admission, Sender
from fastrouter.cache.definition import Definition
from fastrouter.cache.store import Cache
from fastrouter.signature import KeyFiles, key_file, sign, split_signature
from fastrouter.subscription import Announcement, AnnouncementError, Reason, parse_announcement

NOW = 1_800_000_000
NODE = Announcement("foo.com:8000", "127.0.0.1:3031")
LEAVING = Announcement("foo.com:8000", "127.0.0.1:3031", unsubscribe=True)


@pytest.fixture(scope="module")
def keys():
    return KeyPair()


def times():
    return Cache(Definition("times", 100, blocksize=8, keysize=32), 0)


@pytest.fixture
def admission(keys, tmp_path):
    keys.write_public(tmp_path / "foo.com_8000.pem")
    return Admission(KeyFiles("SHA1", str(tmp_path)), times(), tolerance=1000)


def outcome(admission, datagram, sender=None, now=NOW):
    try:
        admission.admit(datagram, parse_announcement(datagram), sender or Sender("10.0.0.1"), now)
    except AnnouncementError as error:
        return error.reason
    return "accepted"


def test_good_and_bad_signatures(admission, keys):
    good = keys.signed(NODE, NOW)
    assert outcome(admission, NODE.encode()) is Reason.UNSIGNED
    assert outcome(admission, KeyPair().signed(NODE, NOW)) is Reason.SIGNATURE
    assert outcome(admission, keys.signed(NODE, NOW, "SHA256")) is Reason.SIGNATURE
    for at in range(4, len(good)):
        bad = bytearray(good)
        bad[at] ^= 1
        try:
            parse_announcement(bytes(bad))
        except AnnouncementError:
            continue
        assert outcome(admission, bytes(bad)) in (Reason.SIGNATURE, Reason.UNSIGNED), at
    assert outcome(admission, good + b"x") is Reason.UNSIGNED, "nothing may follow"
    assert outcome(admission, good + b"\1\0k\1\0v") is Reason.UNSIGNED
    assert outcome(admission, keys.signed(Announcement("bar.com", "1.2.3.4:5"), NOW)) is Reason.SIGNATURE
    assert outcome(admission, good) == "accepted"


def test_nothing_heard_once_is_obeyed_again(admission, keys):
    first, second, third = (keys.signed(NODE, NOW + step) for step in range(3))
    assert [outcome(admission, one) for one in (first, second, third)] == ["accepted"] * 3
    assert [outcome(admission, one) for one in (first, second, third)] == [Reason.REPLAYED] * 3
    for one in (first, second, third):
        turned = one[:3] + b"\1" + one[4:]
        assert outcome(admission, turned) is Reason.REPLAYED, "the command is not signed"
    leaving = keys.signed(LEAVING, NOW + 3)
    assert outcome(admission, leaving) == "accepted"
    assert outcome(admission, third) is Reason.REPLAYED, "not even after it has left"
    again = keys.signed(NODE, NOW + 3)
    assert outcome(admission, again) == "accepted"
    assert outcome(admission, leaving) is Reason.REPLAYED
    assert outcome(admission, keys.signed(Announcement("foo.com:8000", "127.0.0.1:9"), NOW)) == "accepted", (
        "another node"
    )


def test_a_restart_within_the_second(admission, keys):
    """uWSGI unsubscribes with the time and one, and announces again a second after it has started."""
    assert outcome(admission, keys.signed(NODE, NOW)) == "accepted"
    assert outcome(admission, keys.signed(LEAVING, NOW + 1)) == "accepted"
    assert outcome(admission, keys.signed(NODE, NOW)) is Reason.REPLAYED
    assert outcome(admission, keys.signed(NODE, NOW + 1)) == "accepted"


def test_stale_and_from_the_future(admission, keys):
    assert outcome(admission, keys.signed(NODE, NOW - 1001)) is Reason.STALE
    assert outcome(admission, keys.signed(NODE, NOW + 1001)) is Reason.STALE
    assert outcome(admission, keys.signed(NODE, 0)) is Reason.STALE
    assert outcome(admission, keys.signed(NODE, NOW - 1000)) == "accepted"


def test_key_files_are_read_again_when_they_change(admission, keys, tmp_path):
    other = KeyPair()
    assert outcome(admission, keys.signed(NODE, NOW)) == "accepted"
    other.write_public(tmp_path / "new.pem").rename(tmp_path / "foo.com_8000.pem")
    assert outcome(admission, keys.signed(NODE, NOW + 1)) is Reason.SIGNATURE
    assert outcome(admission, other.signed(NODE, NOW + 1)) == "accepted"
    (tmp_path / "foo.com_8000.pem").write_text("rubbish")
    assert outcome(admission, other.signed(NODE, NOW + 2)) is Reason.SIGNATURE
    (tmp_path / "foo.com_8000.pem").unlink()
    assert outcome(admission, other.signed(NODE, NOW + 3)) is Reason.SIGNATURE


def test_a_successor_remembers(keys, tmp_path):
    keys.write_public(tmp_path / "foo.com_8000.pem")
    remembered = times()
    first, second = (Admission(KeyFiles("SHA1", str(tmp_path)), remembered) for _ in range(2))
    assert outcome(first, keys.signed(NODE, NOW)) == "accepted"
    assert outcome(second, keys.signed(NODE, NOW)) is Reason.REPLAYED


def test_trusted_users_need_not_sign(keys, tmp_path):
    admission = Admission(KeyFiles("SHA1", str(tmp_path)), times(), trusted=[0, 1000], credentials=True)
    datagram = NODE.encode()
    assert outcome(admission, datagram, Sender("", 1000, 5)) == "accepted"
    assert outcome(admission, datagram, Sender("", 1001, 5)) is Reason.UNSIGNED
    assert outcome(admission, datagram, Sender("", 0, 0)) is Reason.UNSIGNED
    assert outcome(admission, datagram, Sender("10.0.0.1")) is Reason.CREDENTIALS


def test_owners_of_files(tmp_path):
    (tmp_path / "foo.com:8000").touch()
    own = Sender("", os.getuid(), os.getgid())
    admission = Admission(owned=["/nowhere/", f"{tmp_path}/"], credentials=True)
    assert outcome(admission, NODE.encode(), own) == "accepted"
    assert outcome(admission, LEAVING.encode(), own) == "accepted"
    assert outcome(admission, NODE.encode(), Sender("", os.getuid() + 1, os.getgid())) is Reason.CREDENTIALS
    assert outcome(admission, NODE.encode(), Sender("", os.getuid(), os.getgid() + 1)) is Reason.CREDENTIALS
    for key in ("bar.com", "..", ".", "../x", f"../{tmp_path.name}/foo.com:8000"):
        assert outcome(admission, Announcement(key, "1.2.3.4:5").encode(), own) is Reason.CREDENTIALS


HOSTILE = [
    b"..", b".", b"../x", b"../../etc/passwd", b"/etc/passwd", b"a/b", b"a/../../b", b"\0", b"a\0b", b"//", b"\\..\\x",
    "ü.com".encode(), b"\xff\xfe", b"a\nb", b"%2e%2e%2f",
]  # fmt: skip


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_keys_have_a_harmless_file(key):
    path = key_file("/keys", key)
    assert Path(os.fsdecode(path)).parent == Path("/keys")
    assert path.endswith(b".pem") and b"\0" not in path


@given(st.binary(min_size=1, max_size=255))
def test_no_key_leaves_the_directory(key):
    path = os.path.normpath(key_file("/keys", key))
    assert os.path.dirname(path) == b"/keys"
    assert set(os.path.basename(path)) <= set(
        b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-"
    )


def test_the_documented_name():
    assert key_file("/keys", b"foo.com:8000") == b"/keys/foo.com_8000.pem"


@given(st.binary(max_size=200))
def test_any_bytes_have_a_signature_or_none(data):
    split_signature(data)


def test_lengths_that_lead_out():
    assert split_signature(b"\xe0\0\0\0" + struct.pack("<H", 9)) is None
    assert (
        split_signature(b"\xe0\0\0\0" + struct.pack("<H", 4) + b"sign" + struct.pack("<H", 5) + b"1234")
        is None
    )


def test_what_is_no_key_is_said(keys):
    with pytest.raises(ValueError):
        sign(NODE.encode(), "SHA1", b"rubbish")
    with pytest.raises(ValueError):
        sign(NODE.encode(), "SHA1", keys.public)


def test_captured_packets_have_their_signature_where_it_is_said_to_be():
    captured = Path(__file__).parent.parent / "packets" / "subscribe-to-signed.bin"
    signed = split_signature(captured.read_bytes())
    assert len(signed.content) == 121 and len(signed.signature) == 256
