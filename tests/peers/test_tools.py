"""The commands that look into a router: fastrouter-top, fastrouter-explain, fastrouter-doctor."""

import dataclasses
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

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
    connect,
    in_threads,
    read_all,
    read_until,
    refusing_address,
    request,
    router_to,
    send_announcement,
    subscription_router,
    wait_until,
)

from fastrouter.client import request_packet
from fastrouter.memory.shared import FORMAT
from fastrouter.options import Options
from fastrouter.wire.announcement import Announcement
from master.commands.live import LiveError, attach


def run(name, *arguments, **extra):
    command = [str(BIN / f"fastrouter-{name}"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=6 * LIMIT, check=False, **extra)


def explain(router, *arguments, code=0):
    """The steps, as pairs of words; a step without a word of its own continues the one before."""
    found = run("explain", f"--pid={router.pid}", *arguments)
    assert found.returncode == code, found.stdout + found.stderr
    steps, label = [], ""
    for line in found.stdout.splitlines():
        label = line[:13].strip() or label
        steps.append((label, line[13:]))
    return steps


def texts(steps, label):
    return [text for what, text in steps if what == label]


def test_explaining_an_announced_key(nodes):
    with subscription_router() as router:
        router.announce("foo.com", nodes[0].address, weight=3)
        router.announce("foo.com", nodes[1].address, weight=1, max_conns=5)
        router.announce("foo.com", nodes[2].address, backup=1)
        steps = explain(router, "http://foo.com/shop", "--client=10.1.2.3")
        assert texts(steps, "request") == ["foo.com/shop from 10.1.2.3"]
        assert texts(steps, "key") == ["foo.com (HTTP_HOST)"]
        assert texts(steps, "forwarder") == ["fastrouter-subscription-server = 127.0.0.1:0"]
        assert texts(steps, "looked up") == ["foo.com: a pool of 3, balanced by wrr"]
        candidates = texts(steps, "candidates")
        assert sorted(text[3:] for text in candidates[:2]) == sorted(
            [f"{nodes[0].address}, weight 3, 0 requests", f"{nodes[1].address}, weight 1, 0 of 5 requests"]
        )
        assert candidates[2] == f"3. {nodes[2].address}, weight 1, backup level 1, 0 requests"
        first = candidates[0].split(",")[0][3:]
        assert texts(steps, "outcome") == [
            f"goes to {first} or another of these 2: each router worker has its own turn"
        ]
        assert not any(node.connections for node in nodes), "no request was sent"
        # And it is what happens: all that it names are asked, and nobody else.
        answered = {request(router.address).rpartition(b"\r\n\r\n")[2].decode() for _ in range(20)}
        assert answered == {nodes[0].address, nodes[1].address}
        steps = explain(router, "nobody.com", code=1)
        assert texts(steps, "looked up") == ["nobody.com: nobody has announced it, or all have gone"]
        assert texts(steps, "outcome") == ["closed: there is no node for this key"]
        steps = explain(router, "foo.com", "--key=" + "k" * 256, code=1)
        assert texts(steps, "key") == ["(none) (a name of more than 255 bytes is none)"]


def test_explaining_what_clients_are_told(node):
    """A status where the router answers errors; where not, nothing."""
    for options, words in ((["--fastrouter-answer-errors"], "answered with"), ([], "closed")):
        with subscription_router(*options) as router:
            router.announce("foo.com", node.address)
            router.unsubscribe("foo.com", node.address)
            for key, status, why in (
                ("nobody.com", 404, "there is no node for this key"),
                ("k" * 256, 400, "a request without a key is none"),
            ):
                said = f"{words} {status}" if options else words
                assert texts(explain(router, key, code=1), "outcome") == [f"{said}: {why}"]


def test_explaining_how_a_node_is_asked(tmp_path):
    with FakeNode(path=str(tmp_path / "n.sock")) as node, subscription_router() as router:
        router.announce("foo.com", node.address, fd_passing=True, keepalive=True)
        found = texts(explain(router, "http://foo.com/"), "candidates")
        assert found == [f"1. {node.address}, weight 1, takes clients, keeps connections, 0 requests"]


def test_explaining_the_local_application(tmp_path, app_file):
    for options, said in (
        ([], ", takes clients"),
        (["--no-fd-passing"], ""),
        (["--zerg-server=zerg.sock"], ""),
    ):
        with Router(
            "--fastrouter=127.0.0.1:0", "--fastrouter-use-socket=0", "--socket=app.sock",
            f"--wsgi-file={app_file}", *options, cwd=tmp_path,
        ) as router:  # fmt: skip
            found = texts(explain(router, "http://foo.com/"), "candidates")
        assert found == [f"1. app.sock{said}, 0 requests"]


def test_explaining_every_algorithm(nodes):
    for configured, asked_for, words in (
        ("wrr", "iphash", ", and so do all of this client's"),
        ("iphash", "wrr", " or another of these 2: each router worker has its own turn"),
        ("wrr", "lrc", ", which has the least to do of these 2"),
    ):
        with subscription_router(f"--subscription-algo={configured}") as router:
            router.announce("foo.com", nodes[0].address, algorithm=asked_for)
            router.announce("foo.com", nodes[1].address)
            steps = explain(router, "foo.com?x=1#top")
            assert texts(steps, "looked up") == [f"foo.com: a pool of 2, balanced by {asked_for}"]
            assert texts(steps, "outcome")[0].endswith(words)


def test_explaining_nothing_to_the_terminal(node):
    """What was announced is printed as text; it cannot make up lines, or colours."""
    with subscription_router() as router:
        address = "/tmp/\x1b[31mRED\x07\noutcome      goes to /evil"
        send_announcement(router.server, Announcement("foo.com", address))
        send_announcement(
            router.server, b"\xe0" + (23).to_bytes(2, "little") + b"\0\3\0key\2\0\xff\xfe\7\0address\1\0/"
        )
        router.wait_for("foo.com => new node")
        found = run(
            "explain",
            f"--pid={router.pid}",
            "foo.com",
            env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        )
        assert found.returncode == 0, found.stderr
        assert "\x1b" not in found.stdout and "\\x1b[31mRED\\x07\\noutcome" in found.stdout
        assert sum(line.startswith("outcome") for line in found.stdout.splitlines()) == 1


def test_explaining_a_pause(node):
    with subscription_router() as router:
        router.announce("foo.com", node.address)
        router.process.send_signal(signal.SIGTSTP)
        router.wait_for("^paused$")
        assert texts(explain(router, "foo.com", code=1), "outcome") == ["waits: the router is paused"]


RUBBISH = (
    b"",
    b"[]",
    b"[" * 100_000,
    b'{"pid": PID}',
    b'{"pid": PID, "format": 1, "version": "\\u001b]0;pwned\\u0007"}',
    b'{"pid": PID, "format": FORMAT, "version": "", "options": {}}',
    b'{"pid": PID, "format": FORMAT, "version": "", "state": "../../../tmp", "layout": {}, "options": OPTIONS}',
)


@pytest.mark.parametrize("said", RUBBISH, ids=range(len(RUBBISH)))
def test_a_process_that_only_pretends(said):
    """Whatever a stranger's memory says, it is an error in one line; nothing of it is opened or obeyed."""
    options = json.dumps(dataclasses.asdict(Options())).encode()
    script = (
        "import os, sys; fd = os.memfd_create('fastrouter-live'); "
        "os.write(fd, sys.stdin.buffer.read().replace(b'PID', str(os.getpid()).encode())); "
        "print('there', flush=True); os.read(os.open(sys.argv[1], os.O_RDONLY), 1)"
    )
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", script, f"/proc/{os.getpid()}/fd/{reader}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as stranger:
        stranger.stdin.write(said.replace(b"OPTIONS", options).replace(b"FORMAT", str(FORMAT).encode()))
        stranger.stdin.close()
        stranger.stdout.readline()
        for tool in ("explain", "top"):
            found = run(tool, f"--pid={stranger.pid}", *(["foo.com"] if tool == "explain" else ["--once"]))
            assert found.returncode == 2 and found.stderr.count("\n") == 1, found.stderr
            assert "\x1b" not in found.stderr and "Traceback" not in found.stderr
        stranger.kill()
    os.close(reader)
    os.close(writer)


def test_top_goes_on_after_a_reload_and_ends_with_the_router(node):
    with subscription_router() as router:
        router.announce("foo.com", node.address)
        terminal, end = pty.openpty()
        command = [str(BIN / "fastrouter-top"), f"--pid={router.pid}"]
        streams = {"stdin": end, "stdout": end, "stderr": end, "env": {**os.environ, "TERM": "dumb"}}
        with subprocess.Popen(command, start_new_session=True, **streams) as top:
            os.close(end)
            read_until(terminal, rb"1 key, 1 announced node, 1 announcement, 0 refused", top)
            router.process.send_signal(signal.SIGHUP)
            router.wait_for("^ready$", 2)
            router.announce("bar.com", node.address)
            read_until(terminal, rb"2 announced nodes", top)
            router.stop()
            assert top.wait(LIMIT) == 2
        os.close(terminal)


def test_explaining_what_is_left_out_and_passed_over():
    """A node that is full, one that is leaving, one that rests: each says so."""
    with (
        HeldNode() as held,
        HeldNode() as leaving,
        subscription_router("--fastrouter-fallback=127.0.0.1:9") as router,
    ):
        router.announce("foo.com", held.address, max_conns=1)
        router.announce("foo.com", leaving.address, max_conns=1)
        with connect(router.address) as first, connect(router.address) as second:
            for client in (first, second):
                client.sendall(request_packet("GET", "http://foo.com/", b"", {}))
            assert held.entered.wait(LIMIT) and leaving.entered.wait(LIMIT)
            steps = explain(router, "foo.com", code=1)
            assert all(
                text.endswith("1 of 1 requests, full: passed over") for text in texts(steps, "candidates")
            )
            assert texts(steps, "outcome") == ["waits for room for 3 s at most, then is closed"]
            router.unsubscribe("foo.com", leaving.address)
            steps = explain(router, "foo.com", code=1)
            assert texts(steps, "left out") == [f"{leaving.address}: is leaving, and has 1 requests left"]
            assert texts(steps, "fallback") == ["127.0.0.1:9 when one of these fails"]
            held.release.set()
            leaving.release.set()
            assert read_all(first) and read_all(second)


def test_explaining_a_rest(node):
    with FakeNode(lambda connection, number: connection.recv(1 << 16)) as closing:
        with subscription_router("--fastrouter-max-fails=1") as router:
            router.announce("foo.com", closing.address)
            router.announce("foo.com", node.address)
            wait_until(lambda: request(router.address) and "rests for" in router.output, "a rest")

            def rests():
                """It may have rested before it is asked for: then it is given another request, and rests longer."""
                (last,) = texts(explain(router, "foo.com"), "candidates")[1:]
                resting = rf"2\. {closing.address}, weight 1, 0 requests, rests for \d+ s more, .*"
                found = re.fullmatch(resting, last)
                if not found:
                    request(router.address)
                return found

            wait_until(rests, "a rest that is explained")


def test_explaining_keys_that_are_made(nodes):
    options = ("--subscription-dotsplit", "--subscription-mountpoints=2")
    with subscription_router(*options) as router:
        router.announce(".foo.com/shop", nodes[0].address)
        steps = explain(router, "www.foo.com/shop/cart/1")
        assert texts(steps, "key") == ["www.foo.com/shop/cart (HTTP_HOST, with 2 segments of the path)"]
        looked_up = [text.partition(":")[0] for text in texts(steps, "looked up")]
        assert looked_up == [
            "www.foo.com/shop/cart",
            "www.foo.com/shop",
            "www.foo.com",
            ".foo.com/shop/cart",
            ".foo.com/shop",
        ]
        assert texts(steps, "outcome") == [f"goes to {nodes[0].address}"]


def test_explaining_every_other_way(tmp_path, nodes, app_file):
    """The key as a path, a cache, fixed nodes, a function, the local application."""
    sock, dead = refusing_address()
    (tmp_path / "map.py").write_text(
        f"def node(key):\n    open({str(tmp_path / 'called')!r}, 'a').write('x')\n    return {nodes[0].address!r}\n"
    )
    base = "--fastrouter=127.0.0.1:0"
    with Router(base, f"--fastrouter-use-base={tmp_path}/") as router:
        assert texts(explain(router, "foo.com"), "outcome") == [f"goes to {tmp_path}/foo.com"]
        assert texts(explain(router, "..", code=1), "outcome") == ["closed: there is no node for this key"]
    caching = (base, "--cache=10", f"--add-cache-item=foo.com={nodes[0].address}", "--fastrouter-use-cache")
    with Router(*caching) as router:
        for _ in range(3):
            assert texts(explain(router, "foo.com"), "outcome") == [f"goes to {nodes[0].address}"]
        explain(router, "bar.com", code=1)
    with sock, Router(base, f"--fastrouter-to={dead}", f"--fastrouter-to={nodes[0].address}") as router:
        request(router.address)
        steps = explain(router, "foo.com")
        assert re.fullmatch(
            rf"{dead}: could not be reached \d s ago \(fastrouter-gracetime\)", texts(steps, "left out")[0]
        )
        assert texts(steps, "outcome") == [f"goes to {nodes[0].address}"]
    with Router(base, f"--fastrouter-use-code-string=0:{tmp_path}/map.py:node") as router:
        steps = explain(router, "foo.com", code=2)
        assert texts(steps, "outcome") == ["only the function can tell"]
        assert not (tmp_path / "called").exists(), "the user's code was not run"
        assert texts(explain(router, "foo.com", "--call"), "outcome") == [f"goes to {nodes[0].address}"]
        assert (tmp_path / "called").read_text() == "x"
    local = (base, "--socket=127.0.0.1:0", f"--wsgi-file={app_file}", "--fastrouter-use-socket")
    with Router(*local) as router:
        address = router.wait_for("app workers bound on (.*)")[1]
        assert texts(explain(router, "foo.com"), "outcome") == [f"goes to {address}"]
    with Router(base, f"--fastrouter-to={nodes[0].address}", "--fastrouter-force-key=all") as router:
        assert texts(explain(router, "foo.com"), "key") == ["all (fastrouter-force-key)"]


def test_explaining_a_shared_socket(node, app_file):
    """What the router does not accept while it is cheap, the application does."""
    shared = ("--shared-socket=127.0.0.1:0", "--fastrouter==0", "--socket==0", f"--wsgi-file={app_file}")
    with Router(*shared, "--fastrouter-subscription-server=127.0.0.1:0", "--fastrouter-cheap") as router:
        steps = explain(router, "foo.com")
        assert texts(steps, "beside it") == [f"the local application accepts on {router.address}, too"]
        assert texts(steps, "outcome")[0].startswith("goes to the local application: ")
        assert b"host=foo.com" in request(router.address)
        router.announce("foo.com", node.address)
        assert texts(explain(router, "foo.com"), "outcome") == [f"goes to {node.address}"]


def test_it_disturbs_nothing(node):
    """While requests come, and the table changes, and the router is loaded anew, it is looked into again and again."""
    with subscription_router("--fastrouter-processes=2") as router:
        router.announce("foo.com", node.address)
        before = request(router.address)

        def look(number):
            return [run("explain", f"--pid={router.pid}", "foo.com").returncode for _ in range(3)]

        codes = in_threads(3, look)
        assert codes == [[0, 0, 0]] * 3
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("^ready$", 2)
        assert run("explain", f"--pid={router.pid}", "foo.com").returncode == 0
        assert request(router.address) == before


def test_which_router(tmp_path, node):
    with Router("--fastrouter=127.0.0.1:0", f"--fastrouter-to={node.address}") as first:
        with Router("--fastrouter=127.0.0.1:0", f"--fastrouter-to={node.address}") as second:
            found = run("explain", "foo.com")
            assert found.returncode == 2
            assert "there are several; say which with --pid: " in found.stderr
            for router in (first, second):
                assert (
                    f"pid {router.pid}, {router.address}"
                    in run("explain", "foo.com", f"--pid={router.pid}").stdout
                )
    found = run("explain", "foo.com", f"--pid={os.getpid()}")
    assert found.returncode == 2 and f"no fastrouter-master with pid {os.getpid()}" in found.stderr
    assert "expected HOST" in run("explain").stderr and run("explain", "--help").returncode == 0


def test_which_router_beside_masters_that_route_nothing(tmp_path, app_file, node, monkeypatch):
    """As in the README: a router, and an instance that announces itself and routes nothing."""
    app, routing = tmp_path / "app.ini", tmp_path / "router.ini"
    app.write_text(f"[uwsgi]\nsocket = 127.0.0.1:0\nwsgi-file = {app_file}\n")
    routing.write_text(f"[uwsgi]\nfastrouter = 127.0.0.1:0\nfastrouter-to = {node.address}\n")
    user = psutil.Process().username()
    there: list[int] = []  # other tests may have their routers at the same time
    monkeypatch.setattr("psutil.pids", lambda: there)
    with Program(MASTER, app) as instance, Router(routing) as router, router_to(node) as other:
        instance.wait_for("^ready$")
        none = f"no router is configured in fastrouter-master {instance.pid} ({user}: {app})"
        for tool, *words in (("explain", "foo.com"), ("top", "--once")):
            found = run(tool, *words, f"--pid={instance.pid}")
            assert (found.returncode, found.stderr) == (2, f"fastrouter-{tool}: {none}\n")
        there[:] = [instance.pid]
        with pytest.raises(LiveError, match=re.escape(none)):
            attach()
        there[:] = [instance.pid, router.pid]
        live = attach()
        live.close()
        assert live.pid == router.pid
        there[:] = [instance.pid, router.pid, other.pid]
        listed = f"--pid: {router.pid} ({user}: {routing}), {other.pid} ({user}: no file)"
        with pytest.raises(LiveError, match=re.escape(listed) + "$"):
            attach()


def test_commands_say_what_they_tried_and_where(tmp_path):
    sock, dead = refusing_address()
    with sock:
        assert (
            run("request", dead).stderr
            == f"fastrouter-request: cannot connect to {dead}: Connection refused\n"
        )
        assert run("request", tmp_path / "none.sock").stderr == (
            f"fastrouter-request: cannot connect to {tmp_path}/none.sock: No such file or directory\n"
        )
    with FakeNode(lambda connection, number: connection.recv(1 << 16) and connection.recv(1)) as silent:
        found = run("request", "-t", "0.1", silent.address)
        assert found.stderr == f"fastrouter-request: no answer from {silent.address}: timed out\n"
    server = tmp_path / "server.sock"
    with FakeNode() as node:
        announced = (f"--subscribe-to={server}:foo.com", f"--address={node.address}")
        with Program(BIN / "fastrouter-subscribe", *announced) as program:
            program.wait_for(f"cannot announce foo.com to {server}: No such file or directory$")


def test_top_once(node):
    with subscription_router("--fastrouter-processes=2", "--fastrouter-stats=127.0.0.1:0") as router:
        stats = router.wait_for(r"stats server enabled on (\S+)")[1]
        router.announce("foo.com", node.address, weight=7)
        send_announcement(router.server, Announcement("\xffred.com", node.address))
        router.wait_for("red.com => new node")
        stop = threading.Event()

        def load():
            while not stop.is_set():
                request(router.address)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            screens = [
                run("top", "--once", *which, env={**os.environ, "COLUMNS": "200"})
                for which in ([f"--pid={router.pid}"], [stats])
            ]
        finally:
            stop.set()
            thread.join()
        for screen in screens:
            assert screen.returncode == 0, screen.stderr
            assert "\x1b" not in screen.stdout, "what comes from the network does not talk to the terminal"
            head, rates, tables, *_ = screen.stdout.splitlines()
            assert head.startswith(f"fastrouter 0.1.0, pid {router.pid}, {router.address}")
            assert int(rates.split()[0]) > 10
            assert tables.startswith("2 keys, 2 announced nodes, 2 announcements, 0 refused")
            (row,) = [line.split() for line in screen.stdout.splitlines() if line.startswith("foo.com")]
            assert row[1:3] == [node.address, "up"] and int(row[4]) > 10
            requests, weight, sent, _, received, _ = row[-6:]
            assert int(requests) > 10 and weight == "7" and int(sent) and int(received)
            assert "ÿred.com" in screen.stdout
            workers = [line.split() for line in screen.stdout.splitlines() if re.match(r"\d +\d", line)]
            assert [row[0] for row in workers] == ["1", "2"]


@pytest.mark.parametrize("kind", ["xterm", "dumb"])
def test_top_in_a_terminal(node, kind):
    """It draws again and again, and ends at Ctrl-C."""
    with subscription_router() as router:
        router.announce("foo.com", node.address)
        terminal, end = pty.openpty()
        # Who is started in the background ignores SIGINT, and so do the tests perhaps.
        command = [
            "env",
            "--default-signal=INT",
            str(BIN / "fastrouter-top"),
            f"--pid={router.pid}",
            "--sort=key",
        ]
        streams = {"stdin": end, "stdout": end, "stderr": end, "env": {**os.environ, "TERM": kind}}
        with subprocess.Popen(command, start_new_session=True, **streams) as top:
            os.close(end)
            read_until(terminal, rb"(?s)foo\.com.*foo\.com", top)
            top.send_signal(signal.SIGINT)
            assert top.wait(LIMIT) == 0
        os.close(terminal)


class Terminal:
    """fastrouter-top in a terminal of its own."""

    def __init__(self, *arguments, columns=80, lines=24):
        self._terminal, self._end = pty.openpty()
        self.attributes = termios.tcgetattr(self._end)
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        streams = {"stdin": self._end, "stdout": self._end, "stderr": self._end}
        environment = {**os.environ, "TERM": "xterm"}
        environment.pop("COLUMNS", None)
        command = [str(BIN / "fastrouter-top"), *arguments]
        self._top = subprocess.Popen(command, start_new_session=True, env=environment, **streams)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._top.kill()
        self._top.wait()
        os.close(self._end)
        os.close(self._terminal)

    def wait_for(self, *texts, without="\0"):
        """The next screen that has all of the texts, and not the other one."""
        said, deadline = "", time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            said += os.read(self._terminal, 65536).decode("utf-8", "replace")
            for screen in said.split("\x1b[H")[1:-1]:  # whole ones
                screen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen)
                if all(text in screen for text in texts) and without not in screen:
                    return screen
        raise AssertionError(f"no screen with {texts} in:\n{said}")

    def press(self, keys):
        os.write(self._terminal, keys.encode())

    def end(self):
        """The exit code; the terminal is as it was."""
        code = self._top.wait(LIMIT)
        assert termios.tcgetattr(self._end) == self.attributes
        return code


