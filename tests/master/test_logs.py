"""Where the log goes, and what happens there to files that are moved away."""

import contextlib
import fcntl
import logging
import os
import re
import signal
import socket
import tempfile
from pathlib import Path

import pytest
from harness import LIMIT, MASTER, Program, children, request, wait_until

from workers.sinks import FileSink

BASE = ("--fastrouter=127.0.0.1:0", "--fastrouter-to=127.0.0.1:9", "--fastrouter-gracetime=1")


def text(path):
    return path.read_text() if path.exists() else ""


def logs_to(path, *options):
    program = Program(MASTER, *BASE, f"--logto={path}", *options)
    wait_until(lambda: re.search("^ready$", text(path), re.MULTILINE), "the start")
    return program, re.search("fastrouter bound on (.*)", text(path))[1]


def test_a_file_that_is_moved_away_is_begun_anew_by_everybody(tmp_path):
    path, moved = tmp_path / "log", tmp_path / "log.1"
    program, address = logs_to(path)
    with program:
        path.rename(moved)
        # Children notice with the next line that they write, if they have not looked for a second.
        wait_until(lambda: request(address) == b"" and "unable to connect" in text(path), "a line of a child")
        program.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "statistics: fastrouter worker 1" in text(path), "a line of the master")
        assert program.stop() == 0
        assert "goodbye" in text(path) and "goodbye" not in text(moved)


@pytest.mark.parametrize("how", ["fifo", "touch"])
def test_reopening_and_rotating_on_demand(tmp_path, how):
    path = tmp_path / "log"
    options = (
        f"--master-fifo={tmp_path}/fifo",
        f"--touch-logreopen={tmp_path}/reopen",
        f"--touch-logrotate={tmp_path}/rotate",
        f"--log-backupname={tmp_path}/backup",
    )
    program, _ = logs_to(path, *options)

    def tell(command, file):
        if how == "fifo":
            Path(f"{tmp_path}/fifo").write_text(command)
        else:
            (tmp_path / file).touch()

    with program:
        path.rename(tmp_path / "log.1")
        tell("l", "reopen")
        said = "reopening the log"
        wait_until(lambda: said in text(tmp_path / "log.1") + text(path) and path.exists(), "a new file")
        tell("L", "rotate")
        wait_until(lambda: (tmp_path / "backup").exists() and path.exists(), "the backup")
        assert "ready" in text(tmp_path / "log.1")
        wait_until(lambda: "what was before is now" in text(path), "the word about it")
        assert program.stop() == 0
        assert "goodbye" in text(path)


def test_a_large_file_is_moved_away(tmp_path):
    path = tmp_path / "log"
    path.write_text("x" * 5000 + "\n")
    with Program(MASTER, *BASE, f"--logto={path}", "--log-maxsize=4096") as program:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "a backup")
        (backup,) = set(tmp_path.iterdir()) - {path}
        assert re.fullmatch(r"log\.\d+", backup.name) and text(backup).startswith("xxx")
        program.process.send_signal(signal.SIGUSR1)
        wait_until(
            lambda: "statistics: fastrouter worker" in text(path), "a line of the master in the new file"
        )
        assert program.stop() == 0
    with Program(MASTER, *BASE, f"--logto={path}", "--log-truncate") as second:
        wait_until(lambda: f"spawned fastrouter-master (pid: {second.pid})" in text(path), "the start")
        assert text(path).count("spawned fastrouter-master") == 1


def test_a_file_that_cannot_be_made_anew(tmp_path):
    """The old one is written to, as long as there is nothing better."""
    directory = tmp_path / "logs"
    directory.mkdir()
    path = directory / "log"
    program, address = logs_to(path)
    with program:
        directory.rename(tmp_path / "elsewhere")
        moved = tmp_path / "elsewhere" / "log"
        wait_until(lambda: request(address) == b"" and "unable to connect" in text(moved), "a line")
        directory.mkdir()
        wait_until(
            lambda: request(address) == b"" and "unable to connect" in text(path), "a line in the new file"
        )


