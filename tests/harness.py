"""What the tests share: real processes, requests, nodes made for the test. Nothing here sleeps."""

import contextlib
import functools
import itertools
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import psutil
from parts import announcement

from fastrouter.client import request_packet
from fastrouter.passing import Taken, take
from fastrouter.wire.announcement import Announcement

LIMIT = 10.0 * float(os.environ.get("TEST_TIME_FACTOR", "1"))
"""Seconds that anything may take: the one knob for slow machines."""

OUTPUT_ROOM = 1 << 20
"""Bytes that a program may write before anybody reads them. A log never waits: what finds no room is lost."""

AT_ONCE = 100
"""Announcements that may wait: what is logged of them fits into OUTPUT_ROOM, they into a socket's queue."""

ROOT = Path(__file__).parent.parent
PING = 100
"""modifier1 of a packet that only asks whether somebody is there."""

BIN = Path(sys.executable).parent
MASTER = str(BIN / "fastrouter-master")


def wait_until(condition: Callable[[], object], what: str, limit: float = LIMIT) -> object:
    """The first true value of condition. Fails when limit seconds pass without one."""
    deadline = time.monotonic() + limit
    event = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {limit} s for: {what}"
        event.wait(0.01)
    return value


def read_until(terminal: int, pattern: bytes, program: subprocess.Popen[bytes]) -> bytes:
    """What a program writes to its terminal, without control sequences, up to what matches."""
    shown, said, deadline = b"", bytearray(), time.monotonic() + LIMIT
    while not re.search(pattern, shown):
        left = deadline - time.monotonic()
        if left < 0 or not select.select([terminal], [], [], left)[0]:
            program.kill()
            raise AssertionError(f"waited {LIMIT} s for {pattern!r} in {bytes(said)!r}")
        said += os.read(terminal, 65536)
        shown = re.sub(rb"\x1b(\[[0-9;?]*[a-zA-Z]|\(B)", b"", said)
    return shown


class Program:
    """A running program and its output, line by line as it comes."""

    def __init__(self, *arguments: str | Path, fds: Sequence[int] = (), **extra: object) -> None:
        self.lines: list[str] = []
        self._is_over = False
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pipesize=OUTPUT_ROOM,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=fds,
            start_new_session=True,
            **extra,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._is_over = True
            self._news.notify_all()

    def wait_for(self, pattern: str, count: int = 1, limit: float = LIMIT) -> re.Match[str]:
        """The count-th line that the regular expression is found in."""
        matches: list[re.Match[str]] = []
        looked_at = 0

        def found() -> bool:
            # Each line once: whoever looks at all of them at each new one keeps the reader from reading.
            nonlocal looked_at
            new, looked_at = self.lines[looked_at:], len(self.lines)
            matches.extend(match for line in new if (match := re.search(pattern, line)))
            return len(matches) >= count

        with self._news:
            self._news.wait_for(lambda: found() or self._is_over, limit)
        assert len(matches) >= count, f"no line {count} like {pattern!r} in:\n{self.output}"
        return matches[count - 1]

    def wait(self, limit: float = LIMIT) -> int:
        """The exit code, once the program and everything that shares its output has ended."""
        code = self.process.wait(limit)
        self._reader.join(limit)
        assert not self._reader.is_alive(), f"somebody survived:\n{self.output}"
        return code

    def stop(self, number: int = signal.SIGTERM, limit: float = LIMIT) -> int:
        self.process.send_signal(number)
        return self.wait(limit)

    def close(self) -> None:
        """End it whatever it does, with all its descendants."""
        if self.process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                family = psutil.Process(self.pid).children(recursive=True)
                self.process.kill()
                for process in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
        self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        self.process.stdout.close()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()
        if error is not None:
            error.add_note(f"output of {self.process.args}:\n{self.output}")


def children(pid: int, title: str = "") -> list[int]:
    """The pids of the living children of a process whose titles contain title."""
    pids = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if title in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                pids.append(child.pid)
    return pids


def interrupt(instance: Program) -> None:
    """Send SIGINT to a uWSGI that announces itself, when it is not about to.

    It unsubscribes in the signal's handler; while it announces, the words of its option are cut in pieces, and
    what is behind the key is not seen: it does not sign.
    """
    process = psutil.Process(instance.pid)
    wait_until(lambda: process.status() == psutil.STATUS_SLEEPING, "it to wait")
    process.send_signal(signal.SIGINT)


