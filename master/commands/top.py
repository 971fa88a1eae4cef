"""The command ``fastrouter-top``: a router's statistics, live, in a terminal."""

import json
import os
import re
import select
import socket
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live as Screen

from fastrouter.address import AddressError, parse_node
from fastrouter.config.dialect.pairs import ConfigError
from fastrouter.options import TopOptions
from fastrouter.statistics.census import Census
from fastrouter.statistics.document import snapshot
from fastrouter.text import in_words
from master.commands.live import LiveError, attach
from master.commands.tool import run_tool
from master.commands.topview import Statistics, View

__all__ = ["main"]

_PATIENCE = 10.0
"""Seconds for a stats server to answer."""

_TRIES = 10
_PAUSE = 0.3
"""Seconds."""


_SEQUENCE_SO_FAR = re.compile(rb"\x1b(O|\[[0-?]*[ -/]*)?")
"""Of a key that has no character: what comes before the last byte (ECMA-48, 5.4)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 when there is no router to be seen."""
    return run_tool(TopOptions, arguments, _top, (LiveError, AddressError, OSError, ValueError))


def _top(options: TopOptions, words: Sequence[str]) -> int:
    if len(words) > 1:
        raise ConfigError("expected one ADDRESS at most")
    try:
        _show(_remote(words[0]) if words else _local(options.pid, options.router), options)
    except (KeyboardInterrupt, EOFError):
        pass
    return 0


def _local(pid: int, prefix: str) -> Callable[[], Statistics]:
    pid = attach(pid, prefix).pid

    def look() -> Statistics:
        live = attach(pid, prefix)  # anew: a reload makes other memory
        state, router = live.gateway.state, live.gateway.options
        census = Census(state, router.configured_slots)
        statistics = snapshot(
            state, router.PREFIX, live.sockets, census, router.configured_nodes, sys.maxsize
        )
        statistics["subscriptions"] = list(statistics["subscriptions"])
        live.close()
        return {**statistics, "pid": live.pid, "version": live.version}

    return look


def _patiently(look: Callable[[], Statistics]) -> Statistics:
    """In the moment of a reload there is nothing to be seen."""
    for _ in range(_TRIES):
        try:
            return look()
        except LiveError:
            threading.Event().wait(_PAUSE)
    return look()


def _remote(address: str) -> Callable[[], Statistics]:
    dial = parse_node(address)

    def look() -> Statistics:
        data = bytearray()
        try:
            with socket.socket(dial.family) as sock:
                sock.settimeout(_PATIENCE)
                sock.connect(dial.sockaddr)
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")  # for stats-http; without, it does not matter
                while chunk := sock.recv(1 << 20):
                    data += chunk
        except OSError as error:
            reason = in_words(error)
            raise LiveError(f"cannot read statistics from the stats server at {address}: {reason}") from None
        found = json.loads(data[max(data.find(b"{"), 0) :])
        if "time_buckets" not in found:
            raise ValueError(f"{address}: what answers there is no fastrouter's stats server")
        return dict(found)

    return look


def _show(look: Callable[[], Statistics], options: TopOptions) -> None:
    console, view = Console(highlight=False), View(options.sort)
    before, now = look(), time.monotonic()
    if options.once:
        threading.Event().wait(options.interval)
        console.print(view.screen(look(), before, time.monotonic() - now, console.width, 0))
        return
    in_place = not console.is_dumb_terminal  # which can only go on
    statistics, seconds = before, 1.0
    with Screen(console=console, screen=in_place, auto_refresh=False) as screen, Keyboard() as keyboard:

        def draw() -> None:
            content = view.screen(statistics, before, seconds, console.width, console.size.height)
            if in_place:
                screen.update(content, refresh=True)
            else:
                console.print(content)

        while True:
            draw()
            while (left := now + options.interval - time.monotonic()) > 0:
                key = keyboard.read(left)
                if key and not view.press(key):
                    return
                if key and in_place:
                    draw()
            before, statistics, then = statistics, _patiently(look), now
            now = time.monotonic()
            seconds = now - then


class Keyboard:
    """The keys that are pressed at the terminal; none where standard input is something else."""

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno() if sys.stdin.isatty() else -1

    def __enter__(self) -> "Keyboard":
        if self._fd >= 0:
            self._former = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        return self

    def __exit__(self, *error: object) -> None:
        if self._fd >= 0:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._former)

    def read(self, seconds: float) -> str:
        """The key that is pressed within so many seconds: a character, or a sequence; empty when none is.

        Raises EOFError when the terminal is gone.
        """
        if self._fd < 0:
            threading.Event().wait(seconds)
            return ""
        if not select.select([self._fd], [], [], seconds)[0]:
            return ""
        data = os.read(self._fd, 1)
        if not data:
            raise EOFError
        while _SEQUENCE_SO_FAR.fullmatch(data) or not _is_whole(data):
            if not select.select([self._fd], [], [], 0)[0]:
                break  # Esc alone
            data += os.read(self._fd, 1)
        return data.decode("utf-8", "replace")


def _is_whole(character: bytes) -> bool:
    """Whether nothing is missing of a character in UTF-8."""
    try:
        character.decode()
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"
    return True


if __name__ == "__main__":
    sys.exit(main())
