"""Trials under load of what an operator relies on; each says what was lost, what requests took, what grew.

  scripts/soak churn 600     nodes join and leave every second, a router worker is killed every ten seconds
  scripts/soak reload 60     10 reloads, 3 upgrades in place, 5 other numbers of workers, 5 broken files
  scripts/soak readers 60    readers of a report of 10 MB that do not read, beside 1,000 requests a second

The load is 16 connections, each with one request after the other.
"""

import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from fastrouter.wire.announcement import Announcement

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
NODES = 6


class Trial:
    """A router with nodes, in a directory of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.load = str(place / "load")
        subprocess.run(["gcc", "-O2", "-o", self.load, HERE / "load.c"], check=True)
        self.address, self.server, self.stats = (free_port(kind) for kind in (1, 2, 1))
        self.file, self.log = place / "router.ini", place / "log"
        self.configure(2)

    def configure(self, processes: int, extra: str = "") -> None:
        self.file.write_text(
            f"[uwsgi]\nfastrouter = {self.address}\nfastrouter-subscription-server = {self.server}\n"
            f"fastrouter-stats = {self.stats}\nfastrouter-processes = {processes}\n"
            f"subscription-tolerance = 3600\nlogto = {self.log}\n{extra}\n"
        )

    @contextmanager
    def running(self) -> Iterator[psutil.Process]:
        with ExitStack() as stack:
            self.nodes = [stack.enter_context(self.node()) for _ in range(NODES)]
            process = subprocess.Popen([BIN / "fastrouter-master", "--ini", self.file], cwd=self.place)
            try:
                self.wait_for("ready", 1)
                yield psutil.Process(process.pid)
            finally:
                process.terminate()
                print(f"exit code {process.wait()}")

    @contextmanager
    def node(self) -> Iterator[str]:
        address = free_port(1)
        process = subprocess.Popen([self.load, "node", address, "100"], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield address
        finally:
            process.kill()
            process.wait()

    def logged(self, line: str) -> int:
        return f"\n{self.log.read_text()}".count(f"\n{line}") if self.log.exists() else 0

    def wait_for(self, line: str, count: int) -> None:
        deadline = time.monotonic() + 60
        while self.logged(line) < count:
            if time.monotonic() > deadline:
                sys.exit(f"soak: waited a minute for {line!r}:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.01)

    def announce(self, *announcements: Announcement) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for one in announcements:
                sock.sendto(one.encode(), dial(self.server))

    def client(self, seconds: float, rate: int = 0) -> subprocess.Popen[str]:
        connections = "64" if rate else "16"
        command = [self.load, "client", self.address, connections, str(seconds), "0", str(rate)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def churn(trial: Trial, seconds: float) -> None:
    with trial.running() as master:
        joined = list(trial.nodes[: NODES // 2])
        trial.announce(*(Announcement("foo.com", one) for one in joined))
        trial.wait_for("[uwsgi-subscription for pid", 3)
        client, began, kills, inside = trial.client(seconds), time.monotonic(), 0, 0
        samples = [sizes(master)]
        for second in range(1, int(seconds)):
            time.sleep(max(began + second - time.monotonic(), 0))
            absent = [one for one in trial.nodes if one not in joined]
            joined.append(random.choice(absent))
            left = joined.pop(0)
            trial.announce(
                Announcement("foo.com", joined[-1]), Announcement("foo.com", left, unsubscribe=True)
            )
            if second % 10 == 0:
                inside += kill_a_worker(master, trial.address)
                kills += 1
            if second % 30 == 5:
                samples.append(sizes(master))
        result = finished(client)
        samples.append(sizes(master))
        print(
            f"{kills} router workers killed, which had {inside} connections of clients;"
            f" {int(seconds) - 1} nodes joined and left"
        )
        print(
            f"{result['requests']} requests, {result['errors']} without an answer;"
            f" p50 {1000 * result['p50']:.1f} ms, p99 {1000 * result['p99']:.1f} ms"
        )
        report(samples)


def kill_a_worker(master: psutil.Process, address: str) -> int:
    """The first one; the others live as long as the trial. Returns the connections of clients that it had."""
    (worker,) = [child for child in master.children() if title(child).endswith("fastrouter worker 1")]
    worker.send_signal(signal.SIGSTOP)
    connections = worker.net_connections("tcp")
    inside = sum(one.laddr == dial(address) and one.status != psutil.CONN_LISTEN for one in connections)
    worker.kill()
    return inside


def sizes(master: psutil.Process) -> dict[str, tuple[int, int]]:
    """Of each process: private memory in kB, and descriptors."""
    found = {}
    for process in (master, *master.children()):
        try:
            found[title(process)] = (process.memory_full_info().uss >> 10, process.num_fds())
        except psutil.NoSuchProcess:
            pass
    return found


def report(samples: list[dict[str, tuple[int, int]]]) -> None:
    """How memory and descriptors went, from a first look after the start to the end."""
    third = samples[1 : max(len(samples) // 3, 2)], samples[-max(len(samples) // 3, 1) :]
    for name in samples[-1]:
        rows = [[sample[name] for sample in part if name in sample] for part in third]
        if not all(rows):
            continue
        (memory, fds), (later, fds_later) = (
            [statistics.median(row[at] for row in part) for at in (0, 1)] for part in rows
        )
        print(f"{name:40} {memory:8.0f} kB -> {later:8.0f} kB   {fds:3.0f} -> {fds_later:3.0f} descriptors")


def reload(trial: Trial, seconds: float) -> None:
    program = next(iter(Path(sys.modules["fastrouter"].__path__[0]).parent.glob("master/program.py")))
    with trial.running() as master:
        trial.announce(*(Announcement("foo.com", one) for one in trial.nodes))
        trial.wait_for("[uwsgi-subscription for pid", NODES)
        quiet = finished(trial.client(5))
        client, began = trial.client(seconds), time.monotonic()
        actions = ["reload"] * 10 + ["upgrade"] * 3 + ["workers"] * 5 + ["broken"] * 5
        random.shuffle(actions)
        ready, failed = 1, 0
        for number, action in enumerate(actions):
            time.sleep(max(began + 1 + number * (seconds - 6) / len(actions) - time.monotonic(), 0))
            if action == "broken":
                trial.configure(
                    2, random.choice(["fastrouter-timeout = x", "fastrouter = 192.0.2.1:1", "listen = x"])
                )
                failed += 1
            else:
                trial.configure(random.randint(1, 4) if action == "workers" else 2)
                ready += 1
            if action == "upgrade":
                os.utime(program)
            master.send_signal(signal.SIGHUP)
            trial.wait_for("ready", ready)
            trial.wait_for("cannot reload with this configuration", failed)
        result = finished(client)
        print(f"{', '.join(f'{actions.count(one)} {one}' for one in sorted(set(actions)))}")
        print(f"{result['requests']} requests, {result['errors']} without an answer")
        print(f"p99 {1000 * result['p99']:.1f} ms, quiet {1000 * quiet['p99']:.1f} ms:"
              f" {result['p99'] / quiet['p99']:.2f}")  # fmt: skip


def readers(trial: Trial, seconds: float) -> None:
    with trial.running():
        trial.announce(Announcement("foo.com", trial.nodes[0]))
        for number in range(15_000):
            trial.announce(
                Announcement(f"{'key' * 20}{number}.com", f"10.0.{number // 250}.{number % 250}:80")
            )
            if number % 100 == 0:
                time.sleep(0.02)
        size = len(read(trial.stats))
        found: dict[str, list[dict[str, float]]] = {"quiet": [], "stuck": [], "reading": []}
        for number in range(max(int(seconds / 4), 3)):
            state = list(found)[number % 3]
            with asking(trial.stats, state):
                found[state].append(finished(trial.client(4, 1000)))
        print(f"a report of {size / 1e6:.1f} MB; 1,000 requests a second, p99 in the median of the slices:")
        for state, results in found.items():
            requests, errors = (sum(result[name] for result in results) for name in ("requests", "errors"))
            p99 = 1000 * statistics.median(result["p99"] for result in results)
            print(f"  {state:8} {p99:.2f} ms, {requests} requests, {errors} without an answer")


@contextmanager
def asking(address: str, state: str) -> Iterator[None]:
    """While it runs: ten who ask and do not read, or one who reads again and again."""
    if state == "stuck":
        sockets = []
        for _ in range(10):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(dial(address))
            sockets.append(sock)
        time.sleep(4)  # until all reports are made
        yield
        for sock in sockets:
            sock.close()
        return
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(0.5):
            read(address)

    thread = threading.Thread(target=go_on)
    if state == "reading":
        thread.start()
    yield
    stop.set()
    if state == "reading":
        thread.join()


def read(address: str) -> bytes:
    data = bytearray()
    with socket.create_connection(dial(address)) as sock:
        while chunk := sock.recv(1 << 20):
            data += chunk
    return bytes(data)


def finished(client: subprocess.Popen[str]) -> dict[str, float]:
    said, _ = client.communicate()
    return dict(json.loads(said))


def title(process: psutil.Process) -> str:
    return " ".join(process.cmdline()).strip()


def dial(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def free_port(kind: int) -> str:
    with socket.socket(socket.AF_INET, socket.SocketKind(kind)) as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


def main() -> None:
    trials = {"churn": churn, "reload": reload, "readers": readers}
    if len(sys.argv) != 3 or sys.argv[1] not in trials:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as place:
        trials[sys.argv[1]](Trial(Path(place)), float(sys.argv[2]))


main()
