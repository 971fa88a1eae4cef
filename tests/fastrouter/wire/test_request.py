"""Key selection: the table of uWSGI 2.0.31's results, and agreement with the plain parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrouter.wire.packet import PacketError, encode_block, records
from fastrouter.wire.request import MAX_KEY, decimal, read_head, with_mountpoint


def key_of(*pairs):
    block = encode_block([(name.encode(), value.encode()) for name, value in pairs])
    return read_head(block)[0].decode()


H, S, F = "HTTP_HOST", "SERVER_NAME", "UWSGI_FASTROUTER_KEY"


@pytest.mark.parametrize(
    ("pairs", "key"),
    [
        ([(S, "a")], "a"),
        ([(S, "a"), (H, "b")], "b"),
        ([(H, "b"), (S, "a")], "b"),
        ([(H, "b"), (H, "c")], "c"),
        ([(S, "a"), (S, "b")], "a"),
        ([(S, "a"), (H, "")], ""),
        ([(H, ""), (S, "a")], "a"),
        ([(F, "k"), (H, "b"), (S, "a")], "k"),
        ([(H, "b"), (S, "a"), (F, "k")], "k"),
        ([(F, "k"), (F, "l")], "l"),
        ([(F, ""), (H, "b")], ""),
        ([(F, ""), (S, "a")], "a"),
        ([(H, "x" * 256), (S, "a")], "a"),
        ([(F, "x" * 256), (H, "b")], "b"),
        ([(H, "x" * 255)], "x" * 255),
        ([("PATH_INFO", "/")], ""),
        ([], ""),
        ([(H, "Foo.com:8080")], "Foo.com:8080"),
    ],
)
def test_keys_are_chosen_in_packet_order(pairs, key):
    assert key_of(*pairs) == key


def test_names_inside_values_do_not_count():
    spoof = encode_block([(b"HTTP_HOST", b"evil.com")]).decode("latin-1")
    assert key_of(("PATH_INFO", "/" + spoof), (S, "good.com")) == "good.com"


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("REQUEST_METHOD", "GET"), ("CONTENT_LENGTH", "")], (0, True, False)),
        ([("REQUEST_METHOD", "POST"), ("CONTENT_LENGTH", "12")], (12, False, False)),
        ([("REQUEST_METHOD", "POST")], (None, False, False)),
        ([("REQUEST_METHOD", "HEAD")], (None, True, False)),
        ([("REQUEST_METHOD", "GET"), ("HTTP_UPGRADE", "websocket")], (None, True, True)),
        ([("REQUEST_METHOD", "GET"), ("HTTP_UPGRADE", "")], (None, True, False)),
    ],
)
def test_the_shape_of_the_body(pairs, expected):
    block = encode_block([(name.encode(), value.encode()) for name, value in pairs])
    assert read_head(block)[3:6] == expected


@pytest.mark.parametrize(
    ("text", "number"), [(b"", 0), (b"12", 12), (b"12x", 12), (b"x", 0), (b"-3", 0), (b"9" * 30, 10**19 - 1)]
)
def test_numbers_are_their_leading_digits(text, number):
    assert decimal(text) == number


words = st.sampled_from(
    [b"HTTP_HOST", b"SERVER_NAME", b"UWSGI_FASTROUTER_KEY", b"REQUEST_METHOD", b"X", b"A" * 300]
)


@given(st.lists(st.tuples(words, st.binary(max_size=300)), max_size=20), st.binary(max_size=4), st.data())
def test_accepts_exactly_what_the_plain_parser_accepts(pairs, tail, data):
    block = bytearray(encode_block(pairs) + tail)
    if block and data.draw(st.booleans()):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    try:
        plain = list(records(bytes(block)))
    except PacketError:
        with pytest.raises(PacketError):
            read_head(bytes(block))
        return
    key, locked = b"", False
    for name, value in plain:
        if len(value) > MAX_KEY:
            continue
        if name == b"UWSGI_FASTROUTER_KEY":
            key, locked = value, True
        elif (name == b"HTTP_HOST" and not locked) or (name == b"SERVER_NAME" and not key):
            key = value
    assert read_head(bytes(block))[0] == key


def test_the_client_and_the_path_are_found():
    block = encode_block([(b"PATH_INFO", b"/a"), (b"REMOTE_ADDR", b"10.0.0.1"), (b"HTTP_HOST", b"foo.com")])
    assert read_head(block)[:3] == (b"foo.com", b"10.0.0.1", b"/a")


@pytest.mark.parametrize(
    ("path", "segments", "key"),
    [
        (b"/", 2, b"foo.com"),
        (b"", 2, b"foo.com"),
        (b"no-slash", 2, b"foo.com"),
        (b"/a", 1, b"foo.com/a"),
        (b"/a", 2, b"foo.com/a"),
        (b"/a/", 2, b"foo.com/a"),
        (b"/a/b", 1, b"foo.com/a"),
        (b"/a/b/c", 2, b"foo.com/a/b"),
        (b"/a//b", 2, b"foo.com/a"),
        (b"//", 2, b"foo.com"),
    ],
)
def test_mountpoints(path, segments, key):
    assert with_mountpoint(b"foo.com", path, segments) == key


@pytest.mark.parametrize(
    ("method", "is_head"), [(b"HEAD", True), (b"GET", False), (b"head", False), (b"HEADS", False)]
)
def test_whether_the_answer_has_no_body(method, is_head):
    block = encode_block([(b"REQUEST_METHOD", method), (b"HTTP_COOKIE", b"\x0e\0REQUEST_METHOD\4\0HEAD")])
    assert read_head(block)[6] is is_head
