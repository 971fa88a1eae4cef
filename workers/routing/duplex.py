"""Moving bytes of any protocol between a client and its node, both ways at once, until both ways have ended.

Nothing is read that the other side has no room for. The end of one way is passed on (shutdown(2)) while the
other goes on, so that services whose clients end first work as well as those whose servers do.

What epoll(7) says of a socket: IN with nothing to read is the end of what comes; HUP is the end of both ways,
ERR a reset, and after either of these nothing that is sent there arrives.
"""

from _socket import socket as PlainSocket
from collections.abc import Generator
from typing import Final

from fastrouter.memory.outcomes import TOO_LATE
from fastrouter.routing.node import Node
from workers.loop import ERR, HUP, IN, OUT, Event
from workers.routing.relay import Bytes, answers, shutdown
from workers.routing.session import Session

__all__ = ["duplex"]

_BROKEN: Final = HUP | ERR

_DONTWAIT: Final = 0x40
"""MSG_DONTWAIT: the client's socket is left as accept(2) made it."""

_FIRST: Final = 65536
"""Bytes to move at first; twice as many each time that so many were there and were taken."""


class _Way:
    """What comes from one socket and goes to the other."""

    __slots__ = ("has_ended", "is_over", "pending", "source", "target")

    def __init__(self, source: PlainSocket, target: PlainSocket, pending: Bytes) -> None:
        self.source = source
        self.target = target
        self.pending = pending
        """What was read, and the target has had no room for."""
        self.has_ended = False
        """Nothing more comes."""
        self.is_over = False
        """Nothing more comes, and the target knows."""

    def move(self, buffer: memoryview) -> int:
        """Move what is there. Returns the number of bytes read."""
        moved, size = 0, min(_FIRST, len(buffer))
        while not self.pending and not self.has_ended:
            try:
                n = self.source.recv_into(buffer, size, _DONTWAIT)
            except BlockingIOError:
                return moved
            except ConnectionError:
                n = 0
            if not n:
                self.has_ended = True
                return moved
            moved += n
            self.pending = self._sent(buffer[:n])
            if n < size:
                break
            size = min(2 * size, len(buffer))
        self.pending = bytes(self.pending)  # the buffer is for everybody
        return moved

    def flush(self) -> None:
        """Send what is pending, as far as there is room for it now."""
        self.pending = self._sent(self.pending)

    def lose(self) -> None:
        """The target takes nothing more."""
        self.pending = b""
        self.has_ended = self.is_over = True

    def pass_end(self) -> None:
        """Tell the target that nothing more comes, once it has everything."""
        if self.has_ended and not self.pending and not self.is_over:
            self.is_over = True
            shutdown(self.target)

    def _sent(self, data: Bytes) -> Bytes:
        """Send; returns what did not fit."""
        try:
            n = self.target.send(data, _DONTWAIT)
        except BlockingIOError:
            return data
        except ConnectionError:
            self.lose()
            return b""
        return memoryview(data)[n:] if n < len(data) else b""


def duplex(session: Session, node: Node, rest: Bytes) -> Generator[None, Event, int]:
    """Move bytes until both ways are over; rest is what the node is still to be sent of what comes first.

    Returns 0, or TOO_LATE when the node has said nothing in time.
    """
    engine, sock = session.engine, session.sock
    assert sock is not None
    loop, resume, counters = engine.loop, session.resume, session.nodes.counters
    client_fd, node_fd = session.client_fd, session.node_fd
    up, down = _Way(session.client, sock, rest), _Way(sock, session.client, session.ahead)
    client_events = node_events = 0
    sent, received = len(session.packet), len(session.ahead)
    counters.moved(node, sent, received)
    try:
        while not (up.is_over and down.is_over):
            wanted = (OUT if up.pending else 0) | (0 if down.pending or down.has_ended else IN)
            if wanted != node_events:
                node_events = loop.watch_or_not(node_fd, wanted, resume)
            wanted = (OUT if down.pending else 0) | (0 if up.pending or up.has_ended else IN)
            if wanted != client_events:
                client_events = loop.watch_or_not(client_fd, wanted, resume)
            fd, events = yield
            if fd < 0:
                continue
            session.touched = engine.seconds
            coming, going = (down, up) if fd == node_fd else (up, down)
            if going.pending and events != IN:
                going.flush()
            moved = coming.move(engine.buffer) if events != OUT else 0
            if events & _BROKEN:
                going.lose()
            if coming is up:
                counters.moved(node, moved, 0)
                sent += moved
            else:
                if moved and not received:
                    answers(session, node)
                counters.moved(node, 0, moved)
                received += moved
            up.pass_end()
            down.pass_end()
    except TimeoutError:
        return 0 if received else TOO_LATE
    finally:
        if session.record is not None:
            session.record.moved(sent, received)
        loop.unwatch(client_fd)
    return 0
