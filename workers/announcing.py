"""Sending announcements: of the local application, and of this router itself."""

import logging
import socket
import time
from dataclasses import replace

from fastrouter.subscriber import SigningKey
from fastrouter.subscription import Announcement

__all__ = ["Resubscriber", "send_announcement"]

log = logging.getLogger("fastrouter")

_Address = tuple[str, int] | str


def send_announcement(server: str, announcement: Announcement, signing_key: SigningKey | None) -> None:
    """Send one datagram. Nobody answers; what fails is logged and tried again in the next round."""
    try:
        datagram = _encoded(announcement, signing_key)
        family, address = _resolve(server)
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.sendto(datagram, address)
    except (OSError, ValueError) as error:
        log.warning("cannot announce %s to %s: %s", announcement.key, server, error)


class Resubscriber:
    """Announces this router to another one, from one socket, in the stead of its nodes."""

    def __init__(self, server: str, own: str, bind: str, signing_key: SigningKey | None) -> None:
        """own is the router's address; bind is the one to send from, if any. Raises OSError."""
        self._server = server
        self._signing_key = signing_key
        family, self._target = _resolve(server)
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        if bind and family != socket.AF_UNIX:
            self._socket.bind(_resolve(bind)[1])
        self.own = self._dialable(own)
        """The address that the other is told."""

    def send(self, announcement: Announcement) -> None:
        """Send it, or log why not, once in a while at most."""
        try:
            self._socket.sendto(_encoded(announcement, self._signing_key), self._target)
        except (OSError, ValueError) as error:
            log.warning("cannot announce %s to %s: %s", announcement.key, self._server, error)

    def _dialable(self, own: str) -> str:
        """For "all addresses", the one of this machine that the other is reached from."""
        host, _, port = own.rpartition(":")
        if host not in ("0.0.0.0", "[::]") or self._socket.family == socket.AF_UNIX:
            return own
        with socket.socket(self._socket.family, socket.SOCK_DGRAM) as probe:
            probe.connect(self._target)  # sends nothing
            local = probe.getsockname()[0]
        return f"[{local}]:{port}" if ":" in local else f"{local}:{port}"


def _encoded(announcement: Announcement, signing_key: SigningKey | None) -> bytes:
    """Raises OSError when the key file cannot be read, ValueError when it is none."""
    if signing_key is None:
        return announcement.encode()
    from fastrouter.signature import sign  # brings in cryptography, which few need

    # One second more to unsubscribe, so that it is newer than what was announced in this same second.
    now = int(time.time()) + announcement.unsubscribe  # noqa: TID251 - part of the format
    with open(signing_key.pem, "rb") as file:
        return sign(replace(announcement, unix=now).encode(), signing_key.digest, file.read())


def _resolve(server: str) -> tuple[int, _Address]:
    """Where a server is now. A name may mean another machine than a round ago."""
    host, colon, port = server.rpartition(":")
    if not colon or server.startswith("/"):
        return socket.AF_UNIX, server
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
    return found[0][0], (str(found[0][4][0]), int(port))
