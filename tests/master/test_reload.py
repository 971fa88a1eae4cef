"""SIGHUP: the program is loaded anew, and nothing is lost but what is not configured any more."""

import json
import os
import signal
import socket
import threading
import time
import urllib.request
from types import SimpleNamespace

import psutil
import pytest
from harness import (
    LIMIT,
    MASTER,
    HeldNode,
    Program,
    Router,
    children,
    connect,
    descriptors,
    gone,
    in_threads,
    load,
    read_all,
    request,
    send_announcement,
    wait_until,
)

from fastrouter.client import request_packet
from fastrouter.wire.announcement import Announcement
from master.reloading.predecessors import Predecessors


class Reloaded(Router):
    """A router with a configuration file that can be changed."""

    def __init__(self, place, *lines, **extra):
        self.file = place / "router.ini"
        self.configure(*lines)
        self.reloads = 0
        super().__init__("--ini", str(self.file), **extra)

    def configure(self, *lines):
        self.file.write_text("\n".join(["[uwsgi]", *lines]) + "\n")

    def reload(self, number=signal.SIGHUP):
        """Have it reloaded, and wait until nothing of the program before is left."""
        self.reloads += 1
        former = {child.pid for child in psutil.Process(self.pid).children()}
        self.process.send_signal(number)
        self.wait_for("^ready$", self.reloads + 1)
        wait_until(
            lambda: not former & {child.pid for child in psutil.Process(self.pid).children()},
            "the end of the former",
        )


BASE = (
    "fastrouter = 127.0.0.1:0",
    "fastrouter-subscription-server = 127.0.0.1:0",
    "fastrouter-processes = 2",
)


def test_under_load_nothing_fails(tmp_path, nodes):
    with Reloaded(tmp_path, *BASE) as router:
        for one in nodes[:2]:
            router.announce("foo.com", one.address)
        pid = router.pid
        with load(lambda: request(router.address).rpartition(b"\r\n\r\n")[2]) as answers:
            wait_until(lambda: len(answers) > 50, "some requests")
            for _ in range(4):
                router.reload()
            before = len(answers)
            wait_until(lambda: len(answers) > before + 50, "more requests")
        assert set(answers) == {one.address.encode() for one in nodes[:2]}
        assert router.pid == pid and router.process.poll() is None
        assert router.output.count("new node") == 2, "the table is the same"
        router.process.send_signal(signal.SIGUSR1)
        router.wait_for("statistics: fastrouter: 2 announcements accepted")
        who = ("workers before the last reload", "worker 1 ", "worker 2 ")
        accepted = [int(router.wait_for(rf"statistics: fastrouter {one}.* (\d+) accepted")[1]) for one in who]
        assert sum(accepted) == len(answers), "not one is forgotten"
        assert router.stop() == 0


def test_what_is_under_way_ends(tmp_path, node):
    with Reloaded(tmp_path, *BASE) as router, HeldNode() as busy:
        router.announce("foo.com", busy.address)

        def ask(number):
            if number == 0:
                return request(router.address)
            assert busy.entered.wait(LIMIT)
            router.process.send_signal(signal.SIGHUP)
            router.wait_for("^ready$", 2)
            router.announce("bar.com", node.address)
            assert request(router.address, HTTP_HOST="bar.com").endswith(node.address.encode())
            busy.release.set()
            return b""

        assert in_threads(2, ask)[0].endswith(b"served")


def test_announcements_while_it_reloads_are_not_lost(tmp_path, nodes):
    with Reloaded(tmp_path, *BASE) as router:
        router.process.send_signal(signal.SIGHUP)
        for number in range(200):
            send_announcement(router.server, Announcement(f"k{number}.com", nodes[0].address))
        router.wait_for("^ready$", 2)
        wait_until(lambda: router.output.count("=> new node") == 200, "all of them")
        assert all(request(router.address, HTTP_HOST=f"k{number}.com") for number in range(0, 200, 17))


