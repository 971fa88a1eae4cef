"""The file that the routing table survives a restart in (``subscription-state``).

It has one announcement after another, as they come over the network, for every node. How old it is says when
the table was last known to be so.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from fastrouter.text import to_text
from fastrouter.wire.announcement import Announcement, AnnouncementError, parse_announcement
from fastrouter.wire.packet import HEADER, PacketError, records

__all__ = ["SavedNode", "StateError", "TooOld", "load_state", "save_state", "touch_state"]

_RESOLVED = "resolved"
"""A variable that only this file has."""

_TOO_OLD = 300.0
"""Seconds. By then somebody else may have a node's address."""


class StateError(Exception):
    """The file, or the rest of it, cannot be used; the message says why."""


class TooOld(StateError):
    """It is good, but says nothing of now."""


@dataclass(frozen=True, slots=True)
class SavedNode:
    announcement: Announcement
    resolved: str = ""
    """The numeric address that its host name stood for."""


def save_state(path: str, nodes: Iterable[SavedNode]) -> None:
    """Replace the file as a whole, so that whoever reads it has the old or the new one. Raises OSError."""
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    # Whatever else is there now, somebody else has put there.
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.writelines(map(_encoded, nodes))
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def touch_state(path: str) -> None:
    """The table is as the file says, still. Raises OSError."""
    os.utime(path, follow_symlinks=False)


def _encoded(node: SavedNode) -> bytes:
    more = ((_RESOLVED, node.resolved),) if node.resolved else ()
    return replace(node.announcement, more=more).encode()


def load_state(path: str) -> Iterator[SavedNode]:
    """The nodes that were in the table; none when there is no file. Raises OSError and StateError."""
    try:
        age = time.time() - os.stat(path).st_mtime  # noqa: TID251 - files have nothing else
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return
    if age > _TOO_OLD:
        raise TooOld(f"it is {age:.0f} seconds old, and after {_TOO_OLD:.0f} nobody knows who is there")
    at = 0
    while at < len(data):
        if at + HEADER.size > len(data):
            raise StateError(f"it is cut off at byte {at}")
        _, size, _ = HEADER.unpack_from(data, at)
        end = at + HEADER.size + size
        try:
            if end > len(data):
                raise AnnouncementError("it runs over the end of the file")
            announcement = parse_announcement(data[at:end])
            resolved = dict(records(data[at + HEADER.size : end])).get(_RESOLVED.encode(), b"")
            yield SavedNode(announcement, to_text(resolved))
        except (AnnouncementError, PacketError) as error:
            raise StateError(f"what begins at byte {at} is no announcement: {error}") from None
        at = end
