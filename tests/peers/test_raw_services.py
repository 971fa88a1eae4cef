"""Real services behind the raw router, and real readers of what it tells of clients."""

import shutil
import signal

import pytest
from harness import BIN, Program, RawRouter, connect, free_port, read_all, request, wait_until

SUBSCRIBE = BIN / "fastrouter-subscribe"


def installed(name):
    found = shutil.which(name, path="/usr/bin:/usr/sbin")
    assert found, f"{name} is not installed; scripts/test installs all that the tests need"
    return found


def command(sock, text):
    """What Redis answers to one command."""
    sock.sendall(text.encode() + b"\r\n")
    return sock.recv(1000)


def test_redis_servers_that_announce_themselves(tmp_path):
    with RawRouter("--rawrouter-subscription-server=127.0.0.1:0", "--rawrouter-cheap") as router:

        def redis(name):
            port = free_port("127.0.0.1").rpartition(":")[2]
            (tmp_path / name).mkdir()
            server = ("--server", router.server, "--key", router.address, "--address", f"127.0.0.1:{port}")
            program = (installed("redis-server"), "--port", port, "--dir", tmp_path / name, "--save", "")
            return Program(SUBSCRIBE, *server, "--drain=0", "--", *program)

        with redis("one") as one:
            router.wait_for("=> new node")
            with connect(router.address) as sock:
                assert command(sock, "SET name one") == b"+OK\r\n"
                with redis("two") as two:
                    router.wait_for("=> new node", 2)
                    with connect(router.address) as other, connect(router.address) as third:
                        answers = {command(one, "GET name") for one in (other, third)}
                    assert answers == {b"$3\r\none\r\n", b"$-1\r\n"}
                    assert two.stop() == 0
                router.wait_for("no more requests to")
                assert command(sock, "GET name") == b"$3\r\none\r\n", "who was there stays"
                assert command(sock, "QUIT") == b"+OK\r\n" and read_all(sock) == b""
            assert one.stop() == 0
        router.wait_for("Going cheap")


def test_a_real_uwsgi_announces_itself(uwsgi, app_file):
    with RawRouter("--rawrouter-subscription-server=127.0.0.1:0") as router:
        words = ("--master", "--socket", "127.0.0.1:0", "--wsgi-file", app_file, "--need-app")
        subscription = f"{router.server}:{router.address}"
        with Program(uwsgi, *words, "--subscribe-to", subscription) as instance:
            router.wait_for("=> new node")
            assert b"host=foo.com" in request(router.address)
            assert instance.stop(signal.SIGINT) == 0


@pytest.fixture(params=["nginx", "haproxy"])
def reader(request, tmp_path, nginx):
    """A web server that says who it thinks the client is; and its address."""
    path = tmp_path / "web.sock"
    if request.param == "nginx":
        (tmp_path / "nginx.conf").write_text(
            "daemon off; user root; pid nginx.pid; error_log stderr;\n"
            "events {}\n"
            f"http {{ access_log off; server {{ listen unix:{path} proxy_protocol;\n"
            "return 200 $proxy_protocol_addr:$proxy_protocol_port; } }\n"
        )
        words = (nginx, "-c", tmp_path / "nginx.conf", "-p", tmp_path, "-e", "stderr")
    else:
        (tmp_path / "haproxy.cfg").write_text(
            "defaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 5s\n"
            f"frontend web\n bind unix@{path} accept-proxy\n"
            " http-request return status 200 content-type text/plain lf-string %ci:%cp\n"
        )
        words = (installed("haproxy"), "-db", "-f", tmp_path / "haproxy.cfg")
    with Program(*words):
        wait_until(path.exists, "the web server")
        yield str(path)


@pytest.mark.root
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_web_servers_are_told_who_the_client_is(reader, version, host):
    arguments = ("--rawrouter-to", reader, f"--rawrouter-send-proxy={version}")
    with RawRouter(*arguments, listener=f"{host}:0") as router, connect(router.address) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        port = sock.getsockname()[1]
        assert read_all(sock).endswith(f"{host.strip('[]')}:{port}".encode())


@pytest.mark.root
@pytest.mark.parametrize("version", [1, 2])
def test_web_servers_are_told_that_a_client_has_no_address(reader, version, tmp_path):
    path = tmp_path / "raw.sock"
    arguments = ("--rawrouter-to", reader, f"--rawrouter-send-proxy={version}")
    with RawRouter(*arguments, listener=path), connect(str(path)) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1")
