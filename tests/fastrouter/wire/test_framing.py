"""Where answers end, whole, byte by byte and cut at random."""

import random

import pytest

from fastrouter.wire.framing import Framing

HEAD = b"HTTP/1.1 200 OK\r\nServer: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

WHOLE = [
    HEAD + b"Content-Length: 5\r\n\r\nhello",
    HEAD + b"content-length:5 \r\nX: y\r\n\r\nhello",
    HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    HEAD + b"Content-Length: 0\r\n\r\n",
    HEAD + b"Content-Length: 4\r\n\r\n\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 2\r\n\r\nok",
    b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n" + HEAD + b"Content-Length: 0\r\n\r\n",
    CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"5;x=y\r\nhello\r\n00a\r\n0123456789\r\n000\r\nTrailer: x\r\n\r\n",
    CHUNKED + b"B\r\n\r\n0\r\n\r\n....\r\n0\r\n\r\n",
]

UNKNOWN = [
    HEAD + b"\r\nwhat is here goes on",
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
    HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    HEAD + b"Content-Length: five\r\n\r\nhello",
    HEAD + b"Content-Length: -5\r\n\r\nhello",
    HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    CHUNKED + b"x\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"-1\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"5\r\nhello, \r\n0\r\n\r\n",
    HEAD + b"X: y\nContent-Length: 0\r\n\r\n",
    b"no HTTP at all\r\n\r\n",
    b"HTTP/2 200\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
]


def fed(answer, places, is_to_head=False):
    """Feed answer in pieces that end at places; returns the framing, and how much was the answer's."""
    framing, used, at = Framing(is_to_head), 0, 0
    for place in [*sorted(places), len(answer)]:
        used += framing.feed(answer[at:place])
        at = place
    return framing, used


def cuts(answer):
    chance = random.Random(len(answer))
    yield []
    yield range(len(answer))
    for _ in range(30):
        yield [chance.randrange(len(answer)) for _ in range(chance.randrange(1, 6))]


@pytest.mark.parametrize("answer", WHOLE)
def test_the_end_is_found(answer):
    for places in cuts(answer):
        framing, used = fed(answer, places)
        assert (framing.is_done, framing.is_free, used) == (True, True, len(answer)), list(places)
        framing, _ = fed(answer[:-1], [place for place in places if place < len(answer)])
        assert not framing.is_done


@pytest.mark.parametrize("answer", WHOLE)
def test_what_is_behind_it_belongs_to_nobody(answer):
    framing, used = fed(answer + b"HTTP/1.1 200 OK\r\n", [])
    assert (framing.is_done, framing.is_free, used) == (True, False, len(answer))


@pytest.mark.parametrize("answer", UNKNOWN)
def test_what_cannot_be_told_goes_on_to_the_end(answer):
    for places in cuts(answer[:300]):
        framing, used = fed(answer, places)
        assert not (framing.is_done and framing.is_free) and used == len(answer)


@pytest.mark.parametrize(
    ("answer", "is_to_head"),
    [
        (HEAD + b"Content-Length: 5\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", False),
    ],
)
def test_answers_without_a_body(answer, is_to_head):
    """They end, but the connection had better not be used again: some servers send a body all the same."""
    for places in cuts(answer):
        framing, used = fed(answer, places, is_to_head)
        assert (framing.is_done, framing.is_free, used) == (True, False, len(answer))


@pytest.mark.parametrize(
    "head", [HEAD + b"Connection: close\r\n", HEAD + b"Connection: x, Close\r\n", b"HTTP/1.0 200 OK\r\n"]
)
def test_a_node_that_will_close(head):
    framing, _ = fed(head + b"Content-Length: 0\r\n\r\n", [])
    assert framing.is_done and not framing.is_free
