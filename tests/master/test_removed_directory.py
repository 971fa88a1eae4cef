"""A directory that is removed: before a command is started there, and while a program runs in it."""

import json
import os
import signal
import subprocess

import pytest
from harness import BIN, Router, connect, read_all, request, wait_until


@pytest.mark.parametrize(
    "command",
    ["fastrouter-master --version", "fastrouter-master --fastrouter=:0 --check", "fastrouter-doctor x.ini"],
)
def test_a_command_that_is_started_there_says_so(tmp_path, command):
    place = tmp_path / "gone"
    place.mkdir()
    script = f'rmdir "{place}"; exec "{BIN}"/{command}'
    found = subprocess.run(["sh", "-c", script], cwd=place, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert f"started in a directory that was removed: {place}" in found.stdout + found.stderr
    assert "Traceback" not in found.stderr


def test_a_program_that_runs_there_goes_on(tmp_path, app_file):
    """Statistics are told, an application worker is respawned, a reload is refused."""
    place = tmp_path / "gone"
    place.mkdir()
    options = ("--fastrouter=127.0.0.1:0", "--socket=127.0.0.1:0", "--fastrouter-use-socket")
    statistics = ("--fastrouter-stats=127.0.0.1:0",)
    with Router(*options, *statistics, "--wsgi-file", app_file, cwd=place) as router:
        place.rmdir()
        with connect(router.wait_for(r"stats server enabled on (\S+)")[1]) as sock:
            assert json.loads(read_all(sock))["cwd"] == f"{place} (deleted)"
        (worker,) = router.pids("app worker")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: worker not in router.pids("app worker"), "another worker")
        assert request(router.address).endswith(b"body=0")
        assert "Traceback" not in router.output
        router.process.send_signal(signal.SIGHUP)
        router.wait_for(rf"going on as before .*No such file or directory: '{place}'")
        assert request(router.address).endswith(b"body=0")
        assert "Traceback" not in router.output
