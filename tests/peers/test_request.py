"""The command fastrouter-request."""

import subprocess

from harness import BIN, refusing_address

from fastrouter.wire.packet import records


def run(*arguments):
    command = [str(BIN / "fastrouter-request"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_request_from_the_command_line(node):
    body = ("-X", "PUT", "-d", "abc", "-V", "UWSGI_FASTROUTER_KEY=bar.com", "-t", "5.5")
    found = run(node.address, "http://foo.com/a?b", *body)
    assert found.returncode == 0 and found.stdout.endswith(node.address)
    variables = dict(records(node.packets[0][4:]))
    assert variables[b"REQUEST_METHOD"] == b"PUT" and variables[b"REQUEST_URI"] == b"/a?b"
    assert variables[b"UWSGI_FASTROUTER_KEY"] == b"bar.com" and node.bodies == [b"abc"]


def test_a_request_that_cannot_be_made():
    for words, expected in (
        ((), "expected ADDRESS and perhaps a URL"),
        (("127.0.0.1:1", "http://a:b/"), "no packet can be made of 'http://a:b/': "),
        (("127.0.0.1:1", "http://[/"), "no packet can be made of 'http://[/': "),
        (("127.0.0.1:1", "--variable=A"), "--variable A: expected NAME=VALUE"),
        (("127.0.0.1:1", "-V", f"A={'x' * 66000}"), "no packet can be made of 'http://localhost/': "),
        (("127.0.0.1:1", "-t", "0"), "--timeout 0: expected a number of seconds above 0"),
        (("127.0.0.1:1", "-d", "x", "--no-such"), "--no-such: "),
    ):
        found = run(*words)
        assert found.returncode == 2 and expected in found.stderr and "Traceback" not in found.stderr
    sock, address = refusing_address()
    with sock:
        found = run(address)
        assert found.returncode == 1 and "Connection refused" in found.stderr
