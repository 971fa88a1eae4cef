"""The master: processes, signals, exit codes, sockets, and what happens when somebody is killed."""

import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from harness import (
    LIMIT,
    MASTER,
    ROOT,
    FakeNode,
    Program,
    Router,
    connect,
    free_port,
    gone,
    load,
    read_all,
    read_request,
    request,
    send_announcement,
    subscription_router,
    wait_until,
)

from fastrouter.client import request_packet
from fastrouter.wire.announcement import Announcement


def run(*arguments, **extra):
    return subprocess.run(
        [MASTER, *map(str, arguments)], capture_output=True, text=True, timeout=LIMIT, check=False, **extra
    )


def test_the_tree_explains_itself(app_file):
    arguments = (
        "--fastrouter-processes=2",
        "--socket=127.0.0.1:0",
        "--wsgi-file",
        app_file,
        "--procname-prefix",
        "x ",
    )
    with subscription_router(*arguments) as router:
        router.pids("x fastrouter: app worker 1")
        titles = [" ".join(child.cmdline()).strip() for child in psutil.Process(router.pid).children()]
        assert sorted(titles) == [
            "x fastrouter: app worker 1",
            "x fastrouter: fastrouter subscription server",
            "x fastrouter: fastrouter worker 1",
            "x fastrouter: fastrouter worker 2",
        ]
        assert " ".join(psutil.Process(router.pid).cmdline()).startswith("x fastrouter-master")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_stop_signals(number):
    with subscription_router() as router:
        assert router.stop(number) == 0
        assert router.lines[-1] == "goodbye"


def test_sigint_does_not_wait_and_a_second_sigterm_hastens():
    def behave(connection, number):
        read_request(connection)
        connection.recv(1)

    for signals in ((signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM)):
        with FakeNode(behave) as node, subscription_router() as router:
            router.announce("foo.com", node.address)
            with connect(router.address) as sock:
                sock.sendall(request_packet("GET", "http://foo.com/"))
                wait_until(lambda node=node: node.connections, "the request")
                for number in signals:
                    router.process.send_signal(number)
                    router.wait_for("stopping")
                assert router.wait() == 0
                assert read_all(sock) == b""
            router.wait_for("stopping at once")


def test_children_end_with_a_killed_master(app_file):
    arguments = ("--fastrouter-processes=2", "--socket=127.0.0.1:0", "--wsgi-file", app_file)
    with subscription_router(*arguments, "--subscribe-to=127.0.0.1:9:foo.com") as router:
        router.pids("announcer")
        children = [child.pid for child in psutil.Process(router.pid).children()]
        assert len(children) == 5
        router.process.kill()
        wait_until(lambda: all(map(gone, children)), "the children to end")


def test_every_router_worker_killed_in_turn_under_load(nodes):
    with subscription_router("--fastrouter-processes=3") as router:
        for node in nodes:
            router.announce("foo.com", node.address)
        with load(lambda: request(router.address)) as outcomes:
            for turn, pid in enumerate(router.pids("fastrouter worker", 3), 1):
                os.kill(pid, signal.SIGKILL)
                router.wait_for("respawned fastrouter worker", turn)
                enough = len(outcomes) + 50
                wait_until(lambda enough=enough: len(outcomes) > enough, "more requests")
        lost = [one for one in outcomes if not (isinstance(one, bytes) and one)]
        assert len(lost) <= 3 * 4  # what the dead workers held: at most one request a client each
        assert request(router.address)


