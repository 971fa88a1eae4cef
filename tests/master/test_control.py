"""The master's named pipe, pausing, and files that are touched."""

import os
import pwd
import re
import signal
import stat
import tempfile
from pathlib import Path

import pytest
from harness import MASTER, FakeNode, Program, Router, children, connect, load, read_all, request, wait_until

from fastrouter.client import request_packet


@pytest.fixture
def place(tmp_path, app_file):
    """A configuration with everything that commands are about."""
    file = tmp_path / "router.ini"
    file.write_text(
        "[uwsgi]\n"
        "fastrouter = 127.0.0.1:0\n"
        "fastrouter-subscription-server = 127.0.0.1:0\n"
        "socket = 127.0.0.1:0\n"
        f"wsgi-file = {app_file}\n"
        "processes = 2\n"
        f"master-fifo = {tmp_path}/first\n"
        f"master-fifo = {tmp_path}/second\n"
        f"pidfile = {tmp_path}/pid\n"
        f"logto = {tmp_path}/log\n"
    )
    return tmp_path


class Controlled(Program):
    """A router that logs to a file, and is told what to do through a pipe."""

    def __init__(self, place, *arguments):
        self.place = place
        super().__init__(MASTER, "--ini", place / "router.ini", *arguments)
        self.logged("^ready$")

    def tell(self, command, pipe="first"):
        with open(self.place / pipe, "w") as file:
            file.write(command)

    def logged(self, pattern, count=1):
        return wait_until(lambda: _found(self.place / "log", pattern, count), f"line {count} like {pattern}")

    def children(self, title):
        return set(children(self.pid, title))


def _found(file, pattern, count=1):
    matches = re.findall(pattern, file.read_text() if file.exists() else "", re.MULTILINE)
    return matches[count - 1] if len(matches) >= count else None


def test_commands(place):
    with Controlled(place) as router:
        assert stat.S_IMODE((place / "first").stat().st_mode) == 0o600
        router.tell("s\n")
        router.logged("statistics: fastrouter: 0 announcements")
        (place / "pid").unlink()
        router.tell("P")
        router.logged("pid written to", 2)
        assert (place / "pid").read_text() == f"{router.pid}\n"
        (place / "pid").unlink()
        (place / "pid").mkdir()
        router.tell("P")
        router.logged("cannot write the pid to .*: Is a directory")
        (place / "pid").rmdir()
        router.tell("x?")
        router.logged("master fifo: there is no command x here")
        router.tell("1")
        router.logged(f"active master fifo is now {place}/second")
        with pytest.raises(OSError, match="No such device or address"):  # nobody reads that now
            os.open(place / "first", os.O_WRONLY | os.O_NONBLOCK)
        router.tell("0", "second")
        router.logged(f"active master fifo is now {place}/first")
        router.tell("+")
        router.logged("^ready$", 2)
        wait_until(lambda: len(router.children("fastrouter worker")) == 2, "another fastrouter worker")
        router.tell("-")
        router.logged("^ready$", 3)
        wait_until(lambda: len(router.children("fastrouter worker")) == 1, "one less")
        router.tell("r")
        router.logged("^ready$", 4)
        inode = (place / "first").stat().st_ino
        router.tell("R")
        router.logged("^ready$", 5)
        assert (place / "first").stat().st_ino == inode, "who holds it open can go on"
        router.tell("q")
        assert router.wait() == 0


@pytest.mark.parametrize(("command", "first"), [("q", "gracefully"), ("Q", "at once")])
def test_stops(place, command, first):
    with Controlled(place) as router:
        router.tell(command)
        assert router.wait() == 0
        router.logged(f"stopping {first}")


