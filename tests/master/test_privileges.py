"""Who the processes run as, and what they may."""

import pwd
import signal
import socket
import tempfile
from pathlib import Path

import psutil
import pytest
from harness import MASTER, Program, Router, request, wait_until

from fastrouter.options.capabilities import CAPABILITIES

NOBODY = pwd.getpwnam("nobody").pw_uid

pytestmark = pytest.mark.root


def status(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def capabilities(pid, kind="CapEff"):
    bits = int(status(pid)[kind], 16)
    return {name for number, name in enumerate(CAPABILITIES) if bits >> number & 1}


def everybody(router):
    return [router.pid, *(child.pid for child in psutil.Process(router.pid).children())]


def test_nothing_is_kept_without_being_asked_for(node):
    with Router("--fastrouter=127.0.0.1:0", f"--fastrouter-to={node.address}", "--uid=nobody") as router:
        for pid in everybody(router):
            assert set(status(pid)["Uid"].split()) == {str(NOBODY)}
            for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                assert not capabilities(pid, kind)
            assert status(pid)["NoNewPrivs"] == "0"
        assert request(router.address)


def free_low_port():
    for port in range(1023, 600, -1):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("there is no free port below 1024")


def test_what_is_kept_lasts_over_a_reload(tmp_path, node):
    """So that a port below 1024 can be added, which otherwise only root can."""
    file = tmp_path / "router.ini"
    kept = {"net_bind_service", "dac_read_search"}  # this python may be where nobody else may read
    base = f"[uwsgi]\nfastrouter-to = {node.address}\nuid = nobody\nadd-gid = daemon\n"
    base += "cap = net_bind_service,cap_dac_read_search\nno-new-privs = true\nfastrouter = 127.0.0.1:0\n"
    file.write_text(base)
    tmp_path.chmod(0o755)
    tmp_path.parent.chmod(0o755)
    with Router("--ini", file) as router:
        for pid in everybody(router):
            assert capabilities(pid) == capabilities(pid, "CapPrm") == kept
            assert not capabilities(pid, "CapAmb"), "what an application starts has none"
            assert status(pid)["NoNewPrivs"] == "1"
            assert "1" in status(pid)["Groups"].split()
        low = f"127.0.0.1:{free_low_port()}"
        file.write_text(base + f"fastrouter = {low}\n")
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("^ready$", 2)
        wait_until(lambda: request(low), "an answer there")
        router.wait_for("fastrouter worker from before the reload is gone")
        for pid in everybody(router):
            assert capabilities(pid) == kept
            assert not capabilities(pid, "CapAmb")


def test_a_reload_takes_capabilities_away_and_keeps_the_user(node):
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        place.chmod(0o777)
        file, said = place / "router.ini", place / "said"
        base = f"[uwsgi]\nfastrouter-to = {node.address}\nfastrouter = 127.0.0.1:0\nuid = nobody\n"
        file.write_text(base + "cap = net_bind_service,net_raw,dac_read_search\n")
        with Router("--ini", file) as router:
            former = router.pids("fastrouter worker")
            hook = f"hook-master-start = exec:grep Cap /proc/self/status > {said}\n"
            file.write_text(base + "cap = dac_read_search\n" + hook)
            router.process.send_signal(signal.SIGHUP)
            router.wait_for("^ready$", 2)
            wait_until(lambda: not set(former) & set(everybody(router)), "the end of the former")
            for pid in everybody(router):
                for kind in ("CapEff", "CapPrm", "CapInh"):
                    assert capabilities(pid, kind) == {"dac_read_search"}, kind
                assert not capabilities(pid, "CapAmb")
            caps = dict(line.split(":\t") for line in said.read_text().splitlines())
            assert int(caps["CapEff"], 16) == int(caps["CapAmb"], 16) == 0, "what it starts has none"
            assert "not running as root" not in router.output
            file.write_text(base.replace("nobody", "daemon") + "cap = dac_read_search\n")
            router.process.send_signal(signal.SIGHUP)
            router.wait_for("only root can become daemon; restart for that")
            router.wait_for("going on as before")


def test_mistakes():
    for option, problem in (
        ("--cap=net_bind_service,fly", "there is no 'fly'"),
        ("--cap=kill", "without uid, all capabilities are kept"),
        ("--add-gid=nosuchgroup", "there is no such group"),
        ("--chroot=/tmp", "use RootDirectory= of systemd"),
    ):
        with Program(MASTER, "--fastrouter=127.0.0.1:0", option) as program:
            assert program.wait() == 1
            program.wait_for(problem)
