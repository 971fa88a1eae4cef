"""As systemd starts it: what the manager is told, and the sockets that it hands over. The test plays the manager."""

import os
import re
import signal
import socket
from contextlib import contextmanager

from harness import LIMIT, MASTER, ROOT, Program, request, send_announcement, wait_until

from fastrouter.wire.announcement import Announcement


@contextmanager
def manager(tmp_path):
    """A notification socket, and what came there."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(LIMIT)
        yield path, lambda: sock.recv(4096).decode().split("\n")


def unit(name):
    """The assignments of a unit in conf/, as they stand."""
    text = (ROOT / "conf" / "systemd" / name).read_text()
    return dict(line.split("=", 1) for line in re.findall(r"^[A-Z]\w+=.*$", text, re.MULTILINE))


def test_states(tmp_path):
    config = tmp_path / "router.ini"
    config.write_text("[uwsgi]\nfastrouter = 127.0.0.1:0\nfastrouter-subscription-server = 127.0.0.1:0\n")
    assert unit("fastrouter.service")["Type"] == "notify"
    with manager(tmp_path) as (path, told):
        environment = {**os.environ, "NOTIFY_SOCKET": path}
        with Program(MASTER, "--ini", config, env=environment) as program:
            assert told() == ["READY=1", "STATUS=2 processes"]
            program.process.send_signal(signal.SIGHUP)
            reloading = told()
            assert reloading[0] == "RELOADING=1" and re.fullmatch(r"MONOTONIC_USEC=\d+", reloading[1])
            assert told()[0] == "READY=1"
            config.write_text("[uwsgi]\nfastrouter = nonsense:\n")
            program.process.send_signal(signal.SIGHUP)
            assert told()[0] == "RELOADING=1"
            assert told() == ["READY=1", "STATUS=the last reload has failed; going on as before"]
            program.process.send_signal(signal.SIGTERM)
            assert told()[0] == "STOPPING=1"
            assert program.wait() == 0


def test_signs_of_life(tmp_path):
    with manager(tmp_path) as (path, told):
        environment = {**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000"}
        with Program(MASTER, "--fastrouter=127.0.0.1:0", "--fastrouter-to=127.0.0.1:9", env=environment):
            said = [told() for _ in range(4)]
            assert said.count(["WATCHDOG=1"]) == 3


def test_sockets_of_the_manager(tmp_path, node):
    """Bound before the program is started; requests and announcements wait in them while it is restarted."""
    stream, datagram = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with stream, datagram:
        stream.bind(("127.0.0.1", 0))
        stream.listen(100)
        datagram.bind(("127.0.0.1", 0))
        address, server = (f"127.0.0.1:{sock.getsockname()[1]}" for sock in (stream, datagram))
        config = tmp_path / "router.ini"
        config.write_text(
            f"[uwsgi]\nshared-socket = {address}\nfastrouter = =0\nfastrouter-subscription-server = {server}\n"
        )

        def start():
            script = 'exec 3<&"$1" 4<&"$2"; export LISTEN_PID=$$ LISTEN_FDS=2; shift 2; exec "$@"'
            fds = (os.dup(stream.fileno()), os.dup(datagram.fileno()))
            program = Program(
                "bash", "-c", script, "sh", str(fds[0]), str(fds[1]), MASTER, "--ini", config, fds=fds
            )
            for fd in fds:
                os.close(fd)
            return program

        send_announcement(server, Announcement("foo.com", node.address))
        for end in (signal.SIGTERM, signal.SIGKILL):
            with start() as program:
                program.wait_for("^ready$")
                program.wait_for("foo.com => new node")
                assert request(address).endswith(node.address.encode())
                program.process.send_signal(signal.SIGHUP)
                program.wait_for("^ready$", 2)
                assert request(address).endswith(node.address.encode())
                program.process.send_signal(end)
                wait_until(lambda program=program: program.process.poll() is not None, "the end")
            send_announcement(server, Announcement("foo.com", node.address))


def test_the_units_are_in_order():
    service, sockets = unit("fastrouter.service"), unit("fastrouter.socket")
    assert service["ExecReload"].startswith("/bin/kill -HUP")
    assert sockets["ListenStream"] == "127.0.0.1:3031" and sockets["ListenDatagram"] == "0.0.0.0:2626"
