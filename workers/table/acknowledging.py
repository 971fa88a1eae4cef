"""Telling those who have announced a node that it was taken, on a UNIX datagram socket that they name.

The subscription server can write to sockets that a sender cannot, the log's among them. So it writes only
where the sender could do that itself, or where the operator has allowed it.
"""

import logging
import os
import re
import socket
import stat
from collections.abc import Sequence

from fastrouter.subscriptions.policy import Sender, pattern
from fastrouter.text import printable, to_bytes
from fastrouter.wire.announcement import Announcement

__all__ = ["Acknowledgements"]

log = logging.getLogger("fastrouter")


class Acknowledgements:
    """Sends them, if they may be sent."""

    def __init__(self, allowed: Sequence[str]) -> None:
        """allowed are patterns of paths."""
        self._allowed: list[re.Pattern[str]] = [pattern(text) for text in allowed]

    def send(self, announcement: Announcement, sender: Sender) -> None:
        """Tell the socket that an announcement names, if it names one."""
        path = announcement.notify
        if not path:
            return
        key, address = printable(announcement.key), printable(announcement.address)
        try:
            self._send(path, sender, to_bytes(f"[subscription ack] {key} => new node: {address}"))
        except (OSError, ValueError) as error:
            log.debug("no acknowledgement to %s: %s", path, error)

    def _send(self, path: str, sender: Sender, data: bytes) -> None:
        """Raises OSError."""
        # What is looked at is what is written to, whatever takes its name meanwhile.
        fd = os.open(to_bytes(path), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not self._may_have(path, os.fstat(fd), sender):
                raise PermissionError("neither its sender's own nor allowed by subscription-notify-allow")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.sendto(data, f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)

    def _may_have(self, path: str, about: os.stat_result, sender: Sender) -> bool:
        if not stat.S_ISSOCK(about.st_mode):
            return False
        if sender.uid is not None and sender.uid in (0, about.st_uid):
            return True
        is_plain = os.path.isabs(path) and os.path.normpath(path) == path
        return is_plain and any(one.match(path) for one in self._allowed)
