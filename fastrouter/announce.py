"""Announce a server to fastrouters (this project's or uWSGI's), from within a Python program.

This file needs nothing but the standard library: use it as ``fastrouter.announce`` or copy it. ::

    with Announcer("10.0.0.1:2626", "foo.com", "10.0.0.7:8000", weight=2):
        serve()  # announced every 10 seconds, taken back at the end

``docs/protocol.md`` says what is sent.
"""

import logging
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Announcer", "announcement"]

log = logging.getLogger("fastrouter.announce")

_SUBSCRIPTION = 224
_MOST_BYTES = 4096
"""That a subscription server reads."""

_SIGNATURE_RECORD = b"\7\0ed25519\x40\0"
_DOMAIN = b"uwsgi announcement, ed25519\0"


def announcement(key: str, address: str, leave: bool = False, **variables: object) -> bytes:
    """The datagram that announces the node at address for key, or takes it back.

    variables are modifier1, modifier2, cores, load, weight, backup, algo, max_conns, drain, notify, signer,
    and fd_passing=1 for a server that takes clients' descriptors (``passing.py``), keepalive=1 for one that
    leaves connections open after its answers.
    Raises ValueError when they are more than a datagram holds.
    """
    block = b""
    for name, value in {"key": key, "address": address, **variables}.items():
        data = str(value).encode("utf-8", "surrogateescape")
        if len(data) > _MOST_BYTES:
            raise ValueError(f"the announcement's {name} has {len(data)} bytes")
        block += struct.pack("<H", len(name)) + name.encode() + struct.pack("<H", len(data)) + data
    if len(block) > _MOST_BYTES - 4:
        raise ValueError(f"an announcement has at most {_MOST_BYTES} bytes")
    return _with_header(block, int(leave))


def _with_header(block: bytes, command: int) -> bytes:
    return struct.pack("<BHB", _SUBSCRIPTION, len(block), command) + block


class Announcer:
    """Announces one node for some keys to some subscription servers, from a thread of its own."""

    def __init__(
        self,
        servers: str | Iterable[str],
        keys: str | Iterable[str],
        address: str,
        *,
        every: float = 10.0,
        sign: Callable[[bytes], bytes] | None = None,
        **variables: object,
    ) -> None:
        """servers are HOST:PORT or paths of UNIX sockets; address is where requests are to go.

        sign makes Ed25519 signatures: the ``sign`` method of a private key of the package cryptography, for
        instance. every is in seconds; variables are those of announcement().
        """
        self._servers = [servers] if isinstance(servers, str) else list(servers)
        self._keys = [keys] if isinstance(keys, str) else list(keys)
        self._address = address
        self._every = every
        self._sign = sign
        self._variables = variables
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)

    def start(self) -> None:
        """Begin to announce. Call it when the server accepts, and after any fork."""
        self._thread.start()

    def stop(self, drain: float = 2.0) -> None:
        """Ask for no more requests, wait drain seconds for the last ones to come, and leave.

        Call it before the server stops accepting.
        """
        if self._stopped.is_set() or not self._thread.is_alive():
            return
        self._stopped.set()
        self._thread.join()
        self._send(drain=1)
        threading.Event().wait(drain)
        self._send(leave=True)

    def __enter__(self) -> "Announcer":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _run(self) -> None:
        self._send()
        # Not all at the same time, however many were started together.
        pause = random.uniform(0.0, self._every)
        while not self._stopped.wait(pause):
            self._send()
            pause = self._every

    def _send(self, leave: bool = False, **more: object) -> None:
        for server in self._servers:
            for key in self._keys:
                try:
                    self._send_one(server, key, leave, more)
                except (OSError, ValueError) as error:
                    log.warning("cannot announce %s to %s: %s", key, server, error)

    def _send_one(self, server: str, key: str, leave: bool, more: dict[str, object]) -> None:
        variables = {**self._variables, **more}
        if self._sign is not None:
            unix, seq = divmod(time.time_ns(), 1_000_000_000)
            variables.update(unix=unix, seq=seq)
        datagram = announcement(key, self._address, leave, **variables)
        if self._sign is not None:
            signature = self._sign(_DOMAIN + datagram[:1] + datagram[3:])
            datagram = _with_header(datagram[4:] + _SIGNATURE_RECORD + signature, datagram[3])
            if len(datagram) > _MOST_BYTES:
                raise ValueError(f"an announcement has at most {_MOST_BYTES} bytes with its signature")
        family, target = _find(server)
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.sendto(datagram, target)


def _find(server: str) -> tuple[int, Any]:
    """Where a server is now. A name may mean another machine than a round ago."""
    host, colon, port = server.rpartition(":")
    if not colon or server.startswith("/"):
        return socket.AF_UNIX, server
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
    return found[0][0], found[0][4]
