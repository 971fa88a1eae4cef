"""Commands at certain points of the start: the same as a real uWSGI runs, in the same order."""

import os
import pwd
import signal
import tempfile
from pathlib import Path

import pytest
from harness import MASTER, Program, Router, wait_until

PHASES = ("asap", "pre-jail", "in-jail", "as-root", "as-user", "pre-app", "post-app", "as-user-atexit")


def configuration(place, *lines):
    place.chmod(0o777)
    for phase in PHASES:
        lines += (f"exec-{phase} = echo {phase} $(id -u) >> {place}/said",)
    for phase in ("asap", "master-start", "as-gateway"):
        lines += (f"hook-{phase} = exec:echo hook {phase} $(id -u) >> {place}/said",)
    file = place / "router.ini"
    file.write_text(
        "\n".join(
            [
                "[uwsgi]",
                "master = true",
                "umask = 000",
                "fastrouter = 127.0.0.1:0",
                "fastrouter-to = 127.0.0.1:9",
                *lines,
            ]
        )
        + "\n"
    )
    return file


def said(place):
    file = place / "said"
    return file.read_text().splitlines() if file.exists() else []


def test_the_order_is_the_original_s(tmp_path, uwsgi):
    places = tmp_path / "ours", tmp_path / "theirs"
    for place, command in zip(places, ((MASTER, "--ini"), (uwsgi, "--ini")), strict=True):
        place.mkdir()
        with Program(*command, configuration(place)) as program:
            wait_until(lambda place=place: len(set(said(place))) == len(PHASES) + 2, "all but the last")
            program.stop(signal.SIGINT)
    # The real one runs as-root and as-user again and again; its master and gateways run theirs side by side.
    ours, theirs = said(places[0]), list(dict.fromkeys(said(places[1])))
    assert sorted(ours) == sorted(theirs)
    side_by_side = {line for line in ours if "start" in line or "gateway" in line}
    assert len(side_by_side) == 2
    assert [line for line in ours if line not in side_by_side] == [
        line for line in theirs if line not in side_by_side
    ]


@pytest.mark.root
def test_who_runs_them():
    nobody = pwd.getpwnam("nobody").pw_uid
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with Router("--ini", configuration(place, "uid = nobody")) as router:
            assert router.stop() == 0
        before = ["hook asap", "asap", "pre-jail", "in-jail", "as-root"]
        after = ["as-user", "pre-app", "hook master-start", "hook as-gateway", "post-app", "as-user-atexit"]
        assert said(place) == [f"{one} 0" for one in before] + [f"{one} {nobody}" for one in after]


def test_a_command_that_fails_ends_the_start(tmp_path):
    for phase, code in (("asap", 3), ("pre-app", 4), ("post-app", 5)):
        options = ("--fastrouter=127.0.0.1:0", "--fastrouter-to=127.0.0.1:9")
        with Program(MASTER, *options, f"--exec-{phase}=exit {code}") as program:
            assert program.wait() == 1
            program.wait_for(rf'command "exit {code}" \({phase}\) exited with non-zero code: {code}')
    with Program(MASTER, *options, "--hook-asap=mkdir:/tmp/x") as program:
        assert program.wait() == 1
        program.wait_for("hook-asap = mkdir:/tmp/x: expected exec:COMMAND")


def test_a_reload_runs_only_what_belongs_to_it(tmp_path):
    with Router("--ini", configuration(tmp_path)) as router:
        first = said(tmp_path)
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("^ready$", 2)
        assert sorted(said(tmp_path)[len(first) :]) == [
            f"hook as-gateway {os.getuid()}",
            f"hook master-start {os.getuid()}",
        ]
