"""fastrouter-subscribe in front of real servers: gunicorn, uWSGI, whatever runs."""

import fcntl
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from harness import (
    BIN,
    LIMIT,
    MASTER,
    ROOT,
    FakeNode,
    HeldNode,
    Program,
    Router,
    free_port,
    gone,
    in_threads,
    load,
    read_request,
    request,
    subscription_router,
    wait_until,
)
from signing import Ed25519Pair, KeyPair

import fastrouter.announce
from fastrouter.wire.announcement import Announcement, parse_announcement
from fastrouter.wire.traits import Traits
from workers.announcing.rounds import Announcer

SUBSCRIBE = BIN / "fastrouter-subscribe"
GUNICORN = BIN / "gunicorn"


def a_port():
    return int(free_port("127.0.0.1").rpartition(":")[2])


@pytest.fixture
def app(tmp_path):
    (tmp_path / "site.py").write_text("")
    (tmp_path / "app.py").write_text(
        "import os, threading\n"
        "def application(environ, start_response):\n"
        "    threading.Event().wait(0.005)\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [os.environ.get('NAME', 'served').encode()]\n"
    )
    return tmp_path


def gunicorn(port, *more):
    return (
        GUNICORN,
        "--protocol",
        "uwsgi",
        "--bind",
        f"127.0.0.1:{port}",
        "--no-control-socket",
        *more,
        "app:application",
    )


def subscribed(router, place, port, command, *options, name="served"):
    return Program(
        SUBSCRIBE, "--server", router.server, "--key", "foo.com", "--address", f"127.0.0.1:{port}", *options, "--", *command,
        cwd=place, env={**os.environ, "NAME": name},
    )  # fmt: skip


def test_a_fleet_restarted_one_by_one_under_load(app):
    """Three instances of gunicorn are replaced, one after the other, and no request fails."""
    ports = [a_port() for _ in range(3)]
    with subscription_router("--fastrouter-processes=2") as router, ExitStack() as stack:

        def start(number, generation):
            name = f"{number}-{generation}"
            command = gunicorn(ports[number], "--worker-class=gthread", "--threads=4")
            fleet[number] = stack.enter_context(
                subscribed(router, app, ports[number], command, "--drain=1", name=name)
            )
            wait_until(lambda: name in served, f"an answer of {name}")

        fleet, served, failed = {}, set(), []

        def ask():
            answer = request(router.address)
            if answer.startswith(b"HTTP/1.1 200"):
                served.add(answer.rpartition(b"\r\n\r\n")[2].decode())
            elif fleet:
                failed.append(answer)

        first = gunicorn(ports[0], "--worker-class=gthread", "--threads=4")
        fleet[0] = stack.enter_context(subscribed(router, app, ports[0], first, "--drain=1", name="0-0"))
        router.wait_for("foo.com => new node")
        with load(ask) as outcomes:
            wait_until(lambda: "0-0" in served, "an answer")
            start(1, 0)
            start(2, 0)
            for number in range(3):
                enough = len(outcomes) + 50
                wait_until(lambda enough=enough: len(outcomes) > enough, "more requests")
                assert fleet[number].stop() == 0
                start(number, 1)
        assert not failed and not [one for one in outcomes if one is not None]
        assert served == {f"{number}-{generation}" for number in range(3) for generation in range(2)}