@pytest.mark.parametrize("how", ["w", "W", "c", "touch-workers-reload", "touch-chain-reload"])
def test_app_workers_are_replaced(place, app_file, how):
    touched = place / "touched"
    extra = [f"--{how}={touched}"] if how.startswith("touch") else []
    with Controlled(place, *extra) as router:
        address = router.logged("app workers bound on (.*)")
        before, routers = router.children("app worker"), router.children("fastrouter worker")
        app_file.write_text(app_file.read_text().replace("pid=", "new pid="))
        with load(lambda: request(address)) as answers:
            wait_until(lambda: len(answers) > 20, "some requests")
            if extra:
                touched.touch()
            else:
                router.tell(how)
            wait_until(lambda: not before & router.children("app worker"), "the end of the former")
            wait_until(lambda: b"new pid" in answers[-1], "answers of the new")
        wait_until(lambda: len(router.children("app worker")) == 2, "both")
        assert router.children("fastrouter worker") == routers
        if how != "W":  # which has no mercy
            assert all(isinstance(one, bytes) and b"pid=" in one for one in answers)
        for number in (1, 2):
            router.logged(f"respawned app worker {number}")
        log = (place / "log").read_text()
        ends = [log.index(f"respawned app worker {number}") for number in (1, 2)]
        if how in ("c", "touch-chain-reload"):
            second = log.index("chain reload: app worker 2")
            assert ends[0] < second < ends[1]


def test_a_brutal_reload_waits_for_nobody(place):
    def hold(connection, number):
        entered.append(number)
        connection.recv(1 << 20)
        connection.recv(1)  # until somebody hangs up

    entered = []
    with (
        FakeNode(hold) as node,
        Controlled(
            place, f"--fastrouter-fallback={node.address}", "--fastrouter-fallback-on-no-key"
        ) as router,
    ):
        address = router.logged("fastrouter bound on (.*)")
        with connect(address) as client:
            client.sendall(request_packet("GET", "http://foo.com/", b"", {}))
            wait_until(lambda: entered, "the request")
            former = router.children("fastrouter worker")
            router.tell("R")
            assert read_all(client) == b""
            wait_until(lambda: not former & router.children("fastrouter worker"), "the end of the former")
        router.logged("^ready$", 2)


@pytest.mark.parametrize("how", ["fifo", "signal"])
def test_pausing(tmp_path, node, app_file, how):
    """Nothing is accepted, and the application is taken back; over a reload, too."""
    fifo = tmp_path / "fifo"

    def pause(router):
        if how == "fifo":
            fifo.write_text("p")
        else:
            router.process.send_signal(signal.SIGTSTP)

    with Router("--fastrouter=127.0.0.1:0", "--fastrouter-subscription-server=127.0.0.1:0") as upper:
        announcing = (
            "--socket=127.0.0.1:0",
            f"--wsgi-file={app_file}",
            f"--subscribe-to={upper.server}:foo.com",
        )
        command = ("--fastrouter=127.0.0.1:0", f"--fastrouter-to={node.address}", f"--master-fifo={fifo}")
        with Router(*command, *announcing, "--fastrouter-processes=2") as router:
            upper.wait_for("new node")
            assert request(router.address)
            pause(router)
            router.wait_for("^paused$")
            upper.wait_for(".* has left")
            # A second later nobody accepts.
            former = set(router.pids("fastrouter worker", 2))
            router.process.send_signal(signal.SIGHUP)
            router.wait_for("^ready$", 2)
            wait_until(lambda: not former & set(router.pids("fastrouter worker", 2)), "the end of the former")
            with connect(router.address) as client:
                client.sendall(request_packet("GET", "http://foo.com/", b"", {}))
                before = node.connections
                client.settimeout(1.5)
                with pytest.raises(TimeoutError):
                    client.recv(1)
                assert node.connections == before
                client.settimeout(10)
                pause(router)
                router.wait_for("^resumed$")
                assert b"200 OK" in read_all(client), "it has waited in the backlog"
            upper.wait_for("new node", 2)