def gone(pid: int) -> bool:
    """Whether a process has ended. Nobody may take an orphan's end, where the tests are process 1."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for_sweeps(pid: int) -> None:
    """Until an otherwise idle worker has looked over its sessions a few times, which wakes it every second."""
    process = psutil.Process(pid)
    enough = process.num_ctx_switches().voluntary + 3
    wait_until(lambda: process.num_ctx_switches().voluntary >= enough, "the sweeps")


class Router(Program):
    """fastrouter-master, started and ready."""

    def __init__(self, *arguments: str | Path, prefix: Sequence[str] = (), **extra: object) -> None:
        super().__init__(*prefix, MASTER, *arguments, **extra)
        try:
            self.wait_for("^ready$")
            self.address = self.wait_for(r"fastrouter bound on (.*)")[1]
        except AssertionError:
            self.close()
            raise

    @functools.cached_property
    def server(self) -> str:
        """The address that takes announcements."""
        return self.wait_for(r"subscription server bound on (.*)")[1]

    def pids(self, title: str, count: int = 1) -> list[int]:
        """Of the living children whose title contains title, once there are count of them."""

        def found() -> list[int]:
            pids = children(self.pid, title)
            return pids if len(pids) >= count else []

        return wait_until(found, f"{count} processes called {title}")

    def announce(self, key: str, address: str, **extra: object) -> None:
        """Send an announcement, and wait until it has been taken."""
        before = sum(f"{key} => new node: {address}" in line for line in self.lines)
        send_announcement(self.server, announcement(key, address, **extra))
        self.wait_for(rf"{re.escape(key)} => new node: {re.escape(address)}$", before + 1)

    def announce_all(self, keys: Iterable[str], address: str) -> None:
        """Announce a node for many keys, no faster than what is logged of it is read."""
        before = sum("=> new node: " in line for line in self.lines)
        for number, key in enumerate(keys, 1):
            send_announcement(self.server, Announcement(key, address))
            if number % AT_ONCE == 0:
                self.wait_for("=> new node: ", before + number)
        self.wait_for("=> new node: ", before + number)

    def unsubscribe(self, key: str, address: str) -> None:
        before = sum(f"{key} => {address} has left" in line for line in self.lines)
        send_announcement(self.server, Announcement(key, address, unsubscribe=True))
        self.wait_for(rf"{re.escape(key)} => {re.escape(address)} has left", before + 1)


class RawRouter(Program):
    """fastrouter-master with a raw router, started and ready."""

    def __init__(self, *arguments: str | Path, listener: str | Path = "127.0.0.1:0", **extra: object) -> None:
        super().__init__(MASTER, "--rawrouter", listener, *arguments, **extra)
        try:
            self.wait_for("^ready$")
            self.address = self.wait_for(r"^rawrouter bound on (.*)")[1]
        except AssertionError:
            self.close()
            raise

    @property
    def server(self) -> str:
        """The address that takes announcements."""
        return self.wait_for(r"^rawrouter subscription server bound on (.*)")[1]

    def announce(self, key: str, address: str) -> None:
        """Send an announcement, and wait until it has been taken."""
        send_announcement(self.server, announcement(key, address))
        self.wait_for(rf"{re.escape(key)} => new node: {re.escape(address)}$")


def subscription_router(*arguments: str | Path, cheap: bool = False, **extra: object) -> Router:
    """A router on a free port that takes announcements."""
    return Router(
        "--fastrouter=127.0.0.1:0",
        "--fastrouter-subscription-server=127.0.0.1:0",
        *(["--fastrouter-cheap"] if cheap else []),
        *arguments,
        **extra,
    )


def router_to(node: "FakeNode", *options: str) -> Router:
    """A router on a free port in front of one node."""
    return Router("--fastrouter=127.0.0.1:0", f"--fastrouter-to={node.address}", *options)


def send_announcement(server: str, announced: Announcement | bytes) -> None:
    data = announced if isinstance(announced, bytes) else announced.encode()
    kind, address = dial(server)
    with socket.socket(kind, socket.SOCK_DGRAM) as sock:
        sock.sendto(data, address)


def dial(address: str) -> tuple[int, object]:
    if ":" not in address or address.startswith("/"):
        return socket.AF_UNIX, address
    host, _, port = address.rpartition(":")
    if host.startswith("["):
        return socket.AF_INET6, (host[1:-1], int(port))
    return socket.AF_INET, (host, int(port))


def connect(address: str, limit: float = LIMIT) -> socket.socket:
    kind, target = dial(address)
    sock = socket.socket(kind, socket.SOCK_STREAM)
    sock.settimeout(limit)
    try:
        sock.connect(target)
    except OSError:
        sock.close()
        raise
    return sock


def read_all(sock: socket.socket) -> bytes:
    """Everything up to the end; what came before a reset counts."""
    data = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while chunk := sock.recv(1 << 20):
            data += chunk
    return bytes(data)


def request(
    address: str,
    url: str = "http://foo.com/",
    body: bytes = b"",
    method: str | None = None,
    limit: float = LIMIT,
    **variables: str,
) -> bytes:
    """Send one request and return the whole answer."""
    packet = request_packet(method or ("POST" if body else "GET"), url, body, variables)
    with connect(address, limit) as sock:
        sock.sendall(packet + body)
        return read_all(sock)


def answer(text: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)


def read_request(sock: socket.socket) -> tuple[bytes, bytes]:
    """A node's view: the header and block of the packet, and what body came with CONTENT_LENGTH."""
    packet = _exactly(sock, 4)
    packet += _exactly(sock, packet[1] | packet[2] << 8)
    match = re.search(rb"CONTENT_LENGTH..(\d+)", packet, re.DOTALL)
    return packet, _exactly(sock, int(match[1])) if match else b""


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        if not chunk:
            raise ConnectionError("closed")
        data += chunk
    return bytes(data)