def test_it_says_goodbye_before_the_program_hears_of_the_end(app):
    with subscription_router() as router, HeldNode() as busy:
        # A program that only says when it was told to end.
        command = ("sh", "-c", "trap 'echo told; exit 7' TERM; echo runs; while :; do sleep 0.05; done")
        port = busy.address.rpartition(":")[2]
        with subscribed(router, app, port, command, "--drain=1", "--shared") as program:
            program.wait_for("^runs$")
            router.wait_for("foo.com => new node")

            def ask(number):
                if number == 0:
                    return request(router.address)
                busy.entered.wait(LIMIT)
                program.process.send_signal(signal.SIGTERM)
                router.wait_for("foo.com => no more requests to")
                assert request(router.address) == b""
                busy.release.set()
                return b""

            assert in_threads(2, ask)[0].endswith(b"served")
            assert program.wait() == 7
            said = [
                program.output.index(text) for text in ("asking for no more", "unsubscribing foo.com", "told")
            ]
            assert said == sorted(said)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("sh", "-c", "exit 0"), 0),
        (("sh", "-c", "exit 3"), 3),
        (("sh", "-c", "kill -9 $$"), 137),
        (("/no/such/program",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_the_exit_code_is_the_programs(app, command, code):
    with subscription_router() as router, subscribed(router, app, a_port(), command) as program:
        assert program.wait() == code
        assert "new node" not in router.output


def test_a_program_that_dies_is_taken_back_at_once(app):
    port = a_port()
    with subscription_router() as router, subscribed(router, app, port, gunicorn(port)) as program:
        router.wait_for("foo.com => new node")
        (child,) = psutil.Process(program.pid).children()
        for process in [child, *child.children(recursive=True)]:
            process.kill()
        router.wait_for("foo.com => .* has left")
        assert program.wait() == 137


def test_what_announces_dies_and_the_program_with_it(app):
    port = a_port()
    with subscription_router() as router, subscribed(router, app, port, gunicorn(port)) as program:
        router.wait_for("foo.com => new node")
        (child,) = psutil.Process(program.pid).children()
        os.kill(program.pid, signal.SIGKILL)
        wait_until(lambda: gone(child.pid), "the end of the program")


def test_impatience(app):
    with subscription_router() as router, FakeNode() as node:
        port = node.address.rpartition(":")[2]
        with subscribed(router, app, port, ("sleep", "600"), "--drain=600", "--shared") as program:
            router.wait_for("foo.com => new node")
            program.process.send_signal(signal.SIGTERM)
            router.wait_for("no more requests|has left")
            program.process.send_signal(signal.SIGTERM)
            assert program.wait() == 128 + signal.SIGTERM


def test_other_signals_are_passed_on(app):
    traps = "trap 'echo got HUP' HUP; trap 'echo got USR1' USR1"
    command = ("sh", "-c", f"{traps}; echo runs; while :; do sleep 0.05; done")
    with subscription_router() as router, FakeNode() as node:
        with subscribed(router, app, node.address.rpartition(":")[2], command, "--shared") as program:
            program.wait_for("^runs$")
            router.wait_for("foo.com => new node")
            program.process.send_signal(signal.SIGHUP)
            program.wait_for("got HUP")
            program.process.send_signal(signal.SIGUSR1)
            program.wait_for("got USR1")
            assert program.stop() == 128 + signal.SIGTERM


def test_a_program_that_will_not_end_hears_every_later_signal(app):
    traps = "trap 'echo no' TERM; trap 'echo bye; exit 9' INT"
    command = ("sh", "-c", f"{traps}; echo runs; while :; do sleep 0.05; done")
    with subscription_router() as router, FakeNode() as node:
        with subscribed(
            router, app, node.address.rpartition(":")[2], command, "--shared", "--drain=0"
        ) as program:
            program.wait_for("^runs$")
            router.wait_for("foo.com => new node")
            program.process.send_signal(signal.SIGTERM)
            program.wait_for("^no$")
            program.process.send_signal(signal.SIGINT)
            program.wait_for("^bye$")
            assert program.wait() == 9


def test_an_address_that_somebody_has_is_not_taken_over(app):
    """Else a program that fails to bind would, when it ends, take back the one that runs."""
    with subscription_router() as router, FakeNode() as node:
        router.announce("foo.com", node.address)
        with subscribed(
            router, app, node.address.rpartition(":")[2], ("sh", "-c", "echo started")
        ) as program:
            assert program.wait() == 126
            assert "something accepts there already" in program.output
            assert "started" not in program.output
        assert request(router.address).endswith(node.address.encode())


def test_a_program_that_uses_the_terminal(app):
    """It may read, and hears what is typed."""
    ours, theirs = pty.openpty()
    command = (
        SUBSCRIBE,
        "--server=127.0.0.1:9",
        "--key=x",
        f"--address=127.0.0.1:{a_port()}",
        "--",
        "sh",
        "-c",
        "read line; echo got $line; read line",
    )
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads that matter
    )
    os.close(theirs)
    try:
        os.write(ours, b"hello\n")
        heard = b""
        while b"got hello" not in heard:
            heard += os.read(ours, 1000)
        os.write(ours, b"\x03")
        assert process.wait(LIMIT) == 128 + signal.SIGINT
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_waiting_is_said(app):
    with subscription_router() as router, subscribed(router, app, a_port(), ("sleep", "600")) as program:
        program.wait_for("is not up yet: Connection refused")
        assert program.stop() == 128 + signal.SIGTERM


def announcing(router, *options):
    return Program(SUBSCRIBE, "--server", router.server, *options)


def test_something_that_runs_already(tmp_path):
    """It is announced while it is there: checked every round, found again within moments."""
    port = a_port()
    with subscription_router() as router:
        with announcing(router, "--key=foo.com", f"--address=127.0.0.1:{port}", "--freq=1") as program:
            for count in (1, 2):
                with FakeNode(port=port) as node:
                    router.wait_for("foo.com => new node", count)
                    assert request(router.address).endswith(node.address.encode())
                router.wait_for("foo.com => .* has left", count)
                program.wait_for("is down", count)
            assert program.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_the_end_of_announcing_something(number):
    with subscription_router() as router, FakeNode() as node:
        with announcing(router, "--key=foo.com", f"--address={node.address}", "--drain=0") as program:
            router.wait_for("foo.com => new node")
            assert program.stop(number) == 0
            router.wait_for("foo.com => no more requests")


def test_options_hold_for_uwsgis_notations_too(tmp_path):
    pair = KeyPair()
    pair.write_private(tmp_path / "private.pem")
    pair.write_public(tmp_path / "foo.com.pem")
    with subscription_router(f"--subscriptions-sign-check=SHA1:{tmp_path}") as router, FakeNode() as node:
        to = f"--subscribe-to={node.address}={router.server}:foo.com"
        with Program(
            SUBSCRIBE, to, f"--sign=SHA1:{tmp_path}/private.pem", "--modifier1=7", f"--check={tmp_path}/on"
        ):
            node.wait_for_requests(1)
            (tmp_path / "on").touch()
            router.wait_for("foo.com => new node", limit=2 * LIMIT)
            request(router.address)
            assert node.packets[-1][0] == 7


def test_every_option_of_an_announcement_arrives():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, FakeNode() as node:
        server.bind(("127.0.0.1", 0))
        server.settimeout(LIMIT)
        with Program(
            SUBSCRIBE, f"-s127.0.0.1:{server.getsockname()[1]}", "-kfoo.com", f"-a{node.address}", "--modifier1=1", "--modifier2=2",
            "--weight=3", "--backup=4", "--algo=lrc", "--max-conns=5", "--cores=6", "--notify=/run/n", "--drain=0",
        ) as program:  # fmt: skip
            expected = Announcement(
                "foo.com",
                node.address,
                traits=Traits(1, 2, weight=3, backup=4, algorithm="lrc", max_conns=5),
                cores=6,
                notify="/run/n",
            )
            assert parse_announcement(server.recv(4096)) == expected
            assert program.stop() == 0
            last = [parse_announcement(server.recv(4096))]
            while not last[-1].unsubscribe:
                last.append(parse_announcement(server.recv(4096)))
            assert last[-2] == replace(expected, drain=True)


def test_ping(uwsgi, app):
    """A real uWSGI answers; something that only accepts does not."""
    port = a_port()
    node = ("--master", f"--socket=127.0.0.1:{port}", "--wsgi-file", app / "app.py")
    with subscription_router() as router, FakeNode(lambda connection, number: connection.recv(1000)) as mute:
        with announcing(router, "--key=foo.com", f"--address={mute.address}", "--ping", "--freq=1"):
            with (
                Program(uwsgi, *node),
                announcing(router, "--key=bar.com", f"--address=127.0.0.1:{port}", "--ping"),
            ):
                router.wait_for("bar.com => new node")
                assert request(router.address, HTTP_HOST="bar.com").endswith(b"served")
            wait_until(lambda: mute.connections > 1, "two pings")
            assert "foo.com => new node" not in router.output


@pytest.mark.parametrize("options", [(), ("--ping",)], ids=["accepting", "ping"])
@pytest.mark.parametrize("server", ["gunicorn", "http.server", "waitress"])
def test_an_http_server_is_not_announced(app, server, options):
    """Its users would have status 400, or wait."""
    port = a_port()
    command = {
        "gunicorn": (GUNICORN, "--bind", f"127.0.0.1:{port}", "--no-control-socket", "app:application"),
        "waitress": (BIN / "waitress-serve", f"--listen=127.0.0.1:{port}", "app:application"),
        "http.server": (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)),
    }[server]
    with subscription_router() as router, subscribed(router, app, port, command, *options) as program:
        program.wait_for(f"127.0.0.1:{port} is not announced: it speaks HTTP, not uwsgi")
        assert program.stop() in (0, 128 + signal.SIGTERM)
        assert "foo.com => new node" not in router.output
        assert sum("speaks HTTP" in line for line in program.lines) == 1


