"""Where an answer ends, for nodes that leave the connection open after it (RFC 9112, 6.3)."""

import re
from typing import Final

__all__ = ["Framing"]

_MOST_HEAD: Final = 65536
"""Bytes of a head; of a longer one only the end of the connection can tell where it ends."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r\n]")
_FIELDS = re.compile(
    rb"\r\n(content-length|transfer-encoding|connection)[ \t]*:[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)", re.I
)

_HEAD, _LENGTH, _SIZE, _CHUNK, _AFTER_CHUNK, _TRAILER, _UNKNOWN, _DONE = range(8)

_BARE = re.compile(rb"(?<!\r)\n")
"""Ends lines for some readers and not for others."""


class Framing:
    """Fed with what a node says, piece by piece.

    What cannot be understood is taken to go on until the node closes, as without this.
    """

    __slots__ = ("_ahead", "_is_to_head", "_left", "_state", "has_surplus", "is_free")

    def __init__(self, is_to_head: bool) -> None:
        """is_to_head: the request was for the head only."""
        self._is_to_head = is_to_head
        self._state = _HEAD
        self._ahead = b""
        """The beginning of a head or a line."""
        self._left = 0
        """Bytes of the body, or of a chunk."""
        self.is_free = False
        """The answer is over, and the connection good for another request."""
        self.has_surplus = False
        """Something came behind an answer whose end was plain to see."""

    @property
    def is_done(self) -> bool:
        return self._state == _DONE

    def feed(self, data: bytes) -> int:
        """Take a piece. Returns how much of it belongs to the answer; what is behind it belongs to nobody."""
        at = 0
        while at < len(data) and self._state != _DONE and self._state != _UNKNOWN:
            if self._state == _HEAD:
                at = self._head(data, at)
            elif self._state == _LENGTH or self._state == _CHUNK:
                n = min(self._left, len(data) - at)
                at += n
                self._left -= n
                if not self._left:
                    self._state = _DONE if self._state == _LENGTH else _AFTER_CHUNK
            else:
                at = self._line(data, at)
        if self._state == _UNKNOWN:
            return len(data)
        if at < len(data):
            self.has_surplus, self.is_free = self.is_free, False
        return at

    def _head(self, data: bytes, at: int) -> int:
        """Returns where the head ends in data."""
        head = self._ahead + data[at:]
        end = head.find(b"\r\n\r\n", max(len(self._ahead) - 3, 0))
        if len(head) > _MOST_HEAD and not 0 <= end < _MOST_HEAD:
            self._state = _UNKNOWN
            return len(data)
        if end < 0:
            self._ahead = head
            return len(data)
        after = at + end + 4 - len(self._ahead)
        self._ahead = b""
        self._understand(head[: end + 2])
        return after

    def _understand(self, head: bytes) -> None:
        self._state = _UNKNOWN
        status = _STATUS.match(head)
        if status is None or _BARE.search(head):
            return
        code = int(status[1])
        lengths, codings = set(), []
        self.is_free = head.startswith(b"HTTP/1.1 ")
        for name, value in _FIELDS.findall(head):
            if name.lower() == b"content-length":
                lengths.add(value)
            elif name.lower() == b"transfer-encoding":
                codings.append(value.lower())
            elif b"close" in value.lower():
                self.is_free = False
        if code == 101 or len(lengths) > 1:
            self.is_free = False
        elif 100 <= code < 200:
            self._state = _HEAD
        elif self._is_to_head or code in (204, 304):
            self._state = _DONE
            self.is_free = False  # servers have been seen to send a body all the same
        elif codings:
            self._state = _SIZE if codings == [b"chunked"] and not lengths else _UNKNOWN
        elif lengths and (length := lengths.pop()).isdigit() and len(length) < 19:
            self._left = int(length)
            self._state = _LENGTH if self._left else _DONE

    def _line(self, data: bytes, at: int) -> int:
        """A line between chunks. Returns where it ends in data."""
        end = data.find(b"\n", at)
        if end < 0:
            self._ahead += data[at:]
            if len(self._ahead) > _MOST_HEAD:
                self._state = _UNKNOWN
            return len(data)
        line = (self._ahead + data[at:end]).rstrip(b"\r")
        self._ahead = b""
        if self._state == _TRAILER:
            if not line:
                self._state = _DONE
            return end + 1
        if self._state == _AFTER_CHUNK:
            self._state = _UNKNOWN if line else _SIZE
            return end + 1
        size = line.partition(b";")[0].strip()
        if not size or len(size) > 15 or size.strip(b"0123456789abcdefABCDEF"):
            self._state = _UNKNOWN
            self.is_free = False
        elif int(size, 16):
            self._left = int(size, 16)
            self._state = _CHUNK
        else:
            self._state = _TRAILER
        return end + 1