def test_a_crash_loop_backs_off(tmp_path):
    app = tmp_path / "crash.py"
    app.write_text(
        "import os, threading\nthreading.Timer(0.05, os._exit, (9,)).start()\ndef application(e, s): ...\n"
    )
    with Program(MASTER, "--socket=127.0.0.1:0", "--wsgi-file", app) as program:
        program.wait_for(
            r"app worker 1 died of exit code 9 \(pid: \d+\), \d times in a row; next try in \d s"
        )
        assert program.stop() == 0


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
        ("syntax error", "SyntaxError"),
        ("x = 1", "there is no 'application' in"),
        ("application = 1", "is not callable"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_an_application_that_cannot_load_stops_the_start(tmp_path, code, expected):
    app = tmp_path / "bad.py"
    app.write_text(code)
    outcome = run("--socket=127.0.0.1:0", "--wsgi-file", app)
    assert outcome.returncode == 22
    assert expected in outcome.stderr
    assert "app worker 1 cannot start" in outcome.stderr
    assert outcome.stderr.count("cannot start") == 1


def test_exit_code_and_words_for_a_bad_configuration(tmp_path):
    outcome = run("--fastrouter", "127.0.0.1:0", "--fastrouter-timeot=3")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    expected = "command line: --fastrouter-timeot: there is no such option; did you mean fastrouter-timeout?"
    assert outcome.stderr == f"fastrouter-master: {expected}\n"
    assert "there is nothing to do" in run().stderr


def test_an_address_in_use(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        outcome = run("--fastrouter", address)
    assert outcome.returncode == 1
    assert f"cannot bind {address}: Address already in use" in outcome.stderr
    with subscription_router() as router:
        assert (
            "Address already in use"
            in run("--fastrouter=127.0.0.1:0", "--fastrouter-subscription-server", router.server).stderr
        )


def test_unix_sockets_stale_in_use_and_no_sockets(tmp_path):
    path = tmp_path / "r.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with Router("--fastrouter", path, "--chmod-socket=640", "--vacuum") as router:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        outcome = run("--fastrouter", path)
        assert "Address already in use" in outcome.stderr
        assert path.exists()
        assert router.stop() == 0
    assert not path.exists()
    path.write_text("precious")
    outcome = run("--fastrouter", path)
    assert outcome.returncode == 1 and "it is not a socket" in outcome.stderr
    assert path.read_text() == "precious"


def test_without_vacuum_the_socket_stays(tmp_path):
    path = tmp_path / "r.sock"
    with Router("--fastrouter", path) as router:
        router.stop()
    assert path.exists()


def test_inherited_descriptors(node):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        fd = listener.fileno()
        with Router("--fastrouter", f"fd://{fd}", "--fastrouter-to", node.address, fds=[fd]) as router:
            assert request(router.address).endswith(node.address.encode())


def test_a_descriptor_that_is_no_listening_socket():
    with socket.socket() as sock:
        outcome = run("--fastrouter", f"fd://{sock.fileno()}", pass_fds=[sock.fileno()])
    assert outcome.returncode == 1 and "is not a listening socket" in outcome.stderr


def test_the_address_of_a_matching_interface(node):
    with Router("--shared-socket=127.*:0", "--fastrouter==0", "--fastrouter-to", node.address) as router:
        assert router.address.startswith("127.0.0.1:")
        assert request(router.address).endswith(node.address.encode())
    assert (
        "no interface has an address that begins with 203.0.113." in run("--fastrouter=203.0.113.*:0").stderr
    )


def test_ipv6_and_all_addresses(node):
    with Router("--fastrouter=[::1]:0", "--fastrouter=:0", "--fastrouter-to", node.address) as router:
        router.wait_for(r"fastrouter bound on \[::1\]:\d+")
        port = router.wait_for(r"fastrouter bound on 0.0.0.0:(\d+)")[1]
        assert request(f"127.0.0.1:{port}").endswith(node.address.encode())


def test_check_binds_nothing_and_version_and_help(tmp_path):
    path = tmp_path / "r.sock"
    outcome = run("--fastrouter", path, "--check")
    assert outcome.returncode == 0 and "the configuration is good" in outcome.stdout
    assert not path.exists()
    assert run("--version").stdout.strip()
    assert "--fastrouter-subscription-server ADDRESS" in run("--help").stdout


@pytest.mark.root
def test_a_low_port_without_the_privilege():
    """What may be done about it is said. The name space is new, and so is its limit of 1024."""
    without = ("unshare", "-n", "setpriv", "--bounding-set=-net_bind_service")
    with Program(*without, MASTER, "--fastrouter=0.0.0.0:80", "--fastrouter-to=127.0.0.1:9") as program:
        program.wait_for("cannot bind 0.0.0.0:80: Permission denied; ")
        assert program.wait() == 1
        for way in ("start as root and set uid", "socket activation", "net.ipv4.ip_unprivileged_port_start"):
            assert way in program.output


@pytest.mark.root
def test_privileges_are_dropped_after_binding(tmp_path, node):
    arguments = (
        f"--fastrouter={free_port('127.0.0.1')}",
        "--uid=nobody",
        "--gid=nogroup",
        "--fastrouter-to",
        node.address,
    )
    with Router(*arguments) as router:
        assert request(router.address).endswith(node.address.encode())
        uid = int(subprocess.check_output(["id", "-u", "nobody"]))
        for process in (psutil.Process(router.pid), psutil.Process(router.pids("fastrouter worker")[0])):
            assert set(process.uids()) == {uid}
            groups = re.search(r"Groups:(.*)", Path(f"/proc/{process.pid}/status").read_text())[1]
            assert "0" not in groups.split()
        child = router.pids("fastrouter worker")[0]
        router.process.kill()
        wait_until(lambda: gone(child), "the child to end although privileges were dropped")


@pytest.mark.root
def test_router_workers_as_another_user(node):
    arguments = ("--fastrouter=127.0.0.1:0", "--fastrouter-uid=nobody", "--fastrouter-to", node.address)
    with Router(*arguments) as router:
        assert request(router.address)
        assert psutil.Process(router.pid).uids().real == 0
        assert psutil.Process(router.pids("fastrouter worker")[0]).uids().real != 0


def test_pidfile_logto_chdir_umask(tmp_path, node):
    log, pidfile = tmp_path / "log", tmp_path / "pid"
    (tmp_path / "sub").mkdir()
    arguments = ["--logto", log, "--pidfile", pidfile, "--chdir", tmp_path / "sub", "--umask=077", "--vacuum"]
    with Program(MASTER, "--fastrouter=r.sock", "--fastrouter-to", node.address, *arguments) as program:
        wait_until(lambda: pidfile.exists() and pidfile.read_text(), "the pid file")
        assert int(pidfile.read_text()) == program.pid
        path = tmp_path / "sub" / "r.sock"
        wait_until(path.exists, "the socket")
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert request(str(path)).endswith(node.address.encode())
        assert program.stop() == 0
    assert not program.lines
    assert "goodbye" in log.read_text()
    assert not pidfile.exists() and not path.exists()


@pytest.mark.root
def test_owners_of_unix_sockets(tmp_path):
    path = tmp_path / "r.sock"
    with Router("--fastrouter", path, "--chown-socket=nobody:nogroup", "--chmod-socket"):
        assert (path.owner(), path.group()) == ("nobody", "nogroup")
        assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_titles_of_ones_own():
    arguments = [
        "--procname-master=boss",
        "--procname=hand",
        "--procname-prefix-spaced=x",
        "--procname-append=!",
    ]
    with Router("--fastrouter=127.0.0.1:0", *arguments) as router:
        assert " ".join(psutil.Process(router.pid).cmdline()).strip() == "x boss!"
        assert router.pids("x hand!")


def test_dates_in_the_log_and_the_environment_of_the_application(tmp_path):
    app = tmp_path / "app.py"
    app.write_text(
        "import os\ndef application(e, s):\n    s('200 OK', [])\n    return [os.environ['MINE'].encode()]\n"
    )
    arguments = ["--socket=127.0.0.1:0", "--wsgi-file", app, "--env=MINE=a=b", "--log-date"]
    with Program(MASTER, *arguments) as program:
        address = program.wait_for(r"^\w{3} \w{3} \d\d [\d:]{8} \d{4} - app workers bound on (.*)")[1]
        assert request(address).endswith(b"a=b")


def test_daemonize_returns_when_it_serves(tmp_path, node):
    path, log, pidfile = tmp_path / "r.sock", tmp_path / "log", tmp_path / "pid"
    outcome = run(
        "--fastrouter", path, "--fastrouter-to", node.address, "--daemonize", log, "--pidfile", pidfile
    )
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")
    pid = int(pidfile.read_text())
    assert request(str(path)).endswith(node.address.encode())
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: gone(pid), "the daemon to end")
    with socket.socket(socket.AF_UNIX) as taken:
        other = str(tmp_path / "taken")
        taken.bind(other)
        taken.listen()
        assert run("--fastrouter", other, "--daemonize", log).returncode == 1


def test_a_log_that_nobody_reads_stops_nothing(node):
    """Standard error is a pipe with a page of room and no reader."""
    reader, writer = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, reader)
        process = subprocess.Popen(
            [MASTER, "--fastrouter=127.0.0.1:0", "--fastrouter-subscription-server=127.0.0.1:0"],
            stderr=writer,
        )
        stack.callback(process.wait, LIMIT)
        stack.callback(process.kill)
        os.close(writer)
        head = b""
        while b"fastrouter worker" not in head:
            head += os.read(reader, 4096)
        address = head.decode().split("fastrouter bound on ")[1].split("\n")[0]
        server = head.decode().split("subscription server bound on ")[1].split("\n")[0]
        for number in range(3000):
            send_announcement(server, Announcement(f"some-long-name-{number}.com" * 3, "127.0.0.1:1"))
        # The flood overruns the socket's queue, so one announcement may be lost; a node would repeat it.
        wait_until(
            lambda: send_announcement(server, Announcement("foo.com", node.address)) or request(address),
            "an answer",
        )


