"""The forwarders that make addresses of keys, and the keys that try to get out."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import state_for

from fastrouter.routing.forwarders.adhoc import AdhocNodes
from fastrouter.routing.forwarders.path import PathForwarder, base_template, pattern_template
from fastrouter.wire.request import MAX_KEY


def addresses(template, key):
    nodes = AdhocNodes(0, state_for(1).layout)
    return [node.address for node in PathForwarder(template, nodes).candidates(key, b"")]


@pytest.mark.parametrize(
    ("template", "key", "address"),
    [
        (base_template("/tmp/sockets/"), b"foo.com", "/tmp/sockets/foo.com"),
        (base_template("/tmp"), b"foo.com", "/tmp/foo.com"),
        (base_template("/tmp/%s/u.sock"), b"foo.com", "/tmp/foo.com/u.sock"),
        (base_template("/tmp/sockets"), b"foo.com", "/tmp/socketsfoo.com"),
        (base_template("/tmp/sockets/"), b"foo.com:8000", "/tmp/sockets/foo.com:8000"),
        (base_template("sockets/"), b"foo.com:8000", "sockets/foo.com:8000"),
        (base_template("sock-"), b"foo.com:http", "./sock-foo.com:http"),
        (base_template("127.0.0.1:"), b"3031", "127.0.0.1:3031"),
        (base_template("@pre-"), b"foo", "@pre-foo"),
        (pattern_template("/tmp/%s/u.sock"), b"foo.com", "/tmp/foo.com/u.sock"),
        (pattern_template("/tmp/%s/%s"), b"a", "/tmp/a/a"),
        (pattern_template("/tmp/100%%/%s%x"), b"a", "/tmp/100%/a"),
        (pattern_template("/tmp/%(a)%s"), b"b", "/tmp/%(a)b"),
        (pattern_template("/tmp/%s%"), b"b", "/tmp/b%"),
    ],
)
def test_addresses(template, key, address):
    assert addresses(template, key) == [address]


HOSTILE = [
    b"..",
    b".",
    b"../x",
    b"../../etc/passwd",
    b"/etc/passwd",
    b"a/b",
    b"a/../../b",
    b"\0",
    b"a\0b",
    b"x" * 200,
    b"//",
]


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_keys_have_no_node(key):
    assert addresses(base_template("/tmp/sockets/"), key) == []
    assert addresses(pattern_template("/tmp/%s/u.sock"), key) == []


@given(st.binary(min_size=1, max_size=MAX_KEY))
def test_no_key_leaves_the_directory(key):
    for address in addresses(base_template("/tmp/sockets/"), key):
        assert os.path.dirname(os.path.normpath(address)) == "/tmp/sockets"
    for address in addresses(pattern_template("/tmp/sockets/%s/u.sock"), key):
        assert os.path.dirname(os.path.dirname(os.path.normpath(address))) == "/tmp/sockets"


def test_memory_of_nodes_is_bounded():
    nodes = AdhocNodes(0, state_for(1).layout)
    for number in range(10000):
        assert nodes.get(f"/tmp/{number}")
    assert len(nodes._nodes) <= 4096