def test_top_obeys_keys(nodes):
    with subscription_router() as router:
        router.announce("bar.com", nodes[0].address)
        router.announce("foo.com", nodes[1].address)
        request(router.address, "http://nobody.com/")
        with Terminal(f"--pid={router.pid}") as top:
            screen = top.wait_for("bar.com", "foo.com", "q quit, ? help, / filter", "sorted by requests")
            assert "2 keys, 2 announced nodes, 2 announcements" in screen
            assert "requests without a node: nobody.com (1)" in screen
            assert "4 columns hidden: widen to 100" in screen and "p99" in screen
            top.press("?")
            top.wait_for("show only keys and nodes", without="foo.com")
            top.press("q")
            top.wait_for("foo.com", without="show only keys")
            top.press("/barx\x7f")
            top.wait_for("filter: bar_", without="foo.com")
            top.press("\n")
            top.wait_for("filter: bar (Esc ends it)", without="foo.com")
            top.press("\x1b")
            top.wait_for("foo.com", "q quit")
            top.press(f"/{nodes[1].address}\n")
            top.wait_for("foo.com", without="bar.com")
            top.press("\x1b[A")  # an arrow is no Esc
            for key, name in (("a", "active"), ("f", "failures"), ("k", "key"), ("r", "requests")):
                top.press(key)
                top.wait_for(f"sorted by {name}", "foo.com", without="bar.com")
            top.press("q")
            assert top.end() == 0