class FakeNode:
    """A node made for a test: every connection gets a thread that runs behave(connection, number)."""

    def __init__(
        self,
        behave: Callable[[socket.socket, int], None] | None = None,
        path: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._behave = behave or self._echo_name
        self.packets: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        if path:
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listener.bind(path)
            self.address = path
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.socket(family, socket.SOCK_STREAM)
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((host, port))
            port = self._listener.getsockname()[1]
            self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._listener.listen(1024)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            number, self.connections = self.connections, self.connections + 1
            threading.Thread(target=self._run, args=(connection, number), daemon=True).start()

    def _run(self, connection: socket.socket, number: int) -> None:
        connection.settimeout(LIMIT)
        with connection, contextlib.suppress(OSError):
            self._behave(connection, number)

    def _echo_name(self, connection: socket.socket, number: int) -> None:
        packet, body = read_request(connection)
        self.packets.append(packet)
        self.bodies.append(body)
        connection.sendall(answer(self.address.encode()))

    def wait_for_requests(self, count: int) -> None:
        wait_until(lambda: self.connections >= count, f"{count} requests at the node")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(LIMIT)

    def __enter__(self) -> "FakeNode":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class HeldNode(FakeNode):
    """A node that keeps its answer back until released; entered says that it has a request."""

    def __init__(self) -> None:
        self.entered, self.release = threading.Event(), threading.Event()
        super().__init__(self._hold)

    def _hold(self, connection: socket.socket, number: int) -> None:
        packet, _ = read_request(connection)
        if packet[0] == PING:
            connection.sendall(bytes((PING, 0, 0, 1)))
            return
        self.entered.set()
        self.release.wait(LIMIT)
        connection.sendall(answer(b"served"))


class TakingNode(FakeNode):
    """Takes clients, and answers with their names for themselves and the length of what they sent."""

    def __init__(self, path, keeps=False):
        self.keeps = keeps
        self.taken = self.relayed = 0
        super().__init__(self._take, path=str(path))

    def _take(self, connection, number):
        with contextlib.suppress(EOFError):
            self._serve(connection)

    def _serve(self, connection):
        while connection is not None:
            with take(connection) as client:
                self.taken += isinstance(client, Taken)
                self.relayed += not isinstance(client, Taken)
                _, body = read_request(client)
                client.sendall(answer(f"{client.getpeername()} {len(body)}".encode()))
                keeps = self.keeps and isinstance(client, Taken)
                connection = client.release() if keeps else None


_PORTS = itertools.cycle(range(10_000, 32_768))
"""Below those that the kernel gives to who asks for none: nobody gets one of these but by asking for it."""

_CLAIMS: deque[int] = deque()
"""Descriptors: of names by which other test processes know that a port is spoken for that is still to be bound."""

_MOST_CLAIMS = 100
"""More than any test has; those of earlier tests are bound by now, or never will be."""


def free_port(host: str, kind: int = socket.SOCK_STREAM) -> str:
    """An address that nobody has, for a program that cannot say which port it was given."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = next(_PORTS)
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0fastrouter-test-{port}")
            with socket.socket(family, kind) as probe:
                probe.bind((host, port))
        except OSError:
            claim.close()
            continue
        _CLAIMS.append(claim.detach())
        if len(_CLAIMS) > _MOST_CLAIMS:
            os.close(_CLAIMS.popleft())
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def refusing_address() -> tuple[socket.socket, str]:
    """An address that refuses for as long as the socket is open: bound, but nobody listens."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    return sock, f"127.0.0.1:{sock.getsockname()[1]}"


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def in_threads(count: int, work: Callable[[int], object]) -> list[object]:
    """Run work(0) to work(count - 1) side by side and return the results in order."""
    results: list[object] = [None] * count

    def run(number: int) -> None:
        try:
            results[number] = work(number)
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(6 * LIMIT)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


@contextlib.contextmanager
def load(work: Callable[[], object], threads: int = 4) -> Iterator[list[object]]:
    """Call work again and again in threads while the block runs; yields the list of outcomes as it grows."""
    outcomes: list[object] = []
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            try:
                outcomes.append(work())
            except OSError as error:
                outcomes.append(error)

    running = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield outcomes
    finally:
        stopping.set()
        for thread in running:
            thread.join(LIMIT)