def test_servers_that_take_a_greeting_for_a_request_are_announced():
    """Whatever they answer: a status of their application, nothing, or that they do not know it."""

    def wrong(connection, number):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with FakeNode(wrong) as one, FakeNode() as two, FakeNode(lambda connection, number: None) as three:
        with subscription_router() as router:
            for node in (one, two, three):
                with announcing(router, "--key=foo.com", f"--address={node.address}", "--check-timeout=1"):
                    router.wait_for(f"foo.com => new node: {node.address}")


def test_our_own_application_answers_pings(app):
    port = a_port()
    with (
        Program(MASTER, f"--socket=127.0.0.1:{port}", "--wsgi-file", app / "app.py") as node,
        subscription_router() as router,
    ):
        node.wait_for("^ready$")
        with announcing(router, "--key=foo.com", f"--address=127.0.0.1:{port}", "--ping"):
            router.wait_for("foo.com => new node")


def test_everything_that_subscribe2_says(tmp_path):
    """Several servers and keys, a file of keys, weight and the like, over UDP and a UNIX socket."""
    mapping = tmp_path / "keys"
    mapping.write_text("a.com\nb.com,5\n")
    unix = str(tmp_path / "s.sock")
    with (
        FakeNode() as node,
        subscription_router(f"--fastrouter-subscription-server={unix}") as first,
        subscription_router() as second,
    ):
        with Program(
            SUBSCRIBE, f"--server={first.server}", f"--server={second.server}", "--key=foo.com", f"--key=@{mapping}",
            f"--address={node.address}", "--modifier1=3", "--modifier2=4", "--weight=5", "--freq=1",
            f"--subscribe2=server={unix},key=two.com,addr={node.address},weight=9,backup=1,algo=lrc,max_conns=4",
            f"--subscribe-to={node.address}={first.server}:to.com,8",
        ) as program:  # fmt: skip
            for router in (first, second):
                for key in ("foo.com", "a.com", "b.com"):
                    router.wait_for(f"{key} => new node")
            first.wait_for("two.com => new node")
            first.wait_for("to.com => new node")
            request(first.address)
            assert node.packets[-1][0] == 3 and node.packets[-1][3] == 4
            request(first.address, HTTP_HOST="b.com")
            assert node.packets[-1][0] == 5
            request(first.address, HTTP_HOST="to.com")
            assert node.packets[-1][0] == 8
            mapping.write_text("b.com\nc.com\n")
            for router in (first, second):
                router.wait_for("c.com => new node")
                router.wait_for("a.com => .* has left")
            assert program.stop() == 0
            for router in (first, second):
                for key in ("foo.com", "b.com", "c.com"):
                    router.wait_for(f"{key} => .* has left|{key} => no more requests")