def test_a_changed_configuration(tmp_path, node):
    unix = tmp_path / "router.sock"
    with Reloaded(tmp_path, *BASE) as router:
        router.announce("foo.com", node.address)
        router.configure(
            *BASE, f"fastrouter = {unix}", "fastrouter-answer-errors = true", "subscription-max-nodes = 100"
        )
        router.reload()
        assert request(str(unix)).endswith(node.address.encode())
        assert request(router.address).endswith(node.address.encode()), "the old socket is the same"
        assert request(router.address, HTTP_HOST="no.com").startswith(b"HTTP/1.1 404")
        router.configure(BASE[1], BASE[2], f"fastrouter = {unix}")
        router.reload()
        assert request(str(unix)).endswith(node.address.encode())
        with pytest.raises(ConnectionRefusedError):
            request(router.address)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("fastrouter-processes = many", "expected a whole number"),
        ("fastrouter-proceses = 2", "did you mean"),
        ("fastrouter = 192.0.2.1:80", "cannot bind 192.0.2.1:80"),
        ("cache2 = name=c,items=10,store=/no/such/place/x", "cannot start: .*No such file"),
        ("fastrouter-use-code-string = 0:/dev/null.py:x", "there is no such file"),
        ("socket = 127.0.0.1:0\nmodule = no_such_module_anywhere", "No module named"),
    ],
)
def test_a_configuration_that_cannot_be_used_changes_nothing(tmp_path, node, line, problem):
    with Reloaded(tmp_path, *BASE) as router:
        router.announce("foo.com", node.address)
        children = {child.pid for child in psutil.Process(router.pid).children()}
        router.configure(*BASE, line)
        router.process.send_signal(signal.SIGHUP)
        router.wait_for(problem)
        router.wait_for("cannot reload with this configuration; going on as before")
        assert {child.pid for child in psutil.Process(router.pid).children()} == children
        assert request(router.address).endswith(node.address.encode())
        router.configure(*BASE)
        router.reload()
        assert request(router.address).endswith(node.address.encode())


def test_a_changed_application(tmp_path):
    app = tmp_path / "app.py"

    def write(text):
        app.write_text(
            f"def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'{text}']\n"
        )

    write("old")
    lines = (
        "fastrouter = 127.0.0.1:0",
        "fastrouter-use-socket = 0",
        "socket = 127.0.0.1:0",
        f"wsgi-file = {app}",
        "processes = 2",
    )
    with Reloaded(tmp_path, *lines) as router:
        with load(lambda: request(router.address).rpartition(b"\n")[2]) as answers:
            wait_until(lambda: b"old" in answers, "the old one")
            write("new")
            router.reload()
            before = len(answers)
            wait_until(lambda: len(answers) > before + 20, "the new one")
        assert set(answers) == {b"old", b"new"} and set(answers[before + 8 :]) == {b"new"}
        app.write_text("syntax error")
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("going on as before")
        assert request(router.address).endswith(b"new")


def test_an_announced_application_stays_announced(tmp_path):
    (tmp_path / "app.py").write_text(
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'served']\n"
    )
    with Router("--fastrouter=127.0.0.1:0", "--fastrouter-subscription-server=127.0.0.1:0") as router:
        instance = Program(
            MASTER,
            "--socket=127.0.0.1:0",
            f"--wsgi-file={tmp_path}/app.py",
            f"--subscribe-to={router.server}:foo.com",
        )
        with instance:
            router.wait_for("foo.com => new node")
            with load(lambda: request(router.address)) as answers:
                for count in (2, 3):
                    instance.process.send_signal(signal.SIGHUP)
                    instance.wait_for("^ready$", count)
                    instance.wait_for("announcer from before the reload is gone", count - 1)
            assert answers and all(answer.endswith(b"served") for answer in answers)
            assert "as failed" not in router.output


