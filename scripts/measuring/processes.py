"""Routers, nodes and clients: started, found, ended."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Bench", "RunningRouter", "free_address"]

BIN = Path(sys.executable).parent
LOAD_SOURCE = Path(__file__).resolve().parent.parent / "load.c"


@dataclass
class RunningRouter:
    name: str
    address: str
    workers: list[psutil.Process]

    def cpu(self) -> list[int]:
        """Nanoseconds of each worker: the first field of /proc/PID/schedstat."""
        return [int(Path(f"/proc/{one.pid}/schedstat").read_text().split()[0]) for one in self.workers]


class Bench:
    """One run, in a directory of its own."""

    def __init__(self, place: Path, seconds: float, connections: int, floor: str = "") -> None:
        """floor is a program that is given LISTEN and NODE addresses; the default is load's own relay."""
        self.place, self.seconds, self.connections = place, seconds, connections
        self.load = str(place / "load")
        subprocess.run(["gcc", "-O2", "-w", "-o", self.load, LOAD_SOURCE], check=True)
        self.floor = [floor] if floor else [self.load, "relay"]
        found = shutil.which("uwsgi", path=f"{BIN}:{os.environ['PATH']}")
        if found is None:
            sys.exit("bench: there is no uwsgi to compare with; scripts/bench installs it")
        self.uwsgi = found

    @contextmanager
    def node(self, kind: str, size: int, host: str = "127.0.0.1", keeps: bool = False) -> Iterator[str]:
        """A node over tcp or unix that answers with size bytes, and keeps the connection."""
        address = free_address(host) if kind == "tcp" else str(self.place / f"node{size}{keeps:d}.sock")
        words = [self.load, "node", address, str(size), *(["keep"] if keeps else [])]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield address
        finally:
            process.kill()
            process.wait()
            if kind == "unix":
                os.unlink(address)

    @contextmanager
    def router(
        self,
        name: str,
        options: Sequence[str],
        listen: str = "tcp",
        workers: int = 1,
        prefix: str = "fastrouter",
    ) -> Iterator[RunningRouter]:
        """Start "uwsgi", "floor" or "haproxy" (whose first option is their node's), or else ours.

        prefix says which router of uWSGI's and of ours it is.
        """
        address = free_address() if listen == "tcp" else str(self.place / f"{name.replace(' ', '-')}.sock")
        listener, count = f"--{prefix}={address}", f"--{prefix}-processes={workers}"
        if name == "floor":
            command = [*self.floor, address, options[0].partition("=")[2]]
        elif name == "haproxy":
            command = ["haproxy", "-db", "-f", self._haproxy_file(address, options[0].partition("=")[2])]
        elif name == "uwsgi":
            more = [count, "--master", "--listen=1024", "--chmod-socket"]
            command = [self.uwsgi, listener, *more, *options]
        else:
            command = [str(BIN / "fastrouter-master"), listener, count, *options]
        with open(self.place / f"{name.split()[0]}.log", "w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.place)
            try:
                yield RunningRouter(name, address, workers_of(name, process, address, workers))
            finally:
                process.send_signal(signal.SIGKILL if name in ("floor", "haproxy") else signal.SIGINT)
                process.wait()

    def _haproxy_file(self, address: str, node: str) -> str:
        """A configuration for a relay of connections with one thread, and nothing else that costs time."""
        file = self.place / "haproxy.cfg"
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 100
        server = f"unix@{node}" if node.startswith("/") else node
        file.write_text(
            f"global\n nbthread 1\n maxconn {most}\n"
            "defaults\n mode tcp\n timeout client 1h\n timeout server 1h\n timeout connect 5s\n"
            f"listen relay\n bind {address}\n server node {server}\n"
        )
        return str(file)

    @contextmanager
    def routers(
        self,
        options: dict[str, Sequence[str]],
        listen: str = "tcp",
        workers: int = 1,
        prefix: str = "fastrouter",
    ) -> Iterator[list[RunningRouter]]:
        """Several, side by side, so that each is measured in the same moments as the others."""
        with ExitStack() as stack:
            yield [
                stack.enter_context(self.router(name, words, listen, workers, prefix))
                for name, words in options.items()
            ]

    def client(
        self, address: str, connections: int, seconds: float, keys: int = 0, rate: int = 0, body: int = 0
    ) -> dict[str, float]:
        words = [address, str(connections), str(seconds), str(keys), str(rate), str(body)]
        done = subprocess.run([self.load, "client", *words], check=True, capture_output=True, text=True)
        result: dict[str, float] = json.loads(done.stdout)
        return result

    @contextmanager
    def idle(self, address: str, connections: int, size: int) -> Iterator[None]:
        """Connections that have sent size bytes of a request."""
        words = [self.load, "idle", address, str(connections), str(size)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        if not process.stdout.readline():
            sys.exit("bench: no idle connections")
        try:
            yield
        finally:
            process.kill()
            process.wait()


def free_address(host: str = "127.0.0.1") -> str:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"{host}:{probe.getsockname()[1]}"


def workers_of(
    name: str, process: "subprocess.Popen[bytes]", address: str, count: int
) -> list[psutil.Process]:
    """The processes that route, once they have come up."""
    parent = psutil.Process(process.pid)
    while process.poll() is None:
        found = [parent] if name in ("floor", "haproxy") else []
        for child in parent.children():
            title = " ".join(child.cmdline())
            if "router worker" in title or name == "uwsgi":  # which keeps its command line
                found.append(child)
        if len(found) >= count and accepts(address):
            return found[-count:] if name == "uwsgi" else found
        time.sleep(0.05)
    sys.exit(f"bench: {name} ended")


def accepts(address: str) -> bool:
    family = socket.AF_UNIX if address.startswith("/") else socket.AF_INET
    host, _, port = address.rpartition(":")
    with socket.socket(family) as probe:
        return probe.connect_ex(address if family == socket.AF_UNIX else (host, int(port))) == 0
