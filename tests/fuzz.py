"""What every parser is tried with any bytes by: scripts/fuzz, and briefly every run of the tests.

A target takes bytes. Whatever they are, a parser returns or raises what its documentation says, and what two
ways of reading have in common they agree on.
"""

import functools
import tempfile
from pathlib import Path

from fastrouter.address import AddressError, host_name, parse_binding, parse_node
from fastrouter.cache.definition import CacheError, Definition, parse_definition, parse_item
from fastrouter.cache.store import Cache
from fastrouter.cache.wire import answer_call, parse_reply
from fastrouter.config.commandline import parse
from fastrouter.config.dialect.expand import Expander
from fastrouter.config.dialect.ini import read_ini
from fastrouter.config.dialect.pairs import ConfigError, Pair
from fastrouter.config.resolve import syntax
from fastrouter.options import all_options
from fastrouter.options.declaration import check
from fastrouter.subscriptions.policy import PolicyError, Sender, parse_rule
from fastrouter.subscriptions.saved_state import StateError, load_state
from fastrouter.subscriptions.subscriber import SubscriberError, parse_subscriptions
from fastrouter.text import to_bytes, to_text
from fastrouter.wire.announcement import Announcement, AnnouncementError, parse_announcement, pool_hash
from fastrouter.wire.framing import Framing
from fastrouter.wire.keyval import parse_keyval
from fastrouter.wire.packet import PacketError, encode_block, records
from fastrouter.wire.request import decimal, read_head
from fastrouter.wire.signature import key_file, split_signature
from fastrouter.wire.signing_key import SigningError, parse_signing


def packet(data):
    try:
        pairs = list(records(data))
    except PacketError:
        return
    assert encode_block(pairs) == data


def request(data):
    """The reader that is made for speed agrees with the plain one."""
    try:
        pairs = list(records(data))
    except PacketError:
        pairs = None
    try:
        head = read_head(data)
    except PacketError:
        assert pairs is None
        return
    if pairs is not None:
        values = dict(pairs)
        assert head[1] == values.get(b"REMOTE_ADDR", b"")
        assert head[2] == values.get(b"PATH_INFO", b"")
        assert head[0] in (*values.values(), b"") or len(set(pairs)) > len(values)


def reply(data):
    """Whole or byte by byte, an answer ends where it ends."""
    for is_to_head in (False, True):
        whole, pieces = Framing(is_to_head), Framing(is_to_head)
        used = whole.feed(data)
        assert used == sum(pieces.feed(data[at : at + 1]) for at in range(len(data))) <= len(data)
        assert (whole.is_done, whole.is_free and whole.is_done) == (
            pieces.is_done,
            pieces.is_free and pieces.is_done,
        )
        assert whole.is_done or used == len(data)


def announcement(data):
    try:
        found = parse_announcement(data, "10.0.0.1")
    except AnnouncementError:
        return
    assert 0 < len(to_bytes(found.key)) <= 255
    assert host_name(found.address) or parse_node(found.address)
    assert 0 < found.traits.weight < 65536 and 0 <= found.traits.modifier1 < 256
    pool_hash(found.key)
    try:
        assert parse_announcement(found.encode()) == found
    except PacketError:
        pass  # it was as long as a datagram may be, and is longer in our spelling


def signature(data):
    signed = split_signature(data)
    if signed is not None:
        assert signed.signature == data[len(data) - len(signed.signature) :]
    assert b"/" not in key_file("/keys", data)[6:] and b"\0" not in key_file("/keys", data)


def address(data):
    text = to_text(data)
    host_name(text)
    for read in (parse_node, parse_binding):
        try:
            read(text)
        except AddressError:
            pass


def subscriptions(data):
    text = to_text(data)
    for to, two in (([text], []), ([], [text])):
        try:
            (subscription,) = parse_subscriptions(to, two)
        except SubscriberError:
            continue
        if not subscription.mapping:
            list(subscription.announcements(Announcement("", "127.0.0.1:1")))
    try:
        parse_signing(text)
    except SigningError:
        pass