def test_one_worker_more_and_less(tmp_path, node):
    with Reloaded(tmp_path, *BASE, "subscription-tolerance = 600") as router:
        router.announce("foo.com", node.address)

        def workers():
            titles = [" ".join(child.cmdline()) for child in psutil.Process(router.pid).children()]
            return sum("fastrouter worker" in title for title in titles)

        with load(lambda: request(router.address)) as answers:
            for count, number in (
                (3, signal.SIGTTIN),
                (2, signal.SIGTTOU),
                (1, signal.SIGTTOU),
                (1, signal.SIGTTOU),
                (2, signal.SIGHUP),
            ):
                router.reload(number)
                assert workers() == count
        assert all(answer.endswith(node.address.encode()) for answer in answers)


def slow_application(place, seconds):
    """The lines for an application that takes so long to load."""
    (place / "app.py").write_text(
        f"import threading\nthreading.Event().wait({seconds})\n"
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"
    )
    return "socket = 127.0.0.1:0", f"wsgi-file = {place}/app.py"


def test_a_session_over_several_reloads(tmp_path):
    """Its worker has nobody to hear from any more, and waits quietly."""
    with Reloaded(tmp_path, *BASE) as router, HeldNode() as busy:
        router.announce("foo.com", busy.address)
        workers = [psutil.Process(pid) for pid in router.pids("fastrouter worker", 2)]

        def ask(number):
            if number == 0:
                return request(router.address)
            assert busy.entered.wait(LIMIT)
            for count in (2, 3):
                router.process.send_signal(signal.SIGHUP)
                router.wait_for("^ready$", count)
            (old,) = wait_until(lambda: [one for one in alive() if len(alive()) == 1], "the idle one to go")
            before = sum(old.cpu_times()[:2])
            threading.Event().wait(1)
            spent = sum(old.cpu_times()[:2]) - before
            busy.release.set()
            return spent

        def alive():
            return [one for one in workers if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

        answer, spent = in_threads(2, ask)
        assert answer.endswith(b"served")
        assert spent < 0.3


def test_what_was_rehearsed_is_what_runs(tmp_path, node):
    """Not what is in the file a moment later."""
    app = slow_application(tmp_path, 1)
    with Reloaded(tmp_path, *BASE) as router:
        router.announce("foo.com", node.address)
        router.configure(*BASE, *app)
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("subscription server is gone", limit=3 * LIMIT)
        router.configure("listen = nonsense")
        router.wait_for("^ready$", 2, limit=3 * LIMIT)
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("going on as before")
        assert request(router.address).endswith(node.address.encode())


def test_asked_again_during_a_rehearsal(tmp_path, node):
    """The last one counts."""
    app = slow_application(tmp_path, 1)
    with Reloaded(tmp_path, *BASE) as router:
        router.announce("foo.com", node.address)
        router.configure(*BASE, *app)
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("^reloading")
        router.configure("listen = nonsense")
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("going on as before", limit=3 * LIMIT)
        assert router.output.count("spawned fastrouter-master") == 1
        assert request(router.address).endswith(node.address.encode())


def test_a_rehearsal_ends_with_the_program(tmp_path):
    with Reloaded(tmp_path, *BASE) as router:
        router.configure(*BASE, *slow_application(tmp_path, 600))
        before = len(psutil.Process(router.pid).children())
        router.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(psutil.Process(router.pid).children()) > before, "a dry run")
        family = children(router.pid)
        assert router.stop() == 0
        wait_until(lambda: all(map(gone, family)), "the end of all its children")


def test_files_that_could_not_be_opened(tmp_path, node):
    """They are found out before anything is given up."""
    base = ("fastrouter = 127.0.0.1:0", f"fastrouter-to = {node.address}")
    (tmp_path / "file").write_text("precious")
    with Reloaded(tmp_path, *base) as router:
        for number, line in enumerate(
            (
                f"fastrouter-log = {tmp_path}",
                f"master-fifo = {tmp_path}/file",
                f"master-fifo = {tmp_path}/none/fifo",
                f"fastrouter-zerg = {tmp_path}/none",
            ),
            1,
        ):
            router.configure(*base, line)
            router.process.send_signal(signal.SIGHUP)
            router.wait_for("going on as before", number)
            assert request(router.address).endswith(node.address.encode())
        router.configure(*base, "hook-master-start = exec:exit 3")
        router.reload()
        router.wait_for("exited with non-zero code: 3")
        assert request(router.address).endswith(node.address.encode())
    assert (tmp_path / "file").read_text() == "precious"


