"""Commands at certain points of the start: the same as a real uWSGI runs, in the same order."""

import os
import pwd
import signal
import tempfile
from pathlib import Path

import pytest
from harness import MASTER, Program, Router, wait_until

from fastrouter.config.dialect.pairs import ConfigError
from fastrouter.config.resolve import load

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


@pytest.mark.root  # the real one runs as-root for nobody else
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
        program.wait_for(
            "hook-asap = mkdir:/tmp/x: expected ACTION:ARGUMENT, ACTION one of exec, print, log, unlink"
        )


def test_a_reload_runs_only_what_belongs_to_it(tmp_path):
    with Router("--ini", configuration(tmp_path)) as router:
        first = said(tmp_path)
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("^ready$", 2)
        assert sorted(said(tmp_path)[len(first) :]) == [
            f"hook as-gateway {os.getuid()}",
            f"hook master-start {os.getuid()}",
        ]


def test_the_actions(tmp_path):
    """Each does what a real uWSGI's does; a pipe that nobody reads is no failure."""
    (tmp_path / "old").write_text("old")
    os.mkfifo(tmp_path / "unread")
    os.mkfifo(tmp_path / "read")
    reader = os.open(tmp_path / "read", os.O_RDONLY | os.O_NONBLOCK)
    hooks = [
        "print:good morning",
        f"unlink:{tmp_path}/old",
        f"write:{tmp_path}/new one",
        f"writen:{tmp_path}/line a line",
        f"append:{tmp_path}/new , two",
        f"appendn:{tmp_path}/new , three",
        f"writefifo:{tmp_path}/unread q",
        f"writefifo:{tmp_path}/read 1P",
    ]
    options = ("--fastrouter=127.0.0.1:0", "--fastrouter-to=127.0.0.1:9")
    with Router(*options, *(f"--hook-asap={hook}" for hook in hooks)) as router:
        router.wait_for("^good morning$")
    assert os.read(reader, 10) == b"1P"
    os.close(reader)
    assert not (tmp_path / "old").exists()
    assert (tmp_path / "new").read_text() == "one, two, three\n"
    assert (tmp_path / "line").read_text() == "a line\n"
    with Program(MASTER, *options, f"--hook-asap=writefifo:{tmp_path}/none q") as program:
        assert program.wait() == 1
        program.wait_for(r'hook "writefifo:.*/none q" \(asap\) failed: No such file or directory')


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        ("callint:f 3", "ACTION:ARGUMENT, ACTION one of"),
        ("write:/tmp/x", "write:FILE TEXT"),
        ("writefifo:/tmp/x", "writefifo:FIFO TEXT"),
        ("exec:", "exec:COMMAND"),
        ("unlink", "ACTION:ARGUMENT"),
    ],
)
def test_actions_that_are_not_there_are_refused(hook, expected):
    with pytest.raises(ConfigError, match=f"hook-accepting1-once = {hook}: expected {expected}"):
        load(["--socket=:0", f"--hook-accepting1-once={hook}"], {})
    with pytest.raises(ConfigError, match=r"hook-touch = .*: expected FILE ACTION:ARGUMENT"):
        load(["--fastrouter=:0", "--hook-touch=/tmp/x"], {})


def _app(place, app_file, *lines):
    phases = ("post-fork", "accepting", "accepting-once", "accepting1", "accepting1-once")
    hooks = [f"hook-{phase} = append:{place}/said {phase} ;" for phase in phases]
    file = place / "app.ini"
    file.write_text("\n".join(["[uwsgi]", "master = true", f"wsgi-file = {app_file}", *hooks, *lines]) + "\n")
    return file


def _counts(place):
    text = (place / "said").read_text() if (place / "said").exists() else ""
    return {phase: text.split(" ;").count(phase) for phase in filter(None, text.split(" ;"))}


def test_when_app_workers_are_ready_as_the_original(tmp_path, app_file, uwsgi):
    places = tmp_path / "ours", tmp_path / "theirs"
    expected = {"post-fork": 2, "accepting": 2, "accepting-once": 2, "accepting1": 1, "accepting1-once": 1}
    for place, command in zip(places, (MASTER, uwsgi), strict=True):
        place.mkdir()
        file = _app(place, app_file, "processes = 2", "socket = 127.0.0.1:0", "plugin = python3")
        with Program(command, "--ini", file) as program:
            wait_until(lambda place=place: _counts(place) == expected, "every hook")
            program.stop(signal.SIGINT)


def test_once_is_once(tmp_path, app_file):
    """Neither a worker's death nor a reload has it done again."""
    file = _app(
        tmp_path, app_file, "socket = 127.0.0.1:0", "fastrouter = 127.0.0.1:0", "fastrouter-to = 127.0.0.1:9"
    )
    once = {"accepting-once": 1, "accepting1-once": 1}
    with Router("--ini", file) as router:
        again = dict.fromkeys(("post-fork", "accepting", "accepting1"), 1)
        assert _counts(tmp_path) == once | again
        os.kill(router.pids("app worker")[0], signal.SIGKILL)
        wait_until(lambda: _counts(tmp_path) == once | dict.fromkeys(again, 2), "the hooks of the next one")
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("^ready$", 2)
        assert _counts(tmp_path) == once | dict.fromkeys(again, 3)


def test_a_hook_of_a_worker_that_fails_ends_the_start(app_file):
    options = ("--socket=127.0.0.1:0", f"--wsgi-file={app_file}", "--hook-accepting1-once=exec:exit 3")
    with Program(MASTER, *options) as program:
        assert program.wait() == 22
        program.wait_for(r'command "exit 3" \(accepting1-once\) exited with non-zero code: 3')


def test_a_file_that_is_touched(tmp_path):
    said, touched = tmp_path / "said", tmp_path / "touched"
    hooks = [f"--hook-touch={touched} append:{said} {word};" for word in ("one", "two")]
    with Router("--fastrouter=127.0.0.1:0", "--fastrouter-to=127.0.0.1:9", *hooks) as router:
        touched.write_text("")
        wait_until(lambda: said.exists() and said.read_text() == "one;two;", "both")
        said.unlink()
        said.mkdir()
        touched.unlink()
        router.wait_for(r"hook \"append:.*\" \(touch\) failed: Is a directory")