@pytest.mark.parametrize("digest", ["SHA256", "ED25519"])
def test_signed(tmp_path, digest):
    pair = Ed25519Pair() if digest == "ED25519" else KeyPair()
    pair.write_private(tmp_path / "private.pem")
    (tmp_path / "public").mkdir()
    pair.write_public(tmp_path / "public" / "team.pem")
    pair.write_public(tmp_path / "public" / "own.com.pem")
    options = (
        f"--subscriptions-sign-check={digest}:{tmp_path}/public",
        "--subscription-allow=signer=team,key=*.team.com",
        "--subscription-allow=key=own.com",
    )
    sign = ("--sign", f"{digest}:{tmp_path}/private.pem", "--freq=1")
    with subscription_router(*options) as router, FakeNode() as node:
        at = f"--address={node.address}"
        with (
            announcing(router, "--key=a.team.com", at, "--signer=team", *sign) as first,
            announcing(router, "--key=own.com", at, *sign),
        ):
            router.wait_for("a.team.com => new node")
            router.wait_for("own.com => new node")
            with announcing(router, "--key=other.com", at, "--signer=team", *sign):
                router.wait_for("other.com at .*, signed by team, is not allowed by any rule")
            first.stop()
            router.wait_for("a.team.com => no more requests")
            assert "sniffed" not in router.output


def test_the_unit_in_conf(app):
    """Its command, with other places and ports."""
    port = a_port()
    text = (ROOT / "conf" / "gunicorn" / "app@.service").read_text()
    command = re.search(r"^ExecStart=((?:.*\\\n)*.*)", text, re.MULTILINE)[1].replace("\\\n", " ")
    with subscription_router() as router:
        for old, new in (
            ("/srv/app/venv/bin", str(BIN)),
            ("%i", str(port)),
            ("127.0.0.1:2626", router.server),
        ):
            command = command.replace(old, new)
        with Program(*command.split(), cwd=app) as program:
            router.wait_for(f"foo.com => new node: 127.0.0.1:{port}")
            assert request(router.address).endswith(b"served")
            assert program.stop() == 0


