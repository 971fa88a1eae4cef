"""Moving bytes of any protocol between a client and its node, both ways at once, until both ways have ended.

Nothing is read that the other side has no room for. The end of one way is passed on (shutdown(2)) while the
other goes on, so that services whose clients end first work as well as those whose servers do.

What epoll(7) says of a socket: IN with nothing to read, and RDHUP, are the end of what comes. HUP is the end
of both ways, ERR a reset; after either of these nothing that is sent there arrives. Both sockets are watched
for changes only (EDGE), so that epoll_ctl(2) is called once for each. What is there is read at once, or when
the other side has room again.
"""

from _socket import socket as PlainSocket
from collections.abc import Generator
from typing import Final

from fastrouter.memory.outcomes import TOO_LATE
from fastrouter.routing.node import Node
from workers.loop import EDGE, ERR, HUP, IN, OUT, RDHUP, Event
from workers.routing.relay import Bytes, answers, shutdown
from workers.routing.session import Session

__all__ = ["duplex"]

_COMES: Final = IN | RDHUP | HUP | ERR
_BROKEN: Final = HUP | ERR
_ENDING: Final = RDHUP | ERR
_WATCHED: Final = IN | RDHUP | EDGE

# As in <sys/socket.h>; the client's socket is left as accept(2) made it.
_DONTWAIT: Final = 0x40
_LAST: Final = _DONTWAIT | 0x8000  # MSG_MORE: the end of the connection follows at once

_FIRST: Final = 65536
"""Bytes to move at first; twice as many each time that so many were there and were taken."""


class _Way:
    """What comes from one socket and goes to the other."""

    __slots__ = ("has_ended", "is_ending", "is_over", "pending", "source", "target")

    def __init__(self, source: PlainSocket, target: PlainSocket, pending: Bytes, has_ended: bool) -> None:
        self.source = source
        self.target = target
        self.pending = pending
        """What was read, and the target has had no room for."""
        self.is_ending = False
        """The source has ended, though it may not be read to its end yet. That is reported once only."""
        self.has_ended = has_ended
        """Nothing more comes."""
        self.is_over = False
        """Nothing more comes, and the target knows."""

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do but to tell the target."""
        return self.has_ended and not self.pending

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
            self.has_ended = self.is_ending and n < size
            self._send(buffer[:n], _LAST if self.has_ended else _DONTWAIT)
            if n < size:
                break
            size = min(2 * size, len(buffer))
        if self.pending:
            self.pending = bytes(self.pending)  # the buffer is for everybody
        return moved

    def flush(self, buffer: memoryview) -> int:
        """Send what is pending, and then what has come since. Returns the number of bytes read."""
        self._send(self.pending, _DONTWAIT)
        return self.move(buffer)

    def lose(self) -> None:
        """The target takes nothing more."""
        self.pending = b""
        self.has_ended = self.is_over = True

    def pass_end(self) -> None:
        """Tell the target that nothing more comes, once it has everything."""
        if self.has_ended and not self.pending and not self.is_over:
            self.is_over = True
            shutdown(self.target)

    def _send(self, data: Bytes, flags: int) -> None:
        """Send; what does not fit is pending."""
        try:
            n = self.target.send(data, flags)
        except BlockingIOError:
            self.pending = data
        except ConnectionError:
            self.lose()
        else:
            self.pending = memoryview(data)[n:] if n < len(data) else b""


def duplex(session: Session, node: Node, rest: Bytes) -> Generator[None, Event, int]:
    """Move bytes until both ways are over; rest is what the node is still to be sent of what comes first.

    Returns 0, or TOO_LATE when the node has said nothing in time.
    """
    engine, sock = session.engine, session.sock
    assert sock is not None
    loop, resume, counters, buffer = engine.loop, session.resume, session.nodes.counters, engine.buffer
    client_fd, node_fd = session.client_fd, session.node_fd
    up = _Way(session.client, sock, rest, session.body_left == 0)
    down = _Way(sock, session.client, session.ahead, False)
    sent, received = len(session.packet), len(session.ahead)
    node_waits, client_waits = bool(rest), received > 0
    loop.watch(node_fd, _WATCHED | OUT if node_waits else _WATCHED, resume)
    loop.watch(client_fd, _WATCHED | OUT if client_waits else _WATCHED, resume)
    try:
        while True:
            up.pass_end()
            down.pass_end()
            if bool(up.pending) != node_waits:
                node_waits = not node_waits
                loop.watch(node_fd, _WATCHED | OUT if node_waits else _WATCHED, resume)
            if bool(down.pending) != client_waits:
                client_waits = not client_waits
                loop.watch(client_fd, _WATCHED | OUT if client_waits else _WATCHED, resume)
            fd, events = yield
            if fd < 0:
                continue
            session.touched = engine.seconds
            coming, going = (down, up) if fd == node_fd else (up, down)
            back = going.flush(buffer) if going.pending and events & OUT else 0
            coming.is_ending = coming.is_ending or events & _ENDING == RDHUP
            moved = coming.move(buffer) if events & _COMES else 0
            if events & _BROKEN:
                going.lose()
            from_client, from_node = (back, moved) if fd == node_fd else (moved, back)
            if from_node and not received:
                answers(session, node)
            sent += from_client
            received += from_node
            counters.moved(node, from_client, from_node)
            if up.is_done and down.is_done:
                return 0
    except TimeoutError:
        return 0 if received else TOO_LATE
    finally:
        counters.moved(node, len(session.packet), len(session.ahead))
        if session.record is not None:
            session.record.moved(sent, received)
        loop.forget(client_fd)  # which nobody else has, so that to close it ends the watch
