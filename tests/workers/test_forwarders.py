"""The ways to find a node, with real processes."""

import pytest
from harness import (
    MASTER,
    FakeNode,
    Program,
    Router,
    connect,
    read_all,
    refusing_address,
    request,
    subscription_router,
)


def test_base_and_pattern(tmp_path):
    (tmp_path / "bar.com").mkdir()
    with (
        FakeNode(path=str(tmp_path / "foo.com")) as foo,
        FakeNode(path=str(tmp_path / "bar.com" / "u.sock")) as bar,
    ):
        with Router("--fastrouter=127.0.0.1:0", "--fastrouter-use-base", f"{tmp_path}/") as router:
            assert request(router.address, "http://foo.com/").endswith(foo.address.encode())
            assert request(router.address, "http://nobody.com/") == b""
            router.wait_for("unable to connect.*nobody.com.*No such file")
            assert request(router.address, HTTP_HOST="../../etc/passwd") == b""
        with Router(
            "--fastrouter=127.0.0.1:0", "--fastrouter-use-pattern", f"{tmp_path}/%s/u.sock"
        ) as router:
            assert request(router.address, "http://bar.com/").endswith(bar.address.encode())


def test_a_pattern_in_a_file_with_one_percent_sign_or_two(tmp_path):
    (tmp_path / "foo.com").mkdir()
    with FakeNode(path=str(tmp_path / "foo.com" / "u.sock")) as node:
        for sign in ("%s", "%%s"):
            ini = tmp_path / "router.ini"
            ini.write_text(
                f"[uwsgi]\nfastrouter = 127.0.0.1:0\nfastrouter-use-pattern = {tmp_path}/{sign}/u.sock\n"
            )
            with Router("--ini", ini) as router:
                assert request(router.address).endswith(node.address.encode())


def test_what_has_no_effect_is_said(tmp_path, node):
    arguments = ["--fastrouter=127.0.0.1:0", "--fastrouter-to", node.address, "--fastrouter-use-base=/tmp/"]
    with Router(*arguments) as router:
        router.wait_for("fastrouter-to has no effect beside fastrouter-use-base")
    arguments = [
        "--fastrouter=127.0.0.1:0",
        "--fastrouter-use-base=/tmp/",
        "--fastrouter-max-conns=5",
        "--fastrouter-fallback-on-no-key",
        "--fastrouter-post-buffering-dir=/tmp",
        "--fastrouter-resubscribe-bind=127.0.0.1:0",
        "--fastrouter-subscription-fallback-key=x",
        "--subscription-mountpoints=2",
    ]
    with Router(*arguments) as router:
        for option, reason in (
            ("fastrouter-max-conns", "beside fastrouter-use-base"),
            ("fastrouter-fallback-on-no-key", "without fastrouter-fallback"),
            ("fastrouter-post-buffering-dir", "without fastrouter-post-buffering"),
            ("fastrouter-resubscribe-bind", "without fastrouter-resubscribe"),
            ("fastrouter-subscription-fallback-key", "without fastrouter-subscription-server"),
            ("subscription-mountpoints", "without fastrouter-subscription-server"),
        ):
            router.wait_for(f"{option} has no effect {reason}$")
    with Router("--fastrouter=127.0.0.1:0") as router:
        router.wait_for("no way to find a node")
        with connect(router.address) as sock:
            sock.sendall(b"\0\0\0\0")
            assert read_all(sock) == b""


def test_a_socket_without_an_application():
    with Program(MASTER, "--socket=127.0.0.1:0") as program:
        address = program.wait_for("app workers bound on (.*)")[1]
        assert request(address).startswith(b"HTTP/1.1 500")
        program.wait_for("no application found")


def test_fallbacks(nodes):
    dead, address = refusing_address()
    first, second = nodes[0].address, nodes[1].address
    with (
        dead,
        subscription_router("--fastrouter-fallback", address, "--fastrouter-fallback", first) as router,
    ):
        router.announce("foo.com", nodes[2].address)
        router.announce("dead.com", address)
        assert request(router.address, "http://foo.com/").endswith(nodes[2].address.encode())
        assert request(router.address, "http://dead.com/").endswith(first.encode())
        assert request(router.address, "http://dead.com/").endswith(first.encode())
        assert request(router.address, "http://unknown.com/") == b""
        router.wait_for(r"unable to connect.*\(0 retries\)")
        router.wait_for(r"unable to connect.*\(1 retries\)")
        assert sum("as failed" in line for line in router.lines) == 1
    with subscription_router("--fastrouter-fallback", second, "--fastrouter-fallback-on-no-key") as router:
        assert request(router.address, "http://unknown.com/").endswith(second.encode())
        assert request(router.address, HTTP_HOST="", SERVER_NAME="") == b""


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("x.c.org", True),
        ("y.x.c.org", True),
        ("c.org", False),
        ("1.2.3.4.c.org", True),
        ("1.2.3.4.5.c.org", False),
    ],
)
def test_dotsplit(node, key, found):
    with subscription_router("--subscription-dotsplit") as router:
        router.announce(".c.org", node.address)
        assert request(router.address, f"http://{key}/").endswith(node.address.encode()) is found


def test_fallback_key_and_force_key(nodes):
    with subscription_router("--fastrouter-subscription-fallback-key=default") as router:
        router.announce("default", nodes[0].address)
        router.announce("foo.com", nodes[1].address)
        assert request(router.address, "http://foo.com/").endswith(nodes[1].address.encode())
        assert request(router.address, "http://bar.com/").endswith(nodes[0].address.encode())
        router.unsubscribe("foo.com", nodes[1].address)
        assert request(router.address, "http://foo.com/").endswith(nodes[0].address.encode())
    with subscription_router("--fastrouter-force-key=all") as router:
        router.announce("all", nodes[2].address)
        assert request(router.address, "http://foo.com/").endswith(nodes[2].address.encode())
        assert request(router.address, HTTP_HOST="", SERVER_NAME="").endswith(nodes[2].address.encode())