def test_places_that_nobody_reads(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for option, problem in (
        (f"--logto={tmp_path}/fifo", "No such device or address"),
        ("--log-syslog", "/dev/log"),
        ("--log-journald", "/run/systemd/journal/socket"),
    ):
        with the_only_one(), Program(MASTER, *BASE, option) as program:
            assert program.wait() == 1
            program.wait_for(f"fastrouter-master: cannot start: .*{problem}")


def test_nobody_holds_a_file_that_is_gone(tmp_path):
    path = tmp_path / "log"
    config = tmp_path / "router.ini"
    config.write_text(f"[uwsgi]\nfastrouter = 127.0.0.1:0\nfastrouter-to = 127.0.0.1:9\nlogto = {path}\n")
    with Program(MASTER, "--ini", config) as program:
        for number in (1, 2):
            wait_until(lambda number=number: text(path).count("\nready\n") == number, "the start")
            if number == 1:
                program.process.send_signal(signal.SIGHUP)
        path.rename(tmp_path / "log.1")

        def held():
            program.process.send_signal(signal.SIGUSR1)
            links = []
            for fd in os.listdir(f"/proc/{program.pid}/fd"):
                with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
                    links.append(os.readlink(f"/proc/{program.pid}/fd/{fd}"))
            return f"{path}.1" in links

        wait_until(lambda: not held() and path.exists(), "that the old file is let go of")


def test_a_line_that_is_cut_short_does_not_spoil_the_next(monkeypatch, tmp_path):
    """As on a full disk, where half of a line may find room."""
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sink = FileSink(fd, opened=fd)
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    assert not sink.write(logging.INFO, "half a line")
    monkeypatch.undo()
    assert sink.write(logging.INFO, "a whole one")
    os.close(fd)
    assert (tmp_path / "log").read_text() == "half a \na whole one\n"


def test_levels(tmp_path):
    path = tmp_path / "log"
    with Program(
        MASTER, *BASE, "--log-level=warning", f"--logto={path}", f"--pidfile={tmp_path}/pid"
    ) as program:
        wait_until(lambda: "every request" in text(path) or (tmp_path / "pid").exists(), "the start")
        program.stop()
        assert "spawned" not in text(path) and "goodbye" not in text(path)
    with Program(MASTER, *BASE, "--log-level=loud") as program:
        assert program.wait() == 1
        program.wait_for("expected one of: debug, info, warning, error")


@pytest.fixture
def collector():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(LIMIT)
        yield sock, f"127.0.0.1:{sock.getsockname()[1]}"


def test_datagrams(collector):
    sock, address = collector
    with Program(MASTER, *BASE, f"--logto={address}") as program:
        lines = []
        while "ready" not in lines:
            data = sock.recv(4096)
            assert data.endswith(b"\n")
            lines.append(data.decode().strip())
        assert any("fastrouter bound on" in line for line in lines)
        assert program.stop() == 0
    with Program(MASTER, *BASE, "--logto=example.org:514") as program:
        assert program.wait() == 1
        program.wait_for("logto = example.org:514: expected a numeric address")


@contextlib.contextmanager
def the_only_one():
    """Two runs of the tests on one machine take turns."""
    with open(Path(tempfile.gettempdir()) / "fastrouter-tests-log-daemon", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.root
@pytest.mark.parametrize(
    ("path", "option", "form"),
    [
        ("/dev/log", "--log-syslog=edge", r"<30>\w{3} [ \d]\d \d\d:\d\d:\d\d edge\[\d+\]: ready"),
        ("/dev/log", "--log-syslog", r"<30>.* fastrouter\[\d+\]: ready"),
        (
            "/run/systemd/journal/socket",
            "--log-journald",
            r"PRIORITY=6\nSYSLOG_IDENTIFIER=fastrouter\nMESSAGE\n\x05\0{7}ready\n",
        ),
    ],
    ids=["syslog", "syslog-plain", "journald"],
)
def test_the_logs_of_the_machine(tmp_path, path, option, form):
    """A log daemon made for the test: what counts is the form, and that nobody waits for it."""
    there = Path(path)
    there.parent.mkdir(parents=True, exist_ok=True)
    with the_only_one(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        assert not there.exists(), f"{path} is in use on this machine"
        sock.bind(path)
        sock.settimeout(LIMIT)
        try:
            with Program(MASTER, *BASE, option) as program:
                while not re.fullmatch(form, (said := sock.recv(65536).decode("latin-1")), re.DOTALL):
                    assert "goodbye" not in said
                # It stops reading, and then it is replaced.
                for _ in range(2000):
                    program.process.send_signal(signal.SIGUSR1)
                there.unlink()
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as next_one:
                    next_one.bind(path)
                    next_one.settimeout(LIMIT)
                    sock.close()
                    program.process.send_signal(signal.SIGTERM)
                    while "goodbye" not in next_one.recv(65536).decode("latin-1"):
                        pass
                    assert program.wait() == 0
        finally:
            there.unlink(missing_ok=True)


def test_levels_for_the_journal():
    """Where systemd reads standard error, it is told the level of each line."""
    reader, writer = os.pipe()
    status = os.fstat(writer)
    environment = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    script = 'exec 2>&"$1"; shift; exec "$@"'
    with os.fdopen(reader) as lines:
        with Program(
            "bash", "-c", script, "sh", str(writer), MASTER, *BASE, fds=(writer,), env=environment
        ) as program:
            os.close(writer)
            said = ""
            while said != "<6>ready":
                said = lines.readline().strip()
            (worker,) = children(program.pid, "fastrouter worker")
            os.kill(worker, signal.SIGKILL)
            while not said.startswith("<3>"):
                said = lines.readline().strip()
            assert said.startswith("<3>fastrouter worker 1 died of SIGKILL")