def test_subscriptions_can_be_blocked(tmp_path, app_file):
    fifo = tmp_path / "fifo"
    with Router("--fastrouter=127.0.0.1:0", "--fastrouter-subscription-server=127.0.0.1:0") as upper:
        command = (
            "--socket=127.0.0.1:0",
            f"--wsgi-file={app_file}",
            f"--subscribe-to={upper.server}:foo.com",
        )
        with Program(MASTER, *command, "--start-unsubscribed", f"--master-fifo={fifo}") as node:
            node.wait_for("^ready$")
            fifo.write_text("S")
            node.wait_for("subscriptions re-enabled")
            upper.wait_for("new node")
            fifo.write_text("S")
            node.wait_for("subscriptions blocked")
            assert node.stop() == 0
        assert "as failed" not in upper.output, "not even an unsubscription was sent"


def test_what_is_no_pipe_stays(tmp_path, node):
    file = tmp_path / "file"
    file.write_text("precious")
    with Program(
        MASTER, "--fastrouter=127.0.0.1:0", f"--fastrouter-to={node.address}", f"--master-fifo={file}"
    ) as program:
        assert program.wait() == 1
        program.wait_for("cannot start: .*it is not a pipe")
    assert file.read_text() == "precious"


def test_a_pipe_that_somebody_reads_is_not_taken_away(place):
    with Controlled(place) as router:
        with Program(
            MASTER, "--fastrouter=127.0.0.1:0", "--fastrouter-to=127.0.0.1:9", f"--master-fifo={place}/first"
        ) as other:
            assert other.wait() == 1
            other.wait_for("cannot start: .*another program")
        router.tell("q")
        assert router.wait() == 0


@pytest.mark.root
def test_the_pipe_is_the_user_s_and_outlives_what_happens_to_it():
    """With a uid, in a directory where that user may not make another one; and over reloads."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        place.chmod(0o755)
        pipes = [f"--master-fifo={place}/{name}" for name in ("first", "second")]
        base = (
            "--fastrouter=127.0.0.1:0",
            "--fastrouter-to=127.0.0.1:9",
            "--uid=nobody",
            "--cap=dac_read_search",
        )
        with Router(*base, *pipes) as router:
            nobody = pwd.getpwnam("nobody")
            status = (place / "second").stat()
            assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (
                nobody.pw_uid,
                nobody.pw_gid,
                0o600,
            )
            (place / "first").write_text("1")
            router.wait_for("active master fifo is now .*/second")
            for number in (2, 3):
                router.process.send_signal(signal.SIGHUP)
                router.wait_for("^ready$", number)
                (place / "second").write_text("s")
                router.wait_for("statistics: fastrouter: 0 announcements", number - 1)
                (place / "first").unlink(missing_ok=True)
            router.wait_for("cannot make the pipe .*/first: ")
            assert router.stop() == 0


def test_a_pipe_is_taken_over_from_another_instance(place, node):
    """As in a zerg dance: each in turn is the one that the second pipe commands."""
    with Controlled(place) as router:
        router.tell("1")
        router.logged(f"active master fifo is now {place}/second")
        pipes = [f"--master-fifo={place}/{name}" for name in ("first", "second")]
        with Router("--fastrouter=127.0.0.1:0", f"--fastrouter-to={node.address}", *pipes) as other:
            (place / "first").write_text("1")
            other.wait_for(f"active master fifo is now {place}/second")
            (place / "second").write_text("s")
            other.wait_for("statistics: fastrouter: 0 announcements")
            (place / "second").write_text("q")
            assert other.wait() == 0
        assert "statistics" not in (place / "log").read_text()
        assert router.stop() == 0


def test_vacuum_takes_the_pipe(place):
    with Controlled(place, "--vacuum") as router:
        router.tell("q")
        assert router.wait() == 0
    assert not (place / "first").exists() and not (place / "pid").exists()


def test_commands_while_it_is_reloaded(place):
    """What is written in the moment of a reload is obeyed after it."""
    with Controlled(place) as router:
        fd = os.open(place / "first", os.O_WRONLY)
        for _ in range(10):
            os.write(fd, b"rs")
        os.close(fd)
        router.logged("statistics: fastrouter: 0 announcements", 10)
        router.logged("^ready$", 2)
        router.tell("q")
        assert router.wait() == 0
