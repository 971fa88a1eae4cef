"""What systemd, or another manager that speaks its protocols, is told and hands over.

sd_notify(3): states, and signs of life (WatchdogSec=). sd_listen_fds(3): sockets that were bound before this
program was started, and keep their queue while it is restarted.
"""

import os
import socket
import time
from collections.abc import Mapping, MutableMapping

from fastrouter.address import show

__all__ = ["Systemd", "activated_sockets"]

_FIRST_FD = 3


class Systemd:
    """Whoever has asked to be told. Does nothing when nobody has."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._every = 0.0
        """Seconds between signs of life."""
        pid = environment.get("WATCHDOG_PID", "")
        microseconds = environment.get("WATCHDOG_USEC", "")
        if microseconds.isdecimal() and pid in ("", str(os.getpid())):
            self._every = int(microseconds) / 2e6
        self._next = 0.0

    def tell(self, *lines: str) -> None:
        """Send an assignment a line. Nobody answers."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.sendto("\n".join(lines).encode(), address)
            except OSError:
                pass  # there is nobody to tell that

    def is_ready(self, status: str) -> None:
        self.tell("READY=1", f"STATUS={status}")

    def is_reloading(self) -> None:
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reloading")

    def is_stopping(self) -> None:
        self.tell("STOPPING=1", "STATUS=stopping")

    def go_on(self, now: float) -> None:
        """To be called once a second, at least."""
        if self._every and now >= self._next:
            self._next = now + self._every
            self.tell("WATCHDOG=1")


def activated_sockets(environment: MutableMapping[str, str]) -> dict[str, list[int]]:
    """The sockets that were handed over, by kind and address. Nobody after this program is to take them."""
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    found: dict[str, list[int]] = {}
    for fd in range(_FIRST_FD, _FIRST_FD + int(count)):
        sock = socket.socket(fileno=fd)
        kind = "stream" if sock.type == socket.SOCK_STREAM else "datagram"
        found.setdefault(f"{kind} {show(sock.getsockname())}", []).append(fd)
        os.set_inheritable(sock.detach(), False)
    return found
