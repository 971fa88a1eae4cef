"""Signed announcements and credentials of real uWSGI instances, with four router workers."""

import os
import signal
import tempfile
import time

import pytest
from harness import (
    MASTER,
    Program,
    Router,
    free_port,
    interrupt,
    request,
    send_announcement,
    subscription_router,
    wait_until,
)
from signing import KeyPair

from fastrouter.wire.announcement import Announcement


@pytest.fixture(scope="module")
def keys():
    return KeyPair()


@pytest.fixture
def place(tmp_path, keys):
    """Directories of keys, and an application."""
    (tmp_path / "public").mkdir()
    keys.write_private(tmp_path / "private.pem")
    KeyPair().write_private(tmp_path / "other.pem")
    for key in ("foo.com_8000", "bar.com"):
        keys.write_public(tmp_path / "public" / f"{key}.pem")
    (tmp_path / "app.py").write_text(
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [b'served']\n"
    )
    return tmp_path


def checking_router(place, digest="SHA1", *more):
    return subscription_router(
        "--fastrouter-processes=4", f"--subscriptions-sign-check={digest}:{place}/public", *more
    )


@pytest.fixture(params=["uwsgi", "fastrouter-master"])
def instance(request, place):
    program = request.getfixturevalue("uwsgi") if request.param == "uwsgi" else MASTER

    def start(*subscriptions):
        app = ("--master", "--socket=127.0.0.1:0", "--wsgi-file", place / "app.py")
        return Program(program, *app, *subscriptions)

    return start


def statistics(router):
    before = router.output.count("announcements accepted")
    router.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: router.output.count("announcements accepted") > before, "statistics")
    return [line for line in router.lines if "announcements accepted" in line][-1]


@pytest.mark.parametrize("digest", ["SHA1", "SHA256"])
def test_signed_ones_are_taken_and_taken_back(place, instance, digest):
    with checking_router(place, digest) as router:
        with instance(
            f"--subscribe-to={router.server}:foo.com:8000,0,{digest}:{place}/private.pem",
            f"--subscribe2=server={router.server},key=bar.com,sign={digest}:{place}/private.pem",
        ) as node:
            for key in ("foo.com:8000", "bar.com"):
                router.wait_for(f"{key} => new node")
                assert all(request(router.address, HTTP_HOST=key).endswith(b"served") for _ in range(12))
            interrupt(node)
            for key in ("foo.com:8000", "bar.com"):
                router.wait_for(f"{key} => .* has left")


def test_others_are_refused_and_counted(place, instance):
    with checking_router(place) as router:
        with instance(
            f"--subscribe-to={router.server}:foo.com:8000",
            f"--subscribe-to={router.server}:bar.com,0,SHA1:{place}/other.pem",
            f"--subscribe2=server={router.server},key=nokey.com,sign=SHA1:{place}/private.pem",
        ):
            router.wait_for("refused an announcement from 127.0.0.1: foo.com:8000 is not signed")
            router.wait_for("refused an announcement from 127.0.0.1: bar.com: the signature is wrong")
            router.wait_for("nokey.com: there is no public key: .*nokey.com.pem: No such file")
            assert "new node" not in router.output
            line = statistics(router)
            assert "unsigned" in line and "signature" in line and ": 0 announcements accepted" in line


def test_a_restarted_instance_gets_in(place, uwsgi):
    """With the same address, as fast as it can; within the second its announcement is like the first one's."""
    address = free_port("127.0.0.1")
    with checking_router(place) as router:
        for count in (1, 2):
            command = [
                uwsgi, "--master", f"--socket={address}", "--wsgi-file", place / "app.py",
                f"--subscribe-to={router.server}:bar.com,0,SHA1:{place}/private.pem", "--subscribe-freq=2",
            ]  # fmt: skip
            with Program(*command) as node:
                router.wait_for("bar.com => new node", count)
                assert request(router.address, HTTP_HOST="bar.com").endswith(b"served")
                interrupt(node)
                router.wait_for("bar.com => .* has left", count)