def test_harakiri(tmp_path):
    app = tmp_path / "slow.py"
    app.write_text("import threading\ndef application(e, s):\n    threading.Event().wait()\n")
    with Program(MASTER, "--socket=127.0.0.1:0", "--wsgi-file", app, "--harakiri=1") as program:
        address = program.wait_for("app workers bound on (.*)")[1]
        assert request(address) == b""
        program.wait_for(r"\*\*\* HARAKIRI ON WORKER 1 \(pid: \d+\) \*\*\*")
        program.wait_for("respawned app worker 1")


def test_figures_on_sigusr1(node):
    with subscription_router() as router:
        router.announce("foo.com", node.address)
        for _ in range(3):
            request(router.address)

        def shows():
            router.process.send_signal(signal.SIGUSR1)
            return re.search(
                r"fastrouter worker 1 .*descriptors, 3 accepted, 0 open, 0 errors", router.output
            )

        wait_until(shows, "the statistics, once the last session has ended")


def test_strangers_are_reaped(tmp_path):
    """As PID 1 of a container the master inherits orphans; one is made here by a subreaper's rules."""
    script = tmp_path / "reaper.py"
    script.write_text(
        "import ctypes, os, sys\n"
        "ctypes.CDLL(None).prctl(36, 1)\n"
        "if not os.fork():\n"
        "    if not os.fork():\n"
        "        os.read(0, 1)\n"
        "        os._exit(7)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    with Program(
        sys.executable, script, MASTER, "--fastrouter=127.0.0.1:0", "--fastrouter-to=127.0.0.1:1"
    ) as program:
        program.wait_for("spawned fastrouter worker 1")
        wait_until(
            lambda: (
                not any(
                    child.status() == psutil.STATUS_ZOMBIE for child in psutil.Process(program.pid).children()
                )
            ),
            "no zombies",
        )
        assert "cannot" not in program.output
        assert program.stop() == 0


def test_our_own_packages_are_importable_only_where_they_should_be():
    """fastrouter imports neither of the two above it, and workers not master."""
    for room, forbidden in (("fastrouter", ("workers", "master")), ("workers", ("master",))):
        for file in (ROOT / room).rglob("*.py"):
            for line in file.read_text().splitlines():
                for name in forbidden:
                    assert not line.strip().startswith((f"import {name}", f"from {name}")), f"{file}: {line}"
