"""Under real supervisord, circus and runit, with the configurations in conf/: start, reload, stop, crash, restart."""

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager

import psutil
import pytest
from harness import (
    BIN,
    LIMIT,
    MASTER,
    ROOT,
    Program,
    children,
    connect,
    free_port,
    gone,
    load,
    read_all,
    request,
    wait_until,
)

from fastrouter.client import request_packet

INSTALLED = "/srv/fastrouter/venv/bin/fastrouter-master"


@pytest.fixture
def place(tmp_path, nodes):
    """A configuration of the router, and a free address."""
    (tmp_path / "router.ini").write_text(f"[uwsgi]\nfastrouter-to = {nodes[0].address}\n")
    return tmp_path


def adapted(text, place, address):
    """A file of conf/, for this place instead of a machine's."""
    assert INSTALLED in text
    text = text.replace(INSTALLED, MASTER).replace("/etc/fastrouter/router.ini", f"{place}/router.ini")
    return text.replace("/var/log/fastrouter.log", f"{place}/log").replace("127.0.0.1:3031", address)


@pytest.fixture
def address():
    return free_port("127.0.0.1")


class Supervised:
    """A program that keeps the router running, and the words that tell it to do something."""

    def __init__(self, program, tell, keeps_the_socket):
        self.program = program
        self.tell = tell
        """Called with start, stop, restart or reload."""
        self.keeps_the_socket = keeps_the_socket

    def master(self):
        """The router's pid, once there is one."""
        return wait_until(self._master, "the master")

    def _master(self):
        for process in psutil.Process(self.program.pid).children(recursive=True):
            try:
                if " ".join(process.cmdline()).startswith("fastrouter-master"):
                    return process.pid
            except psutil.NoSuchProcess:
                pass
        return 0


def bind(place, address):
    """Have the router bind its address itself."""
    config = place / "router.ini"
    config.write_text(config.read_text() + f"fastrouter = {address}\n")


@contextmanager
def supervisord(place, address):
    bind(place, address)
    unit = adapted((ROOT / "conf" / "supervisord" / "fastrouter.conf").read_text(), place, address)
    rpc = "supervisor.rpcinterface:make_main_rpcinterface"
    (place / "supervisord.conf").write_text(
        f"[supervisord]\nnodaemon = true\nlogfile = {place}/supervisord.log\npidfile = {place}/supervisord.pid\n"
        f"[unix_http_server]\nfile = {place}/ctl\n"
        f"[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = {rpc}\n"
        f"[supervisorctl]\nserverurl = unix://{place}/ctl\n{unit}"
    )

    def tell(action):
        words = {"reload": ["signal", "HUP"]}.get(action, [action])
        run(BIN / "supervisorctl", "-c", place / "supervisord.conf", *words, "fastrouter")

    with Program(BIN / "supervisord", "-c", place / "supervisord.conf") as program:
        yield Supervised(program, tell, keeps_the_socket=False)


@contextmanager
def circus(place, address):
    unit = adapted((ROOT / "conf" / "circus" / "fastrouter.ini").read_text(), place, address)
    host, _, port = address.rpartition(":")
    unit = unit.replace("host = 127.0.0.1", f"host = {host}").replace("port = 3031", f"port = {port}")
    endpoint, pubsub = f"ipc://{place}/ctl", f"ipc://{place}/pub"
    (place / "circus.ini").write_text(
        f"[circus]\nendpoint = {endpoint}\npubsub_endpoint = {pubsub}\ncheck_delay = 1\n{unit}"
    )

    def tell(action):
        run(BIN / "circusctl", "--endpoint", endpoint, action, "fastrouter")

    with Program(BIN / "circusd", place / "circus.ini") as program:
        wait_until((place / "ctl").exists, "circus")
        yield Supervised(program, tell, keeps_the_socket=True)


@contextmanager
def runit(place, address):
    service = place / "service"
    service.mkdir()
    shutil.copy(ROOT / "conf" / "runit" / "run", service)
    file = service / "run"
    file.write_text(adapted(file.read_text(), place, address))
    bind(place, address)
    runsv, sv = (shutil.which(name, path="/usr/bin:/usr/sbin:/sbin:/bin") for name in ("runsv", "sv"))
    assert runsv and sv, "runit is not installed; scripts/test installs all that the tests need"

    def tell(action):
        run(sv, {"reload": "hup"}.get(action, action), service)

    with Program(runsv, service) as program:
        yield Supervised(program, tell, keeps_the_socket=False)


