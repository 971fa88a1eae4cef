"""The ways to find a node, with real processes."""

from harness import MASTER, FakeNode, Program, Router, connect, read_all, request


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
