"""One router, real uWSGI's or this one, with the same options and nodes in front of the same questions."""

import contextlib
import re
import socket
import threading
import zlib
from pathlib import Path

import psutil
from harness import (
    LIMIT,
    MASTER,
    FakeNode,
    HeldNode,
    Program,
    connect,
    free_port,
    read_all,
    read_request,
    refusing_address,
    send_announcement,
    wait_until,
)
from parts import announcement

from fastrouter.client import request_packet
from fastrouter.wire.announcement import Announcement
from fastrouter.wire.packet import encode

NAMES = "ABC"


class NamedNode(FakeNode):
    """Answers with its name, the modifiers of the packet, and the size and checksum of the body."""

    def __init__(self, name, path="", at=("127.0.0.1", 0)):
        self.name = name
        super().__init__(self._say, path, host=at[0], port=at[1])

    def _say(self, connection, number):
        packet, body = read_request(connection)
        self.packets.append(packet)
        self.bodies.append(body)
        said = f"{self.name} {packet[0]}/{packet[3]}"
        if body:
            said += f" {len(body)}:{zlib.crc32(body):08x}"
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + said.encode())


class Stage:
    """A started router. What scenarios use: ask, announce, log, nodes."""

    def __init__(
        self, uwsgi: str | None, directory: Path, options, files=None, nodes=(), prefix="fastrouter"
    ) -> None:
        """uwsgi is the program, None for ours. options may refer to {A}, {dead}, {missing}, {dir}..."""
        self.is_uwsgi = uwsgi is not None
        self.prefix = prefix
        self.dir = directory
        directory.mkdir()
        self._stack = contextlib.ExitStack()
        self.nodes = {name: self._stack.enter_context(NamedNode(name)) for name in NAMES}
        self._dead, address = refusing_address()
        self._stack.enter_context(self._dead)
        self.places = {name: node.address for name, node in self.nodes.items()}
        self.places |= {"dead": address, "missing": str(directory / "missing.sock"), "dir": str(directory)}
        self.places |= {"free": free_port("127.0.0.1"), "free6": free_port("::1")}
        self.places |= {"udp": free_port("127.0.0.1", socket.SOCK_DGRAM), "udp_taken": self._take_udp()}
        self.places["deaf"] = self._deaf()
        for name, path in nodes:
            path = self.place(path)
            if not path.startswith("\0"):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self.nodes[name] = self._stack.enter_context(NamedNode(name, path))
        for name, text in (files or {}).items():
            (directory / name).write_text(self.place(text))
        options = [self.place(option) for option in options]
        self.address = str(directory / "router.sock")
        if f"--{prefix}" not in options and "--ini" not in options:
            options = [f"--{prefix}", self.address, *options]
        start = [uwsgi, "--master", "--listen=100"] if uwsgi else [MASTER]
        self.program = self._stack.enter_context(Program(*start, *options, cwd=directory))

    def _take_udp(self) -> str:
        """A datagram address that somebody has, who would share it."""
        sock = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"

    def _deaf(self) -> str:
        """An address where connections are neither accepted nor refused: its backlog is full."""
        sock = self._stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for _ in range(3):
            caller = self._stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(sock.getsockname())
        return f"127.0.0.1:{sock.getsockname()[1]}"

    def place(self, text: str) -> str:
        for name, value in self.places.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def wait_started(self) -> None:
        self.program.wait_for(self._started)

    @property
    def _started(self) -> str:
        return rf"spawned uWSGI {self.prefix} 1 \(pid" if self.is_uwsgi else "^ready$"

    def outcome(self) -> object:
        """Of the start: that it runs, or the exit code."""

        def found():
            if self.program.process.poll() is not None:
                return [self.program.wait()]
            return any(re.search(self._started, line) for line in self.program.lines) and ["runs"]

        return wait_until(found, "a start, or an end")[0]

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, kind, error, trace) -> None:
        if error is not None:
            error.add_note(f"output:\n{self.program.output}")
        self.close()

    # Questions

    def ask(self, host="foo.com", body=b"", method=None, limit=LIMIT, address=None, **variables) -> str:
        """Who answers a request, and how; empty for a connection closed without a word."""
        packet = request_packet(method or ("POST" if body else "GET"), f"http://{host}/", body, variables)
        return self.send(packet + body, limit, address)

    def ask_with(self, *pairs, modifiers=(0, 0)) -> str:
        """The same for a packet of just these variables, in this order."""
        encoded = [(name.encode(), value.encode()) for name, value in pairs]
        return self.send(encode(encoded, *modifiers))

    def send(self, data: bytes, limit=LIMIT, address=None) -> str:
        """What comes back for these bytes."""
        with connect(address or self.address, limit) as sock:
            with contextlib.suppress(BrokenPipeError):
                sock.sendall(data)
            return self.read(sock)

    @staticmethod
    def read(sock: socket.socket) -> str:
        try:
            return read_all(sock).rpartition(b"\r\n\r\n")[2].decode("latin-1")
        except TimeoutError:
            return "no end"

    def connect(self) -> socket.socket:
        return self._stack.enter_context(connect(self.address))

    # Announcements: to {dir}/sub.sock

    def announce(self, key, node, **fields) -> None:
        address = self.places.get(node) or (self.nodes[node].address if node in self.nodes else node)
        before = self.log_count(f"{key} => new node: {address}")
        self.datagram(announcement(key, address, **fields))
        wait_until(lambda: self.log_count(f"{key} => new node: {address}") > before, f"{key} to be announced")

    def refresh(self, key, node, **fields) -> None:
        self.datagram(announcement(key, self.places[node], **fields))
        self.settle()

    def unsubscribe(self, key, node) -> None:
        self.refresh(key, node, unsubscribe=True)

    def datagram(self, announcement) -> None:
        send_announcement(str(self.dir / "sub.sock"), announcement)

    def settle(self) -> None:
        """Wait until everything that was sent before has been taken."""
        self._barriers = getattr(self, "_barriers", 0) + 1
        self.announce(f"barrier-{self._barriers}", "A")

    def everybody_knows(self, processes) -> None:
        """Wait until every process has heard of the latest node."""
        if self.is_uwsgi:
            wait_until(lambda: len({line.split("]")[0] for line in self.program.lines if "new node" in line}) == processes,
                       "all to know")  # fmt: skip
        else:
            self.settle()

    def kill_router(self) -> None:
        """Kill a process that routes, and wait for its successor."""
        (process,) = self.router_processes()
        process.kill()
        self.logged(rf"respawned (uWSGI {self.prefix}|{self.prefix} worker) 1")
        wait_until(lambda: [one.pid for one in self.router_processes()] != [process.pid], "another")

    def drop_barriers(self) -> None:
        """Unsubscribe what settle() announced, and give both time to see that nothing is left."""
        for number in range(1, getattr(self, "_barriers", 0) + 1):
            self.datagram(Announcement(f"barrier-{number}", self.places["A"], unsubscribe=True))
        for number in range(1, getattr(self, "_barriers", 0) + 1):
            self.logged(rf"barrier-{number} => (marking .* as failed|.* has left)")
        self.pause(0.3)

    # Nodes of the scenario's own

    def keep(self, node):
        """Close a node when the stage closes."""
        return self._stack.enter_context(node)

    def hold(self) -> HeldNode:
        """A node that keeps requests until the end."""
        node = self.keep(HeldNode())
        self._stack.callback(node.release.set)
        return node

    def revive(self, name, address) -> None:
        """Listen where nobody did."""
        self._dead.close()
        host, _, port = address.rpartition(":")
        self.keep(NamedNode(name, at=(host, int(port))))

    @staticmethod
    def pause(seconds) -> None:
        """For what is about time itself."""
        threading.Event().wait(seconds)

    # What else can be seen

    def log_count(self, text: str) -> int:
        return sum(text in line for line in self.program.lines)

    def logged(self, pattern: str) -> bool:
        self.program.wait_for(pattern)
        return True

    def router_processes(self, count=1):
        """The processes that route, once there are count of them."""
        title = "" if self.is_uwsgi else f"{self.prefix} worker"

        def found():
            children = psutil.Process(self.program.pid).children()
            routers = [child for child in children if title in " ".join(child.cmdline())]
            return routers if len(routers) >= count else []

        return wait_until(found, f"{count} processes that route")
