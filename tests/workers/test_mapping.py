"""Mapping functions (fastrouter-use-code-string) and the local socket (fastrouter-use-socket).

The documentation's own functions are in peers/test_documentation.py.
"""

import os
import signal

import pytest
from harness import MASTER, Program, Router, request, wait_until

from workers.usercode.mapping import MappingKey

ROUTER = ("--fastrouter=127.0.0.1:0", "--fastrouter-use-code-string")


def served_by(router, key):
    return request(router.address, HTTP_HOST=key).rpartition(b"\r\n\r\n")[2].decode()


def test_bytes_as_uwsgi_passes_them_and_a_module(nodes, tmp_path):
    first, second, third = (node.address for node in nodes)
    package = tmp_path / "workers"  # a name that this program has as well
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "mapping.py").write_text(
        f"""
TABLE = {{b'bytes.com': b'{first}', 'text.com': '{second}'}}
def get(key):
    if key.decode() == 'decoded.com' and key == b'decoded.com' and not key != 'decoded.com':
        return b'{third},7'
    return TABLE.get(key)
"""
    )
    with Router(*ROUTER, "0:workers.mapping:get", cwd=tmp_path) as router:
        assert served_by(router, "bytes.com") == first
        assert served_by(router, "text.com") == second
        assert served_by(router, "decoded.com") == third
        assert nodes[2].packets[-1][0] == 7
        assert served_by(router, "unknown.com") == ""


def test_the_key_passes_for_its_bytes():
    key = MappingKey("foo.com")
    assert key in {"foo.com"} and "foo.com" in {key} and isinstance(key, str)
    assert key.decode() == "foo.com" and key.upper() == "FOO.COM"
    assert key != "bar.com" and key != 5


def test_failures_are_logged_and_cost_one_request(node, tmp_path):
    (tmp_path / "mapper.py").write_text(
        "def get(key):\n"
        "    if key == 'raise.com':\n"
        "        raise RuntimeError('mapped badly')\n"
        f"    return {{'none.com': None, 'int.com': 5, 'empty.com': '', 'bad.com': 'no.such.host:1',\n"
        f"            'good.com': '{node.address}'}}[key]\n"
    )
    with Router(*ROUTER, "0:mapper.py:get", "--fastrouter-answer-errors", cwd=tmp_path) as router:
        for key in ("raise.com", "none.com", "int.com", "empty.com", "bad.com", "keyerror.com"):
            assert request(router.address, HTTP_HOST=key).startswith(b"HTTP/1.1 404")
        assert served_by(router, "good.com") == node.address
        router.wait_for(r"get\(\) of mapper.py failed for raise.com")
        router.wait_for("RuntimeError: mapped badly")
        router.wait_for('mapper.py", line 3, in get')


def test_a_slow_function_is_reported_and_a_stuck_one_killed(node, tmp_path):
    (tmp_path / "mapper.py").write_text(
        "import time\n"
        "def get(key):\n"
        "    time.sleep({'slow.com': 0.06, 'stuck.com': 60}.get(key, 0))\n"
        f"    return '{node.address}'\n"
    )
    with Router(*ROUTER, "0:mapper.py:get", "--fastrouter-harakiri=1", cwd=tmp_path) as router:
        assert served_by(router, "slow.com") == node.address
        router.wait_for(r"get\(\) of mapper.py took \d+ ms for slow.com")
        assert served_by(router, "stuck.com") == ""
        router.wait_for(r"\*\*\* HARAKIRI ON GATEWAY uWSGI fastrouter 1 \(pid: \d+\) \*\*\*")
        router.wait_for("respawned fastrouter worker 1")
        assert served_by(router, "good.com") == node.address


def test_the_script_is_read_again_at_a_reload(nodes, tmp_path):
    mapper = tmp_path / "mapper.py"
    mapper.write_text(f"def get(key):\n    return '{nodes[0].address}'\n")
    with Router(*ROUTER, "0:mapper.py:get", "--fastrouter-processes=2", cwd=tmp_path) as router:
        assert served_by(router, "a.com") == nodes[0].address
        mapper.write_text("def get(key):\n    return (\n")
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("SyntaxError")
        router.wait_for("going on as before")
        assert served_by(router, "a.com") == nodes[0].address
        mapper.write_text(f"def get(key):\n    return '{nodes[1].address}'  # another length\n")
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("from before the reload is gone", count=2)
        assert {served_by(router, "a.com") for _ in range(8)} == {nodes[1].address}
        os.kill(router.pids("fastrouter worker", 2)[0], signal.SIGKILL)
        router.wait_for("respawned fastrouter worker")
        wait_until(lambda: len(router.pids("fastrouter worker", 2)) == 2, "both")
        assert served_by(router, "a.com") == nodes[1].address


@pytest.mark.parametrize(
    ("value", "code", "problem"),
    [
        ("mapper.py", 1, "expected 0:SCRIPT.py:FUNCTION"),
        ("0:mapper.py", 1, "expected 0:SCRIPT.py:FUNCTION"),
        ("5:mapper.pl:get", 1, "mapping functions are in Python here"),
        ("0:missing.py:get", 1, "missing.py: there is no such file"),
        ("0:mapper.py:nothing", 22, "there is no function 'nothing' in mapper.py"),
        ("0:broken.py:get", 22, "ZeroDivisionError"),
        ("0:no_such_module:get", 22, "No module named 'no_such_module'"),
    ],
)
def test_what_cannot_be_loaded_stops_the_start(tmp_path, value, code, problem):
    (tmp_path / "mapper.py").write_text("def get(key):\n    return None\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with Program(MASTER, *ROUTER, value, cwd=tmp_path) as program:
        assert program.wait() == code
        assert problem in program.output


def test_the_local_socket(app_file, tmp_path):
    app = ("--socket", "127.0.0.1:0", "--socket", tmp_path / "app.sock", "--wsgi-file", app_file)
    for option in ("--fastrouter-use-socket", "--fastrouter-use-socket=1"):
        with Router("--fastrouter=127.0.0.1:0", option, *app) as router:
            assert b"host=foo.com" in request(router.address)
            assert b"host=bar.com" in request(router.address, HTTP_HOST="bar.com")
    with Program(MASTER, "--fastrouter=127.0.0.1:0", "--fastrouter-use-socket") as program:
        assert program.wait() == 1
        assert "there are 0 sockets" in program.output
