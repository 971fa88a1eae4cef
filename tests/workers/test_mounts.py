"""Mounted applications: the same ones answer as in a real uWSGI, with the same names."""

import pytest
from harness import MASTER, Program, connect, read_all, wait_until

from fastrouter.client import request_packet

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [("{name} " + environ.get("SCRIPT_NAME", "") + "|" + environ["PATH_INFO"]).encode()]
"""


@pytest.fixture
def mounts(tmp_path):
    for name in ("root", "one", "two"):
        (tmp_path / f"{name}.py").write_text(APP.replace("{name}", name))
    return ["--mount=/one/two=two", f"--mount=/one={tmp_path}/one.py", f"--pythonpath={tmp_path}"]


def ask(path, url, script=None):
    extra = {} if script is None else {"SCRIPT_NAME": script}
    with connect(str(path)) as sock:
        sock.sendall(request_packet("GET", url, extra=extra))
        return read_all(sock).rpartition(b"\r\n\r\n")[2].decode()


ASKED = [
    ("/", None),
    ("/one", None),
    ("/one/a", None),
    ("/other", None),
    ("/x", "/one"),
    ("/x", "/no"),
]


@pytest.mark.parametrize(
    "options", [(), ("--manage-script-name",), ("--no-default-app", "--manage-script-name")]
)
def test_the_original_and_ours_agree(tmp_path, uwsgi, mounts, options):
    found = []
    for number, command in enumerate((MASTER, uwsgi)):
        path = tmp_path / f"socket{number}"
        with Program(
            *(command, f"--socket={path}", f"--wsgi-file={tmp_path}/root.py", "--master", "--need-app"),
            *mounts,
            *options,
        ) as program:
            program.wait_for("^ready$|spawned uWSGI worker 1")
            wait_until(path.exists, "the socket")
            found.append([ask(path, *asked) for asked in ASKED])
    assert found[0] == found[1]


def test_mounts_alone_are_an_application(tmp_path, mounts):
    with Program(MASTER, f"--socket={tmp_path}/s", "--need-app", "--manage-script-name", *mounts) as program:
        program.wait_for("^ready$")
        assert ask(tmp_path / "s", "/one/a") == "one /one|/a"
        assert ask(tmp_path / "s", "/one/two/b") == "two /one/two|/b", "a real one calls the other"
        assert ask(tmp_path / "s", "/onex") == "Internal Server Error"
        program.wait_for("--- no application found ---")


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        ("/x=/no/such.py", "there is no such file"),
        ("a.example|/x=a", "expected /PATH=FILE"),
        ("/x", "expected /PATH=FILE"),
    ],
)
def test_mistakes(mount, expected):
    with Program(MASTER, "--socket=:0", f"--mount={mount}") as program:
        assert program.wait() == 1
        program.wait_for(expected)
