"""Every way to announce that the documents have, signed, and everything that is to be refused: real uWSGI
instances, four router workers, over UDP and over a UNIX socket with credentials."""

import contextlib
import os
import re
import signal
import socket
import tempfile
import time

import pytest
from harness import LIMIT, Program, Router, free_port, interrupt, request, send_announcement, wait_until
from signing import KeyPair

from fastrouter.wire.announcement import Announcement, parse_announcement

KEYS = ("foo.com", "unbit.it", "two.com", "named.com")


@pytest.fixture(scope="module")
def keys():
    return KeyPair()


@pytest.fixture
def place(keys):
    """Key files, owned files and an application, where every user may look."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        for directory in ("public", "owned"):
            os.mkdir(f"{name}/{directory}")
        for key in (*KEYS, "theirs.com"):
            with open(f"{name}/public/{key}.pem", "wb") as file:
                file.write(keys.public)
            open(f"{name}/owned/{key}", "w").close()
        os.chown(f"{name}/owned/theirs.com", 65534, 65534)
        with open(f"{name}/private.pem", "wb") as file:
            file.write(keys.private)
        with open(f"{name}/other.pem", "wb") as file:
            file.write(KeyPair().private)
        with open(f"{name}/app.py", "w") as file:
            file.write(
                "def application(environ, start_response):\n"
                "    start_response('200 OK', [])\n"
                "    return [b'served ' + environ['HTTP_HOST'].encode()]\n"
            )
        yield name


@contextlib.contextmanager
def checking_router(place, kind, digest, *more):
    """A router that checks signatures and, on a UNIX socket, who sends."""
    server = "127.0.0.1:0" if kind == "udp" else f"{place}/subscriptions.sock"
    known = ("--subscriptions-use-credentials", f"--subscriptions-credentials-check={place}/owned/")
    with Router(
        "--fastrouter=127.0.0.1:0", f"--fastrouter-subscription-server={server}", "--fastrouter-processes=4",
        f"--subscriptions-sign-check={digest}:{place}/public", *(known if kind == "unix" else ()), *more,
    ) as router:  # fmt: skip
        if kind == "unix":
            os.chmod(server, 0o666)
        yield router


def instance(uwsgi, place, *subscriptions):
    return Program(uwsgi, "--master", "--socket=127.0.0.1:0", f"--wsgi-file={place}/app.py", *subscriptions)


def refused(router):
    """How many announcements were refused, by reason."""
    before = router.output.count("announcements accepted")
    router.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: router.output.count("announcements accepted") > before, "statistics")
    line = [line for line in router.lines if "announcements accepted" in line][-1]
    return {reason: int(count) for count, reason in re.findall(r"(\d+) ([a-z_]+)(?:, |\)$)", line)}


@pytest.mark.root
@pytest.mark.parametrize("digest", ["SHA1", "SHA256"])
@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_every_form_of_announcing(uwsgi, place, kind, digest):
    sign = f"{digest}:{place}/private.pem"
    address = free_port("127.0.0.1")
    with checking_router(place, kind, digest) as router:
        with Program(
            uwsgi, "--master", f"--socket={address}", f"--wsgi-file={place}/app.py",
            f"--subscribe-to={router.server}:foo.com,0,{sign}",
            f"--subscribe-to={address}={router.server}:named.com,0,{sign}",
            f"--subscribe-to={router.server}:unbit.it,0,{sign}",
            f"--subscribe2=server={router.server},key=two.com,weight=3,sign={sign}",
        ) as node:  # fmt: skip
            for key in KEYS:
                router.wait_for(f"{key} => new node: {address}$")
                answers = {request(router.address, HTTP_HOST=key).rpartition(b"\n")[2] for _ in range(16)}
                assert answers == {f"served {key}".encode()}, "each of the four workers knows it"
            interrupt(node)
            for key in KEYS:
                router.wait_for(f"{key} => {address} has left")
        assert refused(router) == {}


@contextlib.contextmanager
def captor():
    """Where announcements are captured on their way: its address, and a function for the next one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(LIMIT)
        yield f"127.0.0.1:{sock.getsockname()[1]}", lambda: sock.recv(4096)


@pytest.mark.root
@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_every_refusal_is_counted(uwsgi, place, keys, node, kind):
    sign = f"SHA256:{place}/private.pem"
    with (
        checking_router(place, kind, "SHA256", "--subscriptions-sign-check-tolerance=1000") as router,
        captor() as (address, captured),
        captor() as (other_address, other_captured),
        instance(uwsgi, place, f"--subscribe-to={address}:foo.com,0,{sign}"),
        instance(uwsgi, place, f"--subscribe-to={other_address}:foo.com,0,SHA256:{place}/other.pem"),
    ):
        good, later, wrong = captured(), captured(), other_captured()
        unsigned = Announcement("foo.com", node.address).encode()
        tampered = good.replace(b"modifier1\1\0000", b"modifier1\1\0005")
        assert tampered != good
        now = int(time.time())  # noqa: TID251 - part of the format
        stale = keys.signed(Announcement("foo.com", node.address), now - 2000, "SHA256")
        for datagram in (unsigned, tampered, wrong, stale):
            send_announcement(router.server, datagram)
        expected = {"unsigned": 1, "signature": 2, "stale": 1}
        wait_until(lambda: refused(router) == expected, "four refusals")
        assert "new node" not in router.output
        for datagram in (good, later):
            send_announcement(router.server, datagram)
        router.wait_for(f"foo.com => new node: {parse_announcement(good).address}")
        for datagram in (good, later, good[:3] + b"\1" + good[4:], later[:3] + b"\1" + later[4:]):
            send_announcement(router.server, datagram)
        expected["replayed"] = 4
        wait_until(lambda: refused(router) == expected, "eight refusals")
        if kind == "unix":
            theirs = keys.signed(Announcement("theirs.com", node.address), now, "SHA256")
            send_announcement(router.server, theirs)
            as_nobody(lambda: send_announcement(router.server, captured()))
            expected["credentials"] = 2
            wait_until(lambda: refused(router) == expected, "ten refusals")
            as_nobody(lambda: send_announcement(router.server, theirs))
            router.wait_for("theirs.com => new node")
        assert request(router.address).endswith(b"served foo.com"), "the node is still there"
        assert refused(router) == expected


def as_nobody(act):
    """Do something in a process of another user."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            act()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
