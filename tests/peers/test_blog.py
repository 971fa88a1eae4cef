"""The documented deployment: nginx, this router, and real uWSGI instances that announce themselves."""

import contextlib
import os
import re
import shutil
import signal
import socket
from collections import Counter
from pathlib import Path

import pytest
from harness import (
    LIMIT,
    MASTER,
    ROOT,
    Program,
    Router,
    connect,
    free_port,
    load,
    read_all,
    request,
    wait_until,
)

BLOG = ROOT / "conf" / "blog"

APP = """
import os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"pid=%d" % os.getppid()]
"""


@pytest.fixture
def place(tmp_path):
    """The blog's files with the ports moved: the router's socket and nginx's become UNIX sockets."""
    for file in ("router.ini", "worker.ini", "nginx.conf"):
        shutil.copy(BLOG / file, tmp_path)
    replace(tmp_path / "router.ini", "127.0.0.1:3031", f"{tmp_path}/router.sock")
    replace(tmp_path / "router.ini", "0.0.0.0:2626", "0.0.0.0:0")
    replace(tmp_path / "nginx.conf", "127.0.0.1:3031", f"unix:{tmp_path}/router.sock")
    replace(tmp_path / "nginx.conf", "listen 8080", f"listen unix:{tmp_path}/web.sock")
    replace(tmp_path / "nginx.conf", "worker_processes 1;", "user root;\nworker_processes 1;")
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def replace(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


class Deployment:
    """Everything but the instances."""

    def __init__(self, place, nginx, uwsgi, *arguments):
        self.place, self.uwsgi = place, uwsgi
        with contextlib.ExitStack() as stack:
            self.router = stack.enter_context(Router("--ini", place / "router.ini", *arguments))
            self.port = self.router.server.rpartition(":")[2]
            replace(place / "worker.ini", "127.0.0.1:2626", f"127.0.0.1:{self.port}")
            stack.enter_context(Program(nginx, "-c", place / "nginx.conf", "-p", place, "-e", "stderr"))
            wait_until((place / "web.sock").exists, "nginx")
            self._stack = stack.pop_all()

    def instance(self):
        """A real uWSGI with the blog's worker.ini; returns it with the pid that its answers carry."""
        nodes = sum("new node" in line for line in self.router.lines)
        program = Program(self.uwsgi, "--ini", self.place / "worker.ini", cwd=self.place)
        self.router.wait_for("foo.com => new node", nodes + 1)
        program.wait_for("spawned uWSGI worker 2")
        return program

    def get(self, host="foo.com"):
        """One request through nginx: the instance that answered, or the status when none did."""
        with connect(str(self.place / "web.sock")) as sock:
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            reply = read_all(sock)
        found = re.search(rb"pid=(\d+)", reply)
        return int(found[1]) if found else reply[:12]

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self._stack.close()


def test_the_blog(place, nginx, uwsgi):
    with Deployment(place, nginx, uwsgi) as blog, blog.instance() as first, blog.instance() as second:
        blog.router.wait_for(r"new pool: foo.com \(hash key: 11571\)")
        blog.router.wait_for(r"leaving cheap mode\.\.\.")
        assert Counter(blog.get() for _ in range(100)) == {first.pid: 50, second.pid: 50}
        with blog.instance() as third:
            shares = Counter(blog.get() for _ in range(99))
            assert shares == {first.pid: 33, second.pid: 33, third.pid: 33}
            with load(blog.get) as outcomes:
                wait_until(lambda: len(outcomes) > 40, "requests")
                assert third.stop(signal.SIGINT) == 0
                blog.router.wait_for("=> .* has left")
                enough = len(outcomes) + 40
                wait_until(lambda: len(outcomes) > enough, "more requests")
            assert set(outcomes) == {first.pid, second.pid, third.pid}


@pytest.mark.parametrize("host", ["foo.com:8080", "FOO.com", "foo.com."])
def test_a_host_in_other_spellings(place, nginx, uwsgi, host):
    """With nginx's own uwsgi_params; Debian's have another HTTP_HOST than the client's."""
    params = Path("/etc/nginx/uwsgi_params").read_text()
    stock = re.sub(r"^uwsgi_param\s+HTTP_HOST\s.*$", "", params, flags=re.MULTILINE)
    (place / "uwsgi_params").write_text(stock)
    replace(place / "nginx.conf", "/etc/nginx/uwsgi_params", "uwsgi_params")
    with Deployment(place, nginx, uwsgi) as blog, blog.instance() as instance:
        assert blog.get(host) == instance.pid


def test_an_instance_that_is_killed_costs_at_most_what_it_held(place, nginx, uwsgi):
    with Deployment(place, nginx, uwsgi) as blog, blog.instance() as first, blog.instance() as second:
        threads = 4
        with load(blog.get, threads) as outcomes:
            wait_until(lambda: len(outcomes) > 40, "requests")
            os.killpg(second.pid, signal.SIGKILL)
            enough = len(outcomes) + 60
            wait_until(lambda: len(outcomes) > enough, "more requests")
        assert len([one for one in outcomes if one not in (first.pid, second.pid)]) <= threads
        blog.router.wait_for("marking .* as failed|rests for")
        assert {blog.get() for _ in range(10)} == {first.pid}


def test_without_instances_a_request_waits_for_one(place, nginx, uwsgi):
    with Deployment(place, nginx, uwsgi) as blog:
        with blog.instance() as first:
            assert blog.get() == first.pid
            first.process.send_signal(signal.SIGINT)
            blog.router.wait_for("=> .* has left")
        blog.router.wait_for("no more nodes available. Going cheap")
        with connect(str(place / "web.sock"), limit=2 * LIMIT) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: foo.com\r\nConnection: close\r\n\r\n")
            with blog.instance() as second:
                assert b"pid=%d" % second.pid in read_all(sock)


def test_our_own_instances_run_the_same_worker_ini(place, nginx, uwsgi):
    with Deployment(place, nginx, uwsgi) as blog:
        with Program(MASTER, "--ini", place / "worker.ini", cwd=place) as program:
            program.wait_for("these options of uWSGI mean nothing here .*: plugins .*, heartbeat ")
            blog.router.wait_for("foo.com => new node")
            assert blog.get() == program.pid
            program.wait_for(r'^unix: - - \[.*\] "GET / HTTP/1.1" 200 \d+ "-" "-"$')


def test_a_real_fastrouter_takes_our_announcements(uwsgi, app_file, tmp_path):
    """The other way round: uWSGI's fastrouter in front of our application."""
    server = free_port("127.0.0.1", socket.SOCK_DGRAM)
    path = str(tmp_path / "uwsgi.sock")
    with Program(
        uwsgi, "--master", "--fastrouter", path, "--fastrouter-subscription-server", server
    ) as theirs:
        theirs.wait_for("spawned uWSGI fastrouter 1")
        with Program(
            MASTER, "--socket=127.0.0.1:0", "--wsgi-file", app_file, f"--subscribe-to={server}:foo.com"
        ) as ours:
            theirs.wait_for("foo.com => new node")
            assert b"host=foo.com" in request(path)
            assert ours.stop() == 0
        theirs.wait_for("foo.com => marking .* as failed")
        theirs.stop(signal.SIGINT)


def test_the_log_of_requests(place, nginx, uwsgi):
    log = place / "requests"
    options = (
        "--fastrouter-log",
        log,
        "--fastrouter-log-format=%(method) %(uri) %(host) %(status) %(key) %(node)",
    )
    with Deployment(place, nginx, uwsgi, *options) as deployment:
        with deployment.instance() as instance:
            instance.wait_for("spawned uWSGI worker 2")
            deployment.get()
            deployment.get("unknown.com")
            wait_until(lambda: log.read_text().count("\n") == 2, "two lines")
        first, second = log.read_text().splitlines()
        assert re.fullmatch(r"GET / foo\.com 200 foo\.com 127\.0\.0\.1:\d+", first)
        assert second == "GET / unknown.com 404 unknown.com -"
