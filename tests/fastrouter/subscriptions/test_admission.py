"""Who may announce what: signatures, their times, credentials; and where key files are looked for."""

import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signing import Ed25519Pair, KeyPair

from fastrouter.cache.definition import Definition
from fastrouter.cache.store import Cache
from fastrouter.subscriptions.admission import Admission
from fastrouter.subscriptions.policy import PolicyError, Sender, parse_rule
from fastrouter.subscriptions.replays import MARK_SIZE
from fastrouter.wire.announcement import Announcement, AnnouncementError, Reason, parse_announcement
from fastrouter.wire.signature import KeyFiles, key_file, sign, split_signature

NOW = 1_800_000_000
NODE = Announcement("foo.com:8000", "127.0.0.1:3031")
LEAVING = Announcement("foo.com:8000", "127.0.0.1:3031", unsubscribe=True)
OWN = Announcement("foo.com", "127.0.0.1:3031")
OWN_LEAVING = Announcement("foo.com", "127.0.0.1:3031", unsubscribe=True)


@pytest.fixture(scope="module")
def keys():
    return KeyPair()


def times():
    return Cache(Definition("times", 100, blocksize=MARK_SIZE, keysize=32), 0)


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


@pytest.fixture(scope="module")
def own():
    return Ed25519Pair()


@pytest.fixture
def strict(own, tmp_path):
    own.write_public(tmp_path / "foo.com.pem")
    return Admission(KeyFiles("SHA1", str(tmp_path)), times(), tolerance=1000)


def test_our_own_scheme_covers_everything(strict, own):
    good = own.signed(OWN, NOW, 5)
    for at in range(len(good)):
        if at in (1, 2):
            continue  # the size, which nobody looks at
        bad = bytearray(good)
        bad[at] ^= 1
        refused = (Reason.SIGNATURE, Reason.UNSIGNED, Reason.MALFORMED)
        assert outcome(strict, bytes(bad)) in refused, at
    assert outcome(strict, good + b"x") is Reason.UNSIGNED, "nothing may follow"
    assert outcome(strict, good) == "accepted"


def test_our_own_scheme_tells_moments_apart(strict, own):
    assert outcome(strict, own.signed(OWN, NOW, 5)) == "accepted"
    assert outcome(strict, own.signed(OWN, NOW, 5)) is Reason.REPLAYED
    assert outcome(strict, own.signed(OWN, NOW, 4)) is Reason.REPLAYED
    assert outcome(strict, own.signed(OWN_LEAVING, NOW, 6)) == "accepted", "within the second, not one later"
    assert outcome(strict, own.signed(OWN, NOW, 6)) is Reason.REPLAYED
    assert outcome(strict, own.signed(OWN, NOW, 7)) == "accepted"
    assert outcome(strict, own.signed(OWN, NOW + 1, 0)) == "accepted"
    assert outcome(strict, own.signed(OWN, NOW - 1001, 0)) is Reason.STALE


def test_a_key_is_good_for_one_scheme_only(own, keys, tmp_path):
    own.write_public(tmp_path / "foo.com.pem")
    keys.write_public(tmp_path / "bar.com.pem")
    both = Admission(KeyFiles("SHA256", str(tmp_path)), times())
    bar = Announcement("bar.com", "1.2.3.4:5")
    assert outcome(both, own.signed(OWN, NOW, 1)) == "accepted"
    assert outcome(both, keys.signed(bar, NOW, "SHA256")) == "accepted"
    assert outcome(both, keys.signed(OWN, NOW + 1, "SHA256")) is Reason.SIGNATURE
    assert outcome(both, own.signed(bar, NOW + 1, 1)) is Reason.SIGNATURE
    only = Admission(KeyFiles("ED25519", str(tmp_path)), times())
    assert outcome(only, keys.signed(bar, NOW, "SHA256")) is Reason.SIGNATURE
    assert outcome(only, own.signed(OWN, NOW, 1)) == "accepted"


def test_old_and_new_key_in_one_file(keys, own, tmp_path):
    other = Ed25519Pair()
    (tmp_path / "foo.com.pem").write_bytes(keys.public + b"\n" + own.public + other.public)
    admission = Admission(KeyFiles("SHA1", str(tmp_path)), times())
    for step, datagram in enumerate(
        (keys.signed(OWN, NOW), own.signed(OWN, NOW + 1, 0), other.signed(OWN, NOW + 2, 0))
    ):
        assert outcome(admission, datagram) == "accepted", step


