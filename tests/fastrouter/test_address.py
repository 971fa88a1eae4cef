"""Addresses: every written form, and what a wrong one is told."""

import socket

import pytest

from fastrouter.address import AddressError, Inherited, Shared, Tcp, Unix, parse_binding, parse_node, show


@pytest.mark.parametrize(
    ("text", "binding"),
    [
        ("127.0.0.1:3031", Tcp("127.0.0.1", 3031)),
        (":3031", Tcp("", 3031)),
        ("*:3031", Tcp("", 3031)),
        ("192.*:0", Tcp("192.*", 0)),
        ("[::1]:3031", Tcp("::1", 3031)),
        ("localhost:80", Tcp("localhost", 80)),
        ("/tmp/a.sock", Unix("/tmp/a.sock")),
        ("/tmp/a:b.sock", Unix("/tmp/a:b.sock")),
        ("relative.sock", Unix("relative.sock")),
        ("@name", Unix("name", abstract=True)),
        ("\\0name", Unix("name", abstract=True)),
        ("=0", Shared(0)),
        ("=12", Shared(12)),
        ("fd://7", Inherited(7)),
    ],
)
def test_bindings(text, binding):
    assert parse_binding(text) == binding


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:x", "port from 0 to 65535"),
        ("127.0.0.1:70000", "port from 0 to 65535"),
        ("127.0.0.1:", "port from 0 to 65535"),
        ("::1:3031", "written in brackets"),
        ("=x", "number of a shared socket"),
        ("fd://", "descriptor number"),
        ("@", "name of a UNIX socket"),
        ("/" + "x" * 120, "at most 107"),
    ],
)
def test_bad_bindings_say_what_was_expected(text, expected):
    with pytest.raises(AddressError, match=expected):
        parse_binding(text)


@pytest.mark.parametrize(
    ("text", "dial"),
    [
        ("1.2.3.4:80", (socket.AF_INET, ("1.2.3.4", 80))),
        (":80", (socket.AF_INET, ("127.0.0.1", 80))),
        ("0.0.0.0:80", (socket.AF_INET, ("127.0.0.1", 80))),
        ("[::1]:80", (socket.AF_INET6, ("::1", 80))),
        ("[::ffff:1.2.3.4]:80", (socket.AF_INET, ("1.2.3.4", 80))),
        ("[0:0:0:0:0:ffff:7f00:1]:80", (socket.AF_INET, ("127.0.0.1", 80))),
        ("[::ffff:0.0.0.0]:80", (socket.AF_INET, ("127.0.0.1", 80))),
        ("/tmp/x", (socket.AF_UNIX, b"/tmp/x")),
        ("@x", (socket.AF_UNIX, b"\0x\0")),
    ],
)
def test_nodes(text, dial):
    assert parse_node(text) == dial


@pytest.mark.parametrize("text", ["localhost:80", "1.2.3:80", "1.2.3.4:0", "1.2.3.4", "", "[::1:80", "a\0b"])
def test_what_cannot_be_dialled_at_once_is_refused(text):
    if text == "1.2.3.4":
        assert parse_node(text) == (socket.AF_UNIX, b"1.2.3.4")  # a relative path, as in uWSGI
        return
    with pytest.raises(AddressError):
        parse_node(text)


def test_bound_names_are_shown_as_configurations_write_them():
    assert show(("127.0.0.1", 80)) == "127.0.0.1:80"
    assert show(("::1", 80, 0, 0)) == "[::1]:80"
    assert show("/tmp/x") == "/tmp/x"
    assert show(b"\0name\0") == "@name"
