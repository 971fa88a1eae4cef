"""Strangers who speak the cache protocol to the application's sockets."""

import contextlib
import socket

import pytest
from harness import MASTER, Program, Router, connect, read_all

from fastrouter.cache.wire import Call, call_packet

SET = call_packet(Call("set", "", b"foo.com", b"127.0.0.1:9"))
GET = call_packet(Call("get", "", b"foo.com"))


def said(address, packet):
    with connect(address) as sock:
        sock.sendall(packet)
        with contextlib.suppress(OSError):  # it may have closed by now
            sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


@pytest.mark.parametrize("allowed", [[], ["--cache-allow=10.0.0.0/8"], ["--cache-allow=unix"]])
def test_they_are_not_obeyed_unless_they_are_listed(app_file, allowed):
    with Program(MASTER, "--socket=127.0.0.1:0", "--wsgi-file", app_file, "--cache=10", *allowed) as app:
        address = app.wait_for(r"app workers bound on (.*)")[1]
        app.wait_for("^ready$")
        assert said(address, SET) == said(address, GET) == b""
        app.wait_for(r"refused a cache command from 127.0.0.1 \(cache-allow\)")
        said(address, GET)
        assert app.output.count("refused a cache command") == 1


def test_nor_where_the_router_accepts_too(app_file):
    """There is everybody: what a client says must not say where requests go."""
    with Router(
        "--shared-socket=127.0.0.1:0", "--fastrouter==0", "--socket==0", "--wsgi-file", app_file, "--cache=10",
        "--fastrouter-use-cache", "--cache-allow=127.0.0.0/8",
    ) as router:  # fmt: skip
        for _ in range(20):
            assert said(router.address, SET) in (b"", b"\x00")
            assert b"127.0.0.1:9" not in said(router.address, GET)


def test_those_who_may_connect_to_a_unix_socket(tmp_path, app_file):
    path = str(tmp_path / "app.sock")
    with Program(
        MASTER, f"--socket={path}", "--wsgi-file", app_file, "--cache=10", "--cache-allow=unix"
    ) as app:
        app.wait_for("^ready$")
        assert b"ok" in said(path, SET)
        assert said(path, GET).endswith(b"127.0.0.1:9")