def test_a_signature_of_something_else_does_not_count(strict, own):
    """Whoever signs other things with the key does not thereby sign announcements."""
    unsigned = replace(OWN, unix=NOW, sequence=1).encode()
    signature = own.key.sign(unsigned)
    record = b"\x07\0ed25519\x40\0" + signature
    assert outcome(strict, unsigned + record) is Reason.SIGNATURE


def rules(*texts):
    return [parse_rule(text) for text in texts]


def test_signers_need_a_rule_for_keys_of_other_names(own, tmp_path):
    own.write_public(tmp_path / "team-a.pem")
    team = replace(NODE, signer="team-a")
    without = Admission(KeyFiles("ED25519", str(tmp_path)), times())
    assert outcome(without, own.signed(team, NOW, 1)) is Reason.POLICY
    policy = rules("signer=team-a,key=*.a.com foo.com:*", "key=open.com")
    admission = Admission(KeyFiles("ED25519", str(tmp_path)), times(), policy=policy)
    assert outcome(admission, own.signed(team, NOW, 2)) == "accepted"
    assert outcome(admission, own.signed(replace(team, key="x.a.com"), NOW, 1)) == "accepted"
    assert outcome(admission, own.signed(replace(team, key="a.com"), NOW, 1)) is Reason.POLICY
    assert outcome(admission, own.signed(replace(team, signer="team-b"), NOW, 3)) is Reason.SIGNATURE
    own.write_public(tmp_path / "bar.com.pem")
    bar = Announcement("bar.com", "1.2.3.4:5")
    assert outcome(admission, own.signed(bar, NOW, 1)) is Reason.POLICY, "with rules, only they count"


def test_who_is_refused_leaves_no_mark(own, tmp_path):
    """Else any signer could make every other's announcements look old."""
    evil = Ed25519Pair()
    own.write_public(tmp_path / "foo.com.pem")
    evil.write_public(tmp_path / "evil.pem")
    policies = ([], rules("key=evil,signer=evil", "key=foo.com,signer=foo.com"))
    for policy in policies:
        admission = Admission(KeyFiles("ED25519", str(tmp_path)), times(), policy=policy)
        ahead = replace(OWN, signer="evil")
        assert outcome(admission, evil.signed(ahead, NOW + 80_000, 1)) is Reason.POLICY
        assert outcome(admission, own.signed(OWN, NOW, 1)) == "accepted"


LOCAL, ALICE = Sender("10.1.2.3"), Sender("", 1000, 100)