def test_what_was_heard_once_is_not_obeyed_again(place, keys, node):
    with checking_router(place) as router:
        now = int(time.time())  # noqa: TID251 - part of the format
        announcement = Announcement("bar.com", node.address)
        captured = [keys.signed(announcement, now + step) for step in range(3)]
        for one in captured:
            send_announcement(router.server, one)
        router.wait_for("bar.com => new node")
        for one in captured:
            send_announcement(router.server, one)
            send_announcement(router.server, one[:3] + b"\1" + one[4:])
        router.wait_for(r"invalid \(sniffed \?\) packet sent for slot: bar.com node: .* unix_check: \d+", 6)
        assert "6 replayed" in statistics(router)
        assert request(router.address, HTTP_HOST="bar.com").endswith(node.address.encode())
        os.kill(router.pids("subscription server")[0], signal.SIGKILL)
        router.wait_for("respawned fastrouter subscription server")
        send_announcement(router.server, captured[2][:3] + b"\1" + captured[2][4:])
        router.wait_for("sniffed", 7)
        assert request(router.address, HTTP_HOST="bar.com").endswith(node.address.encode())


def subscription_router_at(server, *more):
    return Router(
        "--fastrouter=127.0.0.1:0",
        f"--fastrouter-subscription-server={server}",
        "--fastrouter-processes=4",
        "--chmod-socket=666",
        "--subscriptions-use-credentials",
        *more,
    )


@pytest.mark.root
def test_credentials(place, instance):
    owned = place / "owned"
    owned.mkdir()
    (owned / "mine.com").touch()
    (owned / "theirs.com").touch()
    os.chown(owned / "theirs.com", 65534, 65534)
    server = place / "announcements.sock"
    with (
        subscription_router_at(server, f"--subscriptions-credentials-check={owned}/") as router,
        instance(f"--subscribe-to={server}:mine.com", f"--subscribe-to={server}:theirs.com"),
    ):
        router.wait_for("mine.com => new node")
        router.wait_for(r"the sender \(uid 0, gid 0\) does not own theirs.com")
        assert "theirs.com => new node" not in router.output
        assert "credentials" in statistics(router)


def announce_as(user, server, key):
    """From a process of that user."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setgid(user)
            os.setuid(user)
            send_announcement(str(server), Announcement(key, "127.0.0.1:99"))
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.root
def test_trusted_users_need_not_sign(place):
    with tempfile.TemporaryDirectory() as open_to_all:  # unlike pytest's own
        os.chmod(open_to_all, 0o755)
        server = f"{open_to_all}/announcements.sock"
        options = (f"--subscriptions-sign-check=SHA1:{place}/public", "--subscriptions-sign-skip-uid=65534")
        with subscription_router_at(server, *options) as router:
            os.chmod(server, 0o666)
            announce_as(65534, server, "bar.com")
            router.wait_for("bar.com => new node")
            for user in (0, 65533):
                announce_as(user, server, "foo.com")
            router.wait_for("foo.com is not signed", 2)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--subscriptions-sign-check=SHA1"], "expected DIGEST:DIRECTORY"),
        (["--subscriptions-sign-check=SHA9:/tmp"], "DIGEST one of SHA1"),
        (["--subscriptions-sign-check=SHA1:/nowhere"], "there is no such directory"),
        (["--subscriptions-use-credentials"], "needs the path of a UNIX socket"),
        (
            ["--subscriptions-credentials-check=/tmp/"],
            "without subscriptions-use-credentials nobody is known",
        ),
        (["--subscriptions-sign-skip-uid=5"], "without subscriptions-use-credentials nobody is known"),
    ],
)
def test_configurations_that_check_nothing(options, problem):
    server = "--fastrouter-subscription-server=127.0.0.1:0"
    with Program(MASTER, "--fastrouter=127.0.0.1:0", server, *options) as program:
        assert program.wait() == 1
        assert problem in program.output