def test_top_says_what_a_narrow_terminal_hides(node):
    with subscription_router() as router:
        router.announce("foo.com", node.address)
        for columns, said in (
            (59, "7 columns hidden: widen to 100"),
            (99, "4 columns hidden"),
            (100, "q quit"),
        ):
            with Terminal(f"--pid={router.pid}", columns=columns) as top:
                screen = top.wait_for("foo.com", said)
                assert ("hidden" in screen) is (columns < 100)
                top.press("q")
                assert top.end() == 0


def test_top_of_what_is_no_router(tmp_path):
    sock, dead = refusing_address()
    with sock:
        assert run("top", "--once", dead).stderr == (
            f"fastrouter-top: cannot read statistics from the stats server at {dead}: Connection refused\n"
        )
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)  # to close with the request unread would reset the connection
                connection.sendall(json.dumps({"version": "2.0.31"}).encode())

        thread = threading.Thread(target=answer)
        thread.start()
        found = run("top", "--once", f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()
        assert found.returncode == 2 and "is no fastrouter's stats server" in found.stderr
    assert run("top", "--sort=colour").returncode == 2


def test_the_doctor(tmp_path):
    file = tmp_path / "uwsgi.ini"
    file.write_text(
        "[uwsgi]\nplugins = fastrouter\nbase = /run/app\nmaster = 1\nfastrouter = %(base).sock\nlisten = 100\n"
        "fastrouter-subscription-server = 127.0.0.1:2626\nfastrouter-timeout = 30\nbuffer-size = 8192\n"
    )
    found = run("doctor", file)
    assert found.returncode == 0, found.stdout + found.stderr
    reasons = dict(re.findall(r"^\w+ +([\w-]+) = .*\n {15}(.*)", found.stdout, re.MULTILINE))
    assert re.findall(r"^(\w+) +([\w-]+) =", found.stdout, re.MULTILINE) == [
        ("ignored", "plugins"),
        ("different", "master"),
        ("same", "fastrouter"),
        ("different", "listen"),
        ("different", "fastrouter-subscription-server"),
        ("different", "fastrouter-timeout"),
        ("ignored", "buffer-size"),
    ]
    assert reasons["listen"] == "the default is 1024"
    assert reasons["buffer-size"] == "packets, headers and bodies of every size are accepted"
    assert "fastrouter = /run/app.sock  (uwsgi.ini:5)" in found.stdout
    assert "1 same, 4 different, 2 ignored, 0 refused: fastrouter-master can run this" in found.stdout
    file.write_text(
        "[uwsgi]\nfastrouter = 127.0.0.1:3031\nhttp = :80\nfastrouter-timeout = soon\nfastrouter-tofu = 1\nlimit-as = 5\n"
    )
    found = run("doctor", file)
    assert found.returncode == 1
    assert "uWSGI's HTTP router is not here; put nginx in front" in found.stdout
    assert "expected a whole number of at least 0" in found.stdout
    assert "did you mean fastrouter-to?" in found.stdout
    file.write_text("[uwsgi]\nfastrouter = =3\n")
    found = run("doctor", file)
    assert found.returncode == 1 and "problem" in found.stdout and "there is no shared-socket" in found.stdout
    found = run("doctor", tmp_path / "none.ini")
    assert found.returncode == 1 and "none.ini: there is no such file" in found.stdout
    assert run("doctor").returncode == 2


@pytest.mark.parametrize("before", [("uwsgi",), ("/usr/local/bin/uwsgi",), ("--",), ()])
def test_the_doctor_takes_a_command_line(before):
    """As a Dockerfile has it."""
    found = run("doctor", *before, "--http", ":80", "-T", "--processes=2", "--protocl", "x")
    assert (
        found.returncode == 1
        and "problem    command line: --protocl: there is no such option" in found.stdout
    )
    found = run("doctor", *before, "--http", ":80", "-T", "--processes=2")
    assert found.returncode == 1
    assert re.findall(r"^(\w+) +(.*)$", found.stdout, re.MULTILINE)[:3] == [
        ("refused", "http = :80  (command line)"),
        ("ignored", "enable-threads  (command line)"),
        ("same", "processes = 2  (command line)"),
    ]


def test_nobody_has_to_read_to_the_end(tmp_path):
    (tmp_path / "a.ini").write_text("[uwsgi]\nfastrouter = :0\n" + f"env = A={'x' * 500}\n" * 1000)
    for name, *arguments in (
        ("doctor", tmp_path / "a.ini"),
        ("master", "--check", tmp_path / "a.ini"),
        ("master", "--help"),
        ("explain", "--help"),
    ):
        reader, writer = os.pipe()
        os.close(reader)
        command = [str(BIN / f"fastrouter-{name}"), *map(str, arguments)]
        found = subprocess.run(
            command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
        os.close(writer)
        assert (found.returncode, found.stderr) == (128 + signal.SIGPIPE, "")


def test_what_the_doctor_tells_a_real_web_server(tmp_path, nginx, node):
    file = tmp_path / "uwsgi.ini"
    file.write_text(
        f"[uwsgi]\nshared-socket = {tmp_path}/router.sock\nfastrouter = =0\nhttp-socket = unix:{tmp_path}/web.sock\n"
    )
    found = run("doctor", file)
    lines = found.stdout.partition("# nginx, in its http section:\n")[2]
    params = next(place for place in ("/etc/nginx/uwsgi_params",) if os.path.exists(place))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; user root; error_log stderr; pid {tmp_path}/pid; events {{}}\nhttp {{\naccess_log off;\n"
        + "".join(
            f"{kind}_temp_path temp;\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + lines.replace("include uwsgi_params", f"include {params}")
        + "}\n"
    )
    with subscription_router(f"--fastrouter={tmp_path}/router.sock") as router:
        router.announce("foo.com", node.address)
        with Program(nginx, "-c", tmp_path / "nginx.conf", "-p", tmp_path, "-e", "stderr"):
            wait_until((tmp_path / "web.sock").exists, "nginx")
            with connect(str(tmp_path / "web.sock")) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: foo.com:8080\r\nConnection: close\r\n\r\n")
                assert read_all(client).endswith(node.address.encode()), "the key has no port"


OURS = sorted(file for file in (ROOT / "conf").glob("**/*.ini") if file.parent.name != "circus")


@pytest.mark.parametrize("file", OURS, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_the_doctor_finds_our_own_configurations_healthy(file):
    found = run("doctor", file, cwd=file.parent)
    assert found.returncode == 0, found.stdout


def test_every_command_has_a_help_and_a_version():
    for name in ("top", "explain", "doctor", "request", "subscribe", "master"):
        assert run(name, "--help").stdout.startswith(f"usage: fastrouter-{name} ")
        assert run(name, "--version").stdout in (
            "fastrouter 0.1.0 (compiled)\n",
            "fastrouter 0.1.0 (pure Python)\n",
        )