def run(*command):
    words = [str(word) for word in command]
    found = subprocess.run(words, capture_output=True, text=True, timeout=6 * LIMIT, check=False)
    assert found.returncode == 0, f"{words}: {found.stdout}{found.stderr}"


@pytest.mark.parametrize("supervisor", [supervisord, circus, runit])
def test_a_life(place, address, nodes, supervisor):
    first, second = (node.address.encode() for node in nodes[:2])

    def says(expected):
        try:
            return request(address).endswith(expected)
        except OSError:
            return False  # it is not bound

    with supervisor(place, address) as supervised:
        wait_until(lambda: says(first), "the start")
        pid = supervised.master()
        # A reload: the same process, another configuration, and no request lost.
        config = place / "router.ini"
        config.write_text(config.read_text().replace(nodes[0].address, nodes[1].address))
        with load(lambda: request(address)) as answers:
            supervised.tell("reload")
            wait_until(lambda: answers and answers[-1].endswith(second), "the other configuration")
        assert all(isinstance(one, bytes) and one for one in answers)
        assert supervised.master() == pid
        # A crash: another process, without anybody's doing, and nobody is left of the former.
        family = children(pid)
        os.kill(pid, signal.SIGKILL)
        # Its children may answer for a moment, and the supervisor take another to notice.
        wait_until(lambda: all(map(gone, family)), "the end of its children")
        wait_until(lambda: supervised.master() != pid, "another process after a crash")
        wait_until(lambda: says(second), "the router after a crash")
        pid = supervised.master()
        # A restart: what is asked meanwhile waits, where the socket is the supervisor's.
        supervised.tell("restart")
        wait_until(lambda: says(second), "the router after a restart")
        wait_until(lambda: supervised.master() != pid, "another process")
        # A stop, and a start.
        pid, family = supervised.master(), children(supervised.master())
        supervised.tell("stop")
        wait_until(lambda: all(map(gone, [pid, *family])), "the end")
        if supervised.keeps_the_socket:
            with connect(address) as waiting:
                waiting.sendall(request_packet("GET", "http://foo.com/", b"", {}))
                supervised.tell("start")
                assert read_all(waiting).endswith(second)
        else:
            supervised.tell("start")
            wait_until(lambda: says(second), "the start")


@pytest.mark.root
def test_as_the_first_process_of_a_container(tmp_path, nodes):
    """What is left to it is buried, and TERM, which the kernel keeps from others there, stops it."""
    ini = (ROOT / "conf" / "docker" / "router.ini").read_text()
    ini = ini.replace("0.0.0.0:3031", "127.0.0.1:0").replace("0.0.0.0:2626", "127.0.0.1:0")
    app = tmp_path / "app.py"
    # Each request leaves an orphan behind, which ends at once.
    app.write_text(
        "import os, subprocess\n"
        "def application(environ, start_response):\n"
        "    subprocess.run('true & disown; true & disown', shell=True, executable='/bin/bash')\n"
        "    start_response('200 OK', [])\n"
        "    return [str(os.getpid()).encode()]\n"
    )
    (tmp_path / "router.ini").write_text(
        ini.replace("uid = nobody\ngid = nogroup\n", "") + f"socket = 127.0.0.1:0\nwsgi-file = {app}\n"
    )
    command = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    with Program(*command, MASTER, "--ini", tmp_path / "router.ini") as program:
        program.wait_for(r"spawned fastrouter-master \(pid: 1\)")
        program.wait_for("^ready$")
        address = program.wait_for("app workers bound on (.*)")[1]
        for _ in range(20):
            assert request(address).startswith(b"HTTP/1.1 200")
        (master,) = psutil.Process(program.pid).children()

        # The router worker, the subscription server, the app worker; zombies would be there, too.
        wait_until(lambda: len(master.children()) == 3, "the end of the orphans")
        master.send_signal(signal.SIGTERM)
        program.wait_for("goodbye")
        assert program.wait() == 0


def test_the_docker_file_is_in_order():
    """There is no docker where tests run; but what it copies, starts and names has to be there."""
    lines = (ROOT / "conf" / "docker" / "Dockerfile").read_text().splitlines()
    assert all((ROOT / line.split()[1]).exists() for line in lines if line.startswith("COPY conf"))
    assert 'ENTRYPOINT ["/opt/fastrouter/bin/fastrouter-master"]' in lines
    found = subprocess.run(
        [MASTER, "--ini", ROOT / "conf" / "docker" / "router.ini", "--check"],
        capture_output=True,
        check=False,
    )
    assert found.returncode == 0