def test_a_configuration_knows_that_it_is_read_for_a_reload(tmp_path, nodes):
    lines = ("fastrouter = 127.0.0.1:0", "if-reload =", f"fastrouter-to = {nodes[1].address}", "endif =")
    with Reloaded(
        tmp_path, *lines, f"if-not-reload =\nfastrouter-to = {nodes[0].address}\nendif ="
    ) as router:
        assert request(router.address).endswith(nodes[0].address.encode())
        router.reload()
        assert request(router.address).endswith(nodes[1].address.encode())


def test_standard_input_may_be_the_socket(tmp_path, nodes):
    """As inetd and supervisord hand it over; a reload must not take the dry run's for it."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        config = tmp_path / "router.ini"
        config.write_text(f"[uwsgi]\nfastrouter = fd://0\nfastrouter-to = {nodes[0].address}\n")
        script = 'exec 0<&"$1"; shift; exec "$@"'
        fd = sock.fileno()
        with Program("bash", "-c", script, "sh", str(fd), MASTER, "--ini", config, fds=(fd,)) as program:
            for number, node in enumerate(nodes[:3], 1):
                program.wait_for("^ready$", number)
                assert wait_until(
                    lambda node=node: request(address).endswith(node.address.encode()), "its answer"
                )
                if number < 3:
                    config.write_text(config.read_text().replace(node.address, nodes[number].address))
                    program.process.send_signal(signal.SIGHUP)
            assert program.stop() == 0


def test_announcements_that_are_configured_no_more_are_taken_back(tmp_path):
    """And a request never goes to where the application was announced before, or is lost there."""
    app = tmp_path / "app.py"
    app.write_text(
        "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'served']\n"
    )
    place = tmp_path / "instance"
    place.mkdir()

    def lines(path, *keys):
        announced = [f"subscribe-to = {router.server}:{key}" for key in keys]
        return f"socket = {tmp_path}/{path}", f"wsgi-file = {app}", *announced

    with Router(*(f"--{line.replace(' = ', '=')}" for line in BASE)) as router:
        file = place / "router.ini"
        file.write_text("\n".join(["[uwsgi]", *lines("one.sock", "foo.com", "bar.com")]) + "\n")
        with Program(MASTER, "--ini", file) as instance:
            for key in ("foo", "bar"):
                router.wait_for(f"{key}.com => new node: {tmp_path}/one.sock")
            with load(lambda: request(router.address).rpartition(b"\r\n\r\n")[2], threads=2) as answers:
                for number, (path, keys) in enumerate(
                    (("one.sock", "foo.com"), ("two.sock", "foo.com"), ("two.sock", "")), 2
                ):
                    file.write_text("\n".join(["[uwsgi]", *lines(path, *keys.split())]) + "\n")
                    if not keys:
                        wait_until(lambda: len(answers) > 20, "some requests")
                        before = list(answers)
                    instance.process.send_signal(signal.SIGHUP)
                    instance.wait_for("^ready$", number)
                    if number == 2:
                        router.wait_for(f"bar.com => {tmp_path}/one.sock has left")
                    elif number == 3:
                        router.wait_for(f"foo.com => new node: {tmp_path}/two.sock")
                        router.wait_for(f"foo.com => {tmp_path}/one.sock has left")
                    else:
                        router.wait_for(f"foo.com => {tmp_path}/two.sock has left")
            assert set(before) == {b"served"}
            assert "unable to connect" not in router.output


def test_counts_of_configured_nodes_stay(tmp_path, nodes):
    def lines(*some):
        stats = "fastrouter-stats = 127.0.0.1:0"
        return "fastrouter = 127.0.0.1:0", stats, *(f"fastrouter-to = {node.address}" for node in some)

    def counts():
        with connect(router.wait_for(r"stats server enabled on (\S+)")[1]) as sock:
            return {node["name"]: node["requests"] for node in json.loads(read_all(sock))["nodes"]}

    with Reloaded(tmp_path, *lines(nodes[0], nodes[1])) as router:
        for _ in range(6):
            request(router.address)
        first, second, third = (node.address for node in nodes[:3])
        assert counts() == {first: 3, second: 3}
        router.configure(*lines(nodes[2], nodes[1]))
        router.reload()
        assert counts() == {third: 0, second: 3}
        for _ in range(4):
            request(router.address)
        router.reload()
        assert counts() == {third: 2, second: 5}


def test_the_same_node_twice_and_times_over_two_reloads(tmp_path):
    with HeldNode() as slow, HeldNode() as node:
        node.release.set()
        lines = (
            *(
                "fastrouter = 127.0.0.1:0",
                "fastrouter-stats = 127.0.0.1:0",
                "fastrouter-prometheus = 127.0.0.1:0",
            ),
            *(f"fastrouter-to = {node.address}", f"fastrouter-to = {node.address}"),
            *(f"fastrouter-to = {slow.address}", "fastrouter-max-conns = 1"),
        )
        with Reloaded(tmp_path, *lines) as router:
            stats = router.wait_for(r"stats server enabled on (\S+)")[1]

            def statistics():
                with connect(stats) as sock:
                    nodes = json.loads(read_all(sock))["nodes"]
                first, second, held = (
                    (one["requests"], sum(one["response_time"]["counts"])) for one in nodes
                )
                return first[0] + second[0], first[1] + second[1], held

            with connect(router.address) as client:
                for _ in range(2):
                    request(router.address)
                client.sendall(request_packet("GET", "http://foo.com/", b"", {}))
                assert slow.entered.wait(LIMIT)
                wait_until(lambda: statistics() == (2, 2, (1, 0)), "the first statistics")
                for number in (2, 3):
                    router.process.send_signal(signal.SIGHUP)
                    router.wait_for("^ready$", number)
                    # It has a request, of a router worker from before: it may have no other.
                    for _ in range(4):
                        assert request(router.address).endswith(b"served")
                    assert slow.connections == 1
                slow.release.set()
                assert read_all(client).endswith(b"served")
            # Times of who served on for a moment are taken over when the last of the former is gone.
            wait_until(lambda: statistics() == (10, 10, (1, 0)), "all that was counted")
            url = router.wait_for(r"statistics for Prometheus on (\S+)")[1]
            with urllib.request.urlopen(url) as reply:
                lines = [line.rpartition(" ")[0] for line in reply.read().decode().splitlines()]
            series = [line for line in lines if not line.startswith("#")]
            assert len(series) == len(set(series)), "each once"


def test_a_socket_that_is_dropped_is_removed(tmp_path, node):
    base = ("fastrouter = 127.0.0.1:0", f"fastrouter-to = {node.address}", "vacuum = true")
    with Reloaded(tmp_path, *base, f"fastrouter = {tmp_path}/extra.sock") as router:
        assert request(f"{tmp_path}/extra.sock")
        router.configure(*base)
        router.reload()
        assert not (tmp_path / "extra.sock").exists()


def test_nobody_is_missed_who_never_was(caplog):
    """A start is no reload: nobody from before it can be late."""
    former = Predecessors({}, (), mercy=60)
    former.replace(100.0)
    former.go_on(1000.0)
    assert not caplog.records


def test_what_is_said_to_be_gone_is_counted(monkeypatch):
    """Whoever reads that finds its counts in the statistics."""
    seen = []
    takeover = SimpleNamespace(count=lambda: seen.append("counted"), end=lambda: seen.append("all counted"))
    monkeypatch.setattr("master.reloading.predecessors.log.info", lambda *_: seen.append("said"))
    former = Predecessors({"1": "fastrouter worker", "2": "stats server"}, [takeover])
    assert former.take_end(1) and former.take_end(2)
    assert seen == ["counted", "said", "all counted", "said"]


def test_the_mask_of_files_is_that_of_the_configuration(tmp_path, node):
    base = ("fastrouter = 127.0.0.1:0", f"fastrouter-to = {node.address}")

    def mask():
        with open(f"/proc/{router.pid}/status") as file:
            return next(line.split()[1] for line in file if line.startswith("Umask:"))

    with Reloaded(tmp_path, *base, umask=0o027) as router:
        assert mask() == "0027"
        router.configure(*base, "umask = 007")
        router.reload()
        assert mask() == "0007"
        router.configure(*base)
        router.reload()
        assert mask() == "0027"


def test_a_touched_file(tmp_path):
    touched = tmp_path / "touch"
    with Reloaded(tmp_path, *BASE, f"touch-reload = {touched}") as router:
        touched.touch()
        router.wait_for("^ready$", 2)
        os.utime(touched, (1, 1))
        router.wait_for("^ready$", 3)
        touched.unlink()
        router.wait_for("^ready$", 4)


def test_it_leaks_nothing(tmp_path, node):
    with Reloaded(tmp_path, *BASE, "cache = 10", "shared-socket = 127.0.0.1:0") as router:
        router.reload()
        before = descriptors(router.pid)
        for _ in range(3):
            router.reload()
        assert descriptors(router.pid) == before


def test_a_subscription_server_that_stands_still_is_not_waited_for_long(tmp_path, node):
    with Reloaded(
        tmp_path, "fastrouter = 127.0.0.1:0", "fastrouter-subscription-server = 127.0.0.1:0"
    ) as router:
        (server,) = router.pids("subscription server")
        os.kill(server, signal.SIGSTOP)
        began = time.monotonic()
        router.reload()
        assert time.monotonic() - began < 30
        router.announce("foo.com", node.address)
        assert request(router.address)


def test_signals_during_a_reload(tmp_path, node):
    """Many at once are one; the order to end counts at any time."""
    with Reloaded(tmp_path, *BASE) as router:
        router.announce("foo.com", node.address)
        for _ in range(5):
            router.process.send_signal(signal.SIGHUP)
        router.wait_for("^ready$", 2)
        assert request(router.address).endswith(node.address.encode())
        router.process.send_signal(signal.SIGHUP)
        assert router.stop() == 0


def test_a_cache_keeps_its_items(tmp_path, node):
    lines = (
        "fastrouter = 127.0.0.1:0",
        "fastrouter-use-cache =",
        "cache = 10",
        f"add-cache-item = foo.com={node.address}",
    )
    with Reloaded(tmp_path, *lines) as router:
        assert request(router.address).endswith(node.address.encode())
        router.configure(*lines[:3])
        router.reload()
        assert request(router.address).endswith(node.address.encode())


def test_a_node_keeps_its_counts_and_requests(tmp_path):
    with Reloaded(tmp_path, *BASE, "fastrouter-stats = 127.0.0.1:0") as router, HeldNode() as busy:
        router.announce("foo.com", busy.address)

        def statistics():
            address = [line for line in router.lines if "stats server enabled" in line][-1].split()[6]
            with connect(address) as sock:
                return json.loads(read_all(sock))["subscriptions"][0]["nodes"][0]

        def ask(number):
            if number == 0:
                return request(router.address)
            assert busy.entered.wait(LIMIT)
            router.process.send_signal(signal.SIGHUP)
            router.wait_for("^ready$", 2)
            assert statistics()["ref"] == 1 and statistics()["requests"] == 1
            busy.release.set()
            router.wait_for("fastrouter worker from before the reload is gone", 2)
            assert statistics()["ref"] == 0 and statistics()["tx"] > 0
            return b""

        assert in_threads(2, ask)[0].endswith(b"served")


def test_unix_sockets_and_vacuum(tmp_path, node):
    paths = [tmp_path / name for name in ("router.sock", "subscriptions.sock")]
    lines = (
        f"fastrouter = {paths[0]}",
        f"fastrouter-subscription-server = {paths[1]}",
        "vacuum = true",
        f"pidfile = {tmp_path}/pid",
    )
    with Reloaded(tmp_path, *lines) as router:
        router.announce("foo.com", node.address)
        inodes = [os.stat(path).st_ino for path in paths]
        router.reload()
        assert [os.stat(path).st_ino for path in paths] == inodes
        send_announcement(router.server, Announcement("bar.com", node.address))
        router.wait_for("bar.com => new node")
        assert request(router.address).endswith(node.address.encode())
        assert (tmp_path / "pid").read_text() == f"{router.pid}\n"
        assert router.stop() == 0
        assert not any(path.exists() for path in paths)


def test_sockets_are_as_they_are_configured_now(tmp_path, node):
    path = tmp_path / "router.sock"
    lines = (f"fastrouter = {path}", "fastrouter-subscription-server = 127.0.0.1:0")
    with Reloaded(tmp_path, *lines, "chmod-socket = 600") as router:
        router.announce("foo.com", node.address)
        router.configure(*lines, "chmod-socket = 666")
        router.reload()
        assert os.stat(path).st_mode & 0o777 == 0o666
        path.unlink()
        router.reload()
        assert request(str(path)).endswith(node.address.encode()), "it is there again"


def test_a_killed_master_takes_former_and_new_children_along(tmp_path):
    with Reloaded(tmp_path, *BASE) as router, HeldNode() as busy:
        router.announce("foo.com", busy.address)

        def ask(number):
            if number == 0:
                return request(router.address)
            assert busy.entered.wait(LIMIT)
            router.process.send_signal(signal.SIGHUP)
            router.wait_for("^ready$", 2)
            family = children(router.pid)
            assert len(family) >= 4
            os.kill(router.pid, signal.SIGKILL)
            wait_until(lambda: all(map(gone, family)), "the end of all its children")
            return b""

        assert in_threads(2, ask)[0] == b""


def test_daemon(tmp_path):
    log = tmp_path / "log"
    lines = ("[uwsgi]", *BASE, f"daemonize = {log}", f"pidfile = {tmp_path}/pid")
    (tmp_path / "router.ini").write_text("\n".join(lines))
    with Program(MASTER, "--ini", tmp_path / "router.ini") as program:
        assert program.wait() == 0
        pid = int((tmp_path / "pid").read_text())
        try:
            os.kill(pid, signal.SIGHUP)
            wait_until(lambda: log.read_text().count("\nready\n") == 2, "another ready")
        finally:
            os.kill(pid, signal.SIGINT)
        wait_until(lambda: gone(pid), "the end")


@pytest.mark.parametrize("option", ["wsgi-file = app.py", "module = site.app"])
def test_an_edit_of_the_same_size_within_the_same_second_is_seen(tmp_path, monkeypatch, option):
    """As tar, rsync and builders of images make them; and nothing is left beside the user's files."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    code = "def application(e, s):\n    s('200 OK', [])\n    return [b'%s']\n"
    (tmp_path / "package").mkdir()
    if option.startswith("module"):
        option = "module = package.app"
    file = tmp_path / ("app.py" if "wsgi-file" in option else "package/app.py")

    def write(text):
        file.write_text(code % text)
        os.utime(file, (1_000_000_000, 1_000_000_000))

    write("before")
    with Reloaded(
        tmp_path, "fastrouter = 127.0.0.1:0", f"fastrouter-to = {tmp_path}/app.sock", f"socket = {tmp_path}/app.sock",
        f"chdir = {tmp_path}", option,
    ) as router:  # fmt: skip
        assert request(router.address).endswith(b"before")
        write("behind")
        router.reload()
        assert request(router.address).endswith(b"behind")
    assert not list(tmp_path.rglob("__pycache__"))