def rule(data):
    try:
        found = parse_rule(to_text(data))
    except PolicyError:
        return
    for node in ("10.0.0.1:80", "/run/x", "app.example:80"):
        found.allows(Announcement("foo.com", node), Sender("10.0.0.1", 5, 5), "x")


def cache_definition(data):
    text = to_text(data)
    parse_keyval(text)
    for read in (parse_definition, parse_item):
        try:
            read(text)
        except CacheError:
            pass


@functools.cache
def _caches():
    return {
        "a": Cache(Definition("a", 8, blocksize=64, keysize=32), 0),
        "b": Cache(Definition("b", 4, blocksize=16), 0),
    }


def cache_packet(data):
    try:
        answer_call(_caches(), data[0] if data else 17, data[1:], lambda size: b"x" * size)
    except PacketError:
        pass
    try:
        parse_reply(data)
    except PacketError:
        pass
    decimal(data)


def ini(data):
    text = to_text(data[:400])
    while "@(/" in text:
        text = text.replace("@(/", "@(")  # which reads any file
    try:
        pairs = Expander(read_ini(text, "fuzz.ini"), {}).expand_all()
    except ConfigError:
        return
    options = all_options()
    for pair in pairs:
        if pair.name in options:
            try:
                check(options[pair.name], pair.value)
            except ValueError:
                pass


def command_line(data):
    try:
        pairs, _ = parse(to_text(data).split("\0"), syntax())
    except ConfigError:
        return
    assert all(isinstance(pair, Pair) for pair in pairs)


@functools.cache
def _state():
    return Path(tempfile.mkdtemp()) / "state"


def state_file(data):
    _state().write_bytes(data)
    try:
        assert all(node.announcement.key for node in load_state(str(_state())))
    except StateError:
        pass


TARGETS = {
    target.__name__: target
    for target in (
        *(packet, request, reply, announcement, signature, address, subscriptions),
        *(rule, cache_definition, cache_packet, ini, command_line, state_file),
    )
}

SEEDS = {
    "reply": [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 204 N\r\nConnection: x, close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\nT: x\r\n\r\n",
    ],
    "address": [b"127.0.0.1:3031", b"[::1]:80", b"@x", b"/run/x.sock", b"=0", b"fd://3", b"app.example:80"],
    "subscriptions": [
        b"127.0.0.1:2626:foo.com,5,SHA1:/k.pem", b"=0=/s:@/keys", b"server=1.2.3.4:5,key=foo.com,addr=[::1]:2,weight=3,sign=ED25519:/k,signer=a",
    ],
    "rule": [b"key=*.a.com b.com,signer=a b,from=10.0.0.0/8,node=fd00::/8 /run/* *.x", b"uid=5 6,gid=7"],
    "cache_definition": [b"name=a,items=10,blocksize=4096,lru=1,store=/x", b"a b=c"],
    "ini": [
        b"[uwsgi]\nfastrouter = 127.0.0.1:3031\nset-ph = x=1\nfor = a b\nfastrouter-to = %(_):80\nendfor =\n[x]\n;c\n",
        b"[uwsgi]\ncache2 = name=%(x),items=$(Y)\nsubscribe2 = a\\,b\n",
    ],
    "command_line": [b"--fastrouter\0:3031\0--ini=x\0-pM\0--master", b"--fastr"],
}  # fmt: skip
"""What to begin with, beside the packets in docs/vectors."""


def seeds(name):
    """The samples that a target begins with."""
    vectors = Path(__file__).parent.parent / "docs" / "vectors"
    found = [path.read_bytes() for path in sorted(vectors.rglob("*.bin")) if path.stat().st_size < 5000]
    if name in SEEDS:
        return SEEDS[name]
    return found if name in ("announcement", "signature", "state_file") else [one[4:] for one in found]
