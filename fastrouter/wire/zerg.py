"""Zerg mode on the wire: listening sockets handed over a UNIX stream socket (uWSGI 2.0.31 behaviour).

Who connects sends nothing, and is sent one message: ``uwsgi-zerg``, the number of descriptors as a native
32-bit integer, and the descriptors (SCM_RIGHTS, unix(7)).
"""

import array
import os
import socket
import struct
from collections.abc import Sequence

from fastrouter.address import Unix, parse_binding

__all__ = ["MOST", "ZergError", "attach", "give"]

MOST = 253
"""Descriptors in one message (SCM_MAX_FD)."""

_CODE = b"uwsgi-zerg"
_COUNT = struct.Struct("=i")


class ZergError(Exception):
    """A zerg server gave no sockets; the message says which and why."""


def give(connection: socket.socket, descriptors: Sequence[int]) -> None:
    """Hand descriptors to whoever is connected. Raises OSError."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    connection.sendmsg([_CODE, _COUNT.pack(len(descriptors))], rights)


def attach(address: str, timeout: float = 30.0) -> list[socket.socket]:
    """The sockets that the zerg server at address offers, in its order. Raises ZergError.

    timeout is in seconds (uWSGI's is 30).
    """
    binding = parse_binding(address)
    assert isinstance(binding, Unix)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(binding.sockaddr)
            descriptors = _receive(sock)
    except (OSError, EOFError) as error:
        raise ZergError(f"zerg server {address}: {error}") from None
    if all(_is_listening(fd) for fd in descriptors):
        return [socket.socket(fileno=fd) for fd in descriptors]
    for fd in descriptors:
        os.close(fd)
    raise ZergError(f"zerg server {address}: what it gave are not listening sockets")


def _receive(sock: socket.socket) -> list[int]:
    """Raises EOFError for anything but descriptors with the code before them."""
    fds = array.array("i")
    room = socket.CMSG_SPACE(MOST * fds.itemsize)
    data, messages, flags, _ = sock.recvmsg(len(_CODE) + _COUNT.size, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in messages:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    # The number that was sent says nothing that the descriptors do not (nor does uWSGI believe it).
    if not data.startswith(_CODE) or flags & socket.MSG_CTRUNC or not fds:
        for fd in fds:
            os.close(fd)
        raise EOFError("it has no sockets to give" if data.startswith(_CODE) else "that is no zerg server")
    return list(fds)


def _is_listening(fd: int) -> bool:
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return False  # it is no socket at all
    try:
        families = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
        return sock.family in families and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    finally:
        sock.detach()
