"""Real servers and passed clients: who takes them, and who must never get one."""

import psutil
import pytest
from harness import BIN, Program, Router, free_port, request, subscription_router, wait_until


@pytest.fixture
def site(tmp_path):
    (tmp_path / "app.py").write_text(
        "def application(environ, start_response):\n"
        "    size = len(environ['wsgi.input'].read(int(environ.get('CONTENT_LENGTH') or 0)))\n"
        "    body = [str(size).encode()] if environ['PATH_INFO'] == '/' else [b'x' * 100_000] * 50\n"
        "    start_response('200 OK', [('Content-Length', str(sum(map(len, body))))])\n"
        "    return body\n"
    )
    return tmp_path


def test_gunicorn_with_our_worker_class(site):
    """It is announced by fastrouter-subscribe, and answers clients itself."""
    log = site / "requests"
    with subscription_router("--fastrouter-log", log, "--fastrouter-log-format=%(status) %(rsize)") as router:
        command = (
            BIN / "gunicorn", "--protocol=uwsgi", "--worker-class=fastrouter.gunicorn.SyncWorker", "--workers=2",
            "--bind=unix:app.sock", "--no-control-socket", "app:application",
        )  # fmt: skip
        path = str(site / "app.sock")
        with Program(
            BIN / "fastrouter-subscribe", "--server", router.server, "--key=foo.com", "--address", path, "--fd-passing",
            "--", *command, cwd=site,
        ):  # fmt: skip
            router.wait_for(f"foo.com => new node: {path}")
            assert request(router.address).endswith(b"\r\n0")
            for size in (10, 100_000, 2_000_000):
                assert request(router.address, body=b"x" * size).endswith(b"\r\n%d" % size)
            reply = request(router.address, "http://foo.com/large")
            assert reply.count(b"x" * 100_000) == 50
            lines = lambda: log.read_text().splitlines()  # noqa: E731
            wait_until(lambda: len(lines()) == 5, "the lines of the log")
            # What the worker reported, in any order; nobody else saw the answers.
            assert f"200 {len(reply)}" in lines()
        assert "takes no clients" not in router.output


def test_gunicorn_leaves_connections_open(site):
    """Its threads do, for answers with a length; without telling the router, each would last two seconds."""
    with subscription_router() as router:
        port = free_port("127.0.0.1")
        command = (
            BIN / "gunicorn", "--protocol=uwsgi", "--worker-class=gthread", "--threads=4", "--keep-alive=60",
            f"--bind={port}", "--no-control-socket", "app:application",
        )  # fmt: skip
        with Program(
            BIN / "fastrouter-subscribe", "--server", router.server, "--key=foo.com", "--address", port, "--keepalive",
            "--", *command, cwd=site,
        ):  # fmt: skip
            router.wait_for(f"foo.com => new node: {port}")
            worker = psutil.Process(router.pids("fastrouter worker")[0])
            for _ in range(10):
                assert request(router.address).endswith(b"\r\n0")
            for size in (10, 100_000):
                assert request(router.address, body=b"x" * size).endswith(b"%d" % size)
            assert request(router.address, "http://foo.com/large").count(b"x" * 100_000) == 50
            assert 1 <= len([one for one in worker.net_connections() if one.raddr]) <= 3


def test_a_real_uwsgi_is_relayed(tmp_path, uwsgi, app_file):
    """It announces nothing of the kind; and when it is configured by mistake, that is noticed at once."""
    path = tmp_path / "uwsgi.sock"
    with Program(
        uwsgi, "--master", f"--socket={path}", f"--wsgi-file={app_file}", "--need-app", cwd=tmp_path
    ) as node:
        node.wait_for("spawned uWSGI worker 1")
        for options in ([], [f"--fastrouter-fd-passing={path}"]):
            with Router("--fastrouter=127.0.0.1:0", f"--fastrouter-to={path}", *options) as router:
                assert [request(router.address).startswith(b"HTTP/1.1 200") for _ in range(3)] == [True] * 3
                assert request(router.address, body=b"x" * 50_000).endswith(b"body=50000")
                if options:
                    router.wait_for("takes no clients' descriptors")
            assert ("takes no clients' descriptors" in router.output) is bool(options)
