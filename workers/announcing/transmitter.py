"""Sending announcements: of the local application, of wrapped programs, and of this router itself."""

import logging
import socket
import time
from dataclasses import replace

from fastrouter.address import AddressError, Dial, Tcp, host_name, parse_binding, parse_node
from fastrouter.text import in_words
from fastrouter.wire.announcement import Announcement
from fastrouter.wire.signing_key import ED25519, SigningKey
from workers.resolver import Resolver, TooManyNames

__all__ = ["Resubscriber", "Transmitter"]

log = logging.getLogger("fastrouter")


class Transmitter:
    """Sends datagrams to subscription servers. Nobody answers; the next round tries again what failed."""

    def __init__(self, resolver: Resolver, bind: str = "") -> None:
        """bind is the address to send from, if it matters. Raises OSError, AddressError."""
        self._resolver = resolver
        self._sockets: dict[int, socket.socket] = {}
        self._failing: dict[str, str] = {}
        """Why nothing comes through, by server."""
        self._last: dict[tuple[str, str, str], int] = {}
        """The time in the last announcement, by server, key and address."""
        if bind:
            binding = parse_binding(bind)
            if not isinstance(binding, Tcp):
                raise AddressError(f"{bind!r}: expected HOST:PORT")
            family = socket.AF_INET6 if ":" in binding.host else socket.AF_INET
            self._socket(family).bind((binding.host, binding.port))

    def find(self, server: str) -> Dial | None:
        """Where a server is now; None while its name is being looked up. Raises AddressError."""
        if host := host_name(server):
            numeric = self._resolver.numeric(host, int(server.rpartition(":")[2]))
            if numeric == "":
                raise AddressError(f"nobody knows the name {host}")
            return parse_node(numeric) if numeric else None
        return parse_node(server)

    def send(self, server: str, announcement: Announcement, signing_key: SigningKey | None) -> bool:
        """Send one announcement; log why not, when that is news. False if it was not sent."""
        try:
            target = self.find(server)
            if target is None:
                return False
            name = (server, announcement.key, announcement.address)
            unix, sequence = divmod(time.time_ns(), 1_000_000_000)
            if signing_key is not None and signing_key.digest != ED25519:
                # It tells no two of a second apart; and an unsubscription is one ahead of its time.
                unix, sequence = max(unix, self._last.get(name, 0) + 1), 0
                self._last[name] = unix
                unix += announcement.unsubscribe
            datagram = _encoded(announcement, signing_key, unix, sequence)
            self._socket(target.family).sendto(datagram, target.sockaddr)
        except (OSError, ValueError, TooManyNames) as error:
            problem = in_words(error)
            if self._failing.get(server) != problem:
                self._failing[server] = problem
                log.warning("cannot announce %s to %s: %s", announcement.key, server, problem)
            return False
        if self._failing.pop(server, None):
            log.info("announcements to %s go out again", server)
        return True

    def _socket(self, family: int) -> socket.socket:
        if family not in self._sockets:
            self._sockets[family] = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        return self._sockets[family]


class Resubscriber:
    """Announces this router to another one, in the stead of its nodes."""

    def __init__(
        self, transmitter: Transmitter, server: str, own: str, signing_key: SigningKey | None
    ) -> None:
        """own is the address of this router."""
        self._transmitter = transmitter
        self._server = server
        self._own = own
        self._signing_key = signing_key

    @property
    def own(self) -> str:
        """The address that the other is told: for "all addresses", the one that it is reached from.

        Empty as long as nobody knows.
        """
        host, _, port = self._own.rpartition(":")
        if host not in ("0.0.0.0", "[::]"):
            return self._own
        try:
            target = self._transmitter.find(self._server)
            if target is None or target.family == socket.AF_UNIX:
                return self._own if target else ""
            with socket.socket(target.family, socket.SOCK_DGRAM) as probe:
                probe.connect(target.sockaddr)  # sends nothing
                local = probe.getsockname()[0]
        except (OSError, AddressError, TooManyNames):
            return ""
        return f"[{local}]:{port}" if ":" in local else f"{local}:{port}"

    def send(self, announcement: Announcement) -> None:
        self._transmitter.send(self._server, announcement, self._signing_key)


def _encoded(announcement: Announcement, signing_key: SigningKey | None, unix: int, sequence: int) -> bytes:
    """Raises OSError when the key file cannot be read, ValueError when it is none."""
    if signing_key is None:
        return announcement.encode()
    from fastrouter.wire.signature import sign  # brings in cryptography, which few need

    announcement = replace(announcement, unix=unix, sequence=sequence, signer=signing_key.signer)
    with open(signing_key.pem, "rb") as file:
        return sign(announcement.encode(), signing_key.digest, file.read())