def test_ipv6():
    with (
        Router("--fastrouter=[::1]:0", "--fastrouter-subscription-server=[::1]:0") as router,
        FakeNode(host="::1") as node,
    ):
        with announcing(router, "--key=foo.com", f"--address={node.address}") as program:
            router.wait_for(f"foo.com => new node: {re.escape(node.address)}$")
            assert request(router.address).endswith(node.address.encode())
            assert program.stop() == 0
            router.wait_for("foo.com => no more requests")


def test_names_of_servers_and_nodes():
    with subscription_router() as router, FakeNode() as node:
        server, port = (address.rpartition(":")[2] for address in (router.server, node.address))
        with Program(
            SUBSCRIBE, f"--server=localhost:{server}", "--key=foo.com", f"--address=localhost:{port}"
        ):
            router.wait_for(f"foo.com => new node: localhost:{port}$")
            assert request(router.address).endswith(node.address.encode())
        with Program(
            SUBSCRIBE, "--server=no.such.host.invalid:1", "--key=foo.com", f"--address={node.address}"
        ) as program:
            program.wait_for("cannot announce foo.com to no.such.host.invalid:1: nobody knows the name")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "there is nothing to announce"),
        (["--server=127.0.0.1:1"], "expected both --server and --key"),
        (["--server=127.0.0.1:1", "--key=foo.com"], "foo.com: expected --address"),
        (["--server=127.0.0.1:1", "--key=foo.com", "--address=1.2.3:4"], "expected a numeric address"),
        (["--server=127.0.0.1:1", "--key=foo.com", "--address=1.2.3.4:5", "--signer=x"], "signer says nothing without sign"),
        (["--server=127.0.0.1:1", "--key=foo.com", "--address=1.2.3.4:5", "--sign=MD5:x"], "expected DIGEST:FILE.pem"),
        (["--subscribe2=server=127.0.0.1:1,key=x,socket=1", "--address=1.2.3.4:5"], "x: there are no sockets here"),
        (["--weight=0"], "--weight 0: expected a whole number from 1 to 65535"),
        (["--wieght=3"], "did you mean weight?"),
        (["gunicorn", "app"], "The program to run comes behind --"),
    ],
)  # fmt: skip
def test_wrong_command_lines(options, problem):
    found = subprocess.run([SUBSCRIBE, *options], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert found.returncode == 2
    assert problem in found.stderr


def test_help_lists_every_option():
    text = subprocess.run(
        [SUBSCRIBE, "--help"], capture_output=True, text=True, timeout=LIMIT, check=True
    ).stdout
    for option in (
        "--server",
        "--key",
        "--address",
        "--sign",
        "--signer",
        "--drain",
        "--ping",
        "--subscribe2",
    ):
        assert option in text


def test_jitter_keeps_a_fleet_apart(tmp_path):
    """Announcers that were started together do not stay together."""
    assert len({Announcer(None, [], None, 10)._phase for _ in range(200)}) == 10


def test_an_embedded_announcer(tmp_path):
    """The module that programs copy, in a program of its own."""
    pair = Ed25519Pair()
    (tmp_path / "public").mkdir()
    pair.write_public(tmp_path / "public" / "foo.com.pem")
    pair.write_private(tmp_path / "private.pem")
    (tmp_path / "announce.py").write_text(Path(fastrouter.announce.__file__).read_text())
    (tmp_path / "program.py").write_text(
        "import sys\n"
        "from cryptography.hazmat.primitives.serialization import load_pem_private_key\n"
        "from announce import Announcer\n"
        "key = load_pem_private_key(open('private.pem', 'rb').read(), None)\n"
        "with Announcer(sys.argv[1], ['foo.com'], sys.argv[2], every=0.2, sign=key.sign, weight=3):\n"
        "    sys.stdin.read()\n"
    )
    with (
        subscription_router(
            f"--subscriptions-sign-check=ED25519:{tmp_path}/public", "--subscription-tolerance=1"
        ) as router,
        FakeNode() as node,
    ):
        program = subprocess.Popen(
            [BIN / "python", "-P", "program.py", router.server, node.address], cwd=tmp_path, stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        router.wait_for("foo.com => new node")
        assert request(router.address).endswith(node.address.encode())
        program.communicate(timeout=LIMIT)
        router.wait_for("foo.com => no more requests|foo.com => .* has left")
        assert "no announce received" not in router.output