@pytest.mark.parametrize(
    ("rule", "key", "address", "sender", "allowed"),
    [
        ("key=foo.com", "foo.com", "1.2.3.4:5", LOCAL, True),
        ("key=foo.com", "xfoo.com", "1.2.3.4:5", LOCAL, False),
        ("key=*.foo.com bar.com", "a.foo.com", "1.2.3.4:5", LOCAL, True),
        ("key=*.foo.com bar.com", "bar.com", "1.2.3.4:5", LOCAL, True),
        ("key=*.foo.com", "foo.com", "1.2.3.4:5", LOCAL, False),
        ("key=*.a.example", "b.example/x.a.example", "1.2.3.4:5", LOCAL, False),
        ("key=*.a.example/*", "x.a.example/shop", "1.2.3.4:5", LOCAL, True),
        ("key=?.example", "/.example", "1.2.3.4:5", LOCAL, False),
        ("key=[!a].example", "/.example", "1.2.3.4:5", LOCAL, False),
        ("key=[a-c].example", "b.example", "1.2.3.4:5", LOCAL, True),
        ("node=/run/apps/*", "foo.com", "/run/apps/other/a.sock", LOCAL, False),
        ("from=10.0.0.0/8", "foo.com", "1.2.3.4:5", LOCAL, True),
        ("from=10.1.2.3 192.168.0.0/16", "foo.com", "1.2.3.4:5", LOCAL, True),
        ("from=10.0.0.0/8", "foo.com", "1.2.3.4:5", Sender("11.0.0.1"), False),
        ("from=10.0.0.0/8", "foo.com", "1.2.3.4:5", Sender("::ffff:10.0.0.1"), True),
        ("from=fd00::/8", "foo.com", "1.2.3.4:5", Sender("fd00::1"), True),
        ("from=0.0.0.0/0", "foo.com", "1.2.3.4:5", ALICE, False),
        ("uid=1000", "foo.com", "1.2.3.4:5", ALICE, True),
        ("uid=1001 1002", "foo.com", "1.2.3.4:5", ALICE, False),
        ("uid=1000,gid=100", "foo.com", "1.2.3.4:5", ALICE, True),
        ("uid=1000,gid=101", "foo.com", "1.2.3.4:5", ALICE, False),
        ("uid=0", "foo.com", "1.2.3.4:5", LOCAL, False),
        ("node=10.0.0.0/8", "foo.com", "10.9.9.9:80", LOCAL, True),
        ("node=10.0.0.0/8", "foo.com", "127.0.0.1:6379", LOCAL, False),
        ("node=10.0.0.0/8", "foo.com", ":6379", LOCAL, False),
        ("node=10.0.0.0/8", "foo.com", "/run/x.sock", LOCAL, False),
        ("node=10.0.0.0/8", "foo.com", "[::ffff:127.0.0.1]:80", LOCAL, False),
        ("node=/run/apps/*", "foo.com", "/run/apps/a.sock", LOCAL, True),
        ("node=/run/apps/*", "foo.com", "/run/apps/../docker.sock", LOCAL, False),
        ("node=*.internal 10.0.0.0/8", "foo.com", "a.internal:80", LOCAL, True),
        ("node=*.internal", "foo.com", "a.external:80", LOCAL, False),
        ("node=*.internal", "foo.com", "/tmp/evil.internal", LOCAL, False),
        ("node=*.internal", "foo.com", "@evil.internal", LOCAL, False),
        ("node=@apps.*", "foo.com", "@apps.1", LOCAL, True),
        ("node=*", "foo.com", "any.host:80", LOCAL, True),
        ("node=*", "foo.com", "/run/any", LOCAL, False),
        ("key=foo.com,node=10.0.0.0/8,from=10.0.0.0/8", "foo.com", "10.0.0.1:80", LOCAL, True),
    ],
)  # fmt: skip
def test_rules(rule, key, address, sender, allowed):
    admission = Admission(policy=rules("key=never.com", rule))
    for command in (False, True):
        announcement = Announcement(key, address, unsubscribe=command)
        found = outcome(admission, announcement.encode(), sender)
        assert found == ("accepted" if allowed else Reason.POLICY)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected CONDITION=VALUE"),
        ("key=", "expected CONDITION=VALUE"),
        ("keys=foo.com", "there is no 'keys' in a rule"),
        ("from=ten", "expected an address or a network"),
        ("from=10.0.0.1/8", "expected an address or a network"),
        ("node=300.0.0.1", "expected an address or a network"),
        ("uid=root", "expected the number of a user"),
        ("key=a,key=b", "key is there twice"),
        ("node=192.168.*", "expected an address or a network"),
        ("node=localhost:80", "expected an address or a network"),
    ],
)
def test_rules_that_cannot_be_understood(text, problem):
    with pytest.raises(PolicyError, match=problem):
        parse_rule(text)


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
    captured = Path(__file__).parents[2] / "packets" / "subscribe-to-signed.bin"
    signed = split_signature(captured.read_bytes())
    assert len(signed.content) == 121 and len(signed.signature) == 256


@pytest.mark.parametrize("key", ["evil.com\n.foo.com", "a\0.foo.com", "\x1b[2J.foo.com", "a\x7f.foo.com"])
def test_control_characters_are_in_no_key(key):
    assert outcome(Admission(), Announcement(key, "1.2.3.4:5").encode()) is Reason.MALFORMED


@pytest.mark.parametrize("signer", ["foo.com/a", "foo.com:a", "../a", ".hidden"])
def test_a_signer_of_our_own_scheme_shares_its_key_file_with_no_other(own, tmp_path, signer):
    own.write_public(tmp_path / Path(os.fsdecode(key_file("", signer.encode()))).name)
    admission = Admission(KeyFiles("SHA1", str(tmp_path)), times(), policy=rules("key=foo.com"))
    ambiguous = own.signed(replace(OWN, signer=signer), NOW, 1)
    assert outcome(admission, ambiguous) is Reason.SIGNATURE


def test_what_was_never_there_leaves_no_mark_when_it_is_taken_back(own, tmp_path):
    own.write_public(tmp_path / "foo.com.pem")
    store = times()
    admission = Admission(KeyFiles("SHA1", str(tmp_path)), store, tolerance=1000)
    for number in range(200):
        gone = own.signed(replace(OWN_LEAVING, address=f"10.0.0.{number}:1"), NOW, number)
        admission.admit(gone, parse_announcement(gone), Sender("10.0.0.1"), NOW, is_known=False)
    assert store.keys() == []
