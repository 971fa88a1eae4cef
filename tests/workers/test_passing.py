"""Clients that are passed to their nodes: who gets them, and that each request is run once whatever fails."""

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading

import psutil
import pytest
from harness import (
    LIMIT,
    FakeNode,
    Program,
    Router,
    TakingNode,
    answer,
    connect,
    descriptors,
    in_threads,
    load,
    read_all,
    read_request,
    request,
    router_to,
    send_announcement,
    subscription_router,
    wait_for_sweeps,
    wait_until,
)

from fastrouter.client import request_packet
from fastrouter.passing import take
from fastrouter.wire.announcement import Announcement, parse_announcement


@pytest.fixture
def taking(tmp_path):
    with TakingNode(tmp_path / "node.sock") as node:
        yield node


@pytest.fixture
def keeping(tmp_path):
    with TakingNode(tmp_path / "node.sock", keeps=True) as node:
        yield node


@pytest.fixture
def router():
    with subscription_router() as router:
        yield router


@contextlib.contextmanager
def passing_to(node, *more):
    """A router to which a node has said that it takes clients."""
    with subscription_router(*more) as router:
        router.announce("foo.com", getattr(node, "address", node), fd_passing=True)
        yield router


def told_to_pass_to(node, *more):
    """A router that was told so by its configuration."""
    return router_to(node, f"--fastrouter-fd-passing={node.address}", *more)


def ask_for_itself(router):
    """The client's own address, and the one that the node saw."""
    with connect(router.address) as sock:
        sock.sendall(request_packet("GET", "http://foo.com/"))
        return sock.getsockname(), read_all(sock)


def test_a_node_that_announces_it_gets_the_client_itself(router, taking):
    router.announce("foo.com", taking.address, fd_passing=True)
    own, seen = ask_for_itself(router)
    assert seen == answer(f"{own} 0".encode())
    assert (taking.taken, taking.relayed) == (1, 0)


def test_a_node_that_is_configured_for_it(taking):
    """A body it gets only once it has shown that it can: otherwise there would be no way back to relaying."""
    with told_to_pass_to(taking) as router:
        assert request(router.address, body=b"abc").endswith(b" 3")
        assert (taking.taken, taking.relayed) == (0, 1)
        own, seen = ask_for_itself(router)
        assert seen == answer(f"{own} 0".encode())
        wait_until(
            lambda: request(router.address, body=b"abc") and taking.taken >= 3, "bodies to be passed, too"
        )


def test_nobody_else_gets_a_descriptor(router, taking):
    router.announce("foo.com", taking.address)
    assert request(router.address).endswith(b" 0")
    with passing_to(taking, "--no-fd-passing") as silent:
        assert request(silent.address).endswith(b" 0")
    assert (taking.taken, taking.relayed) == (0, 2)


def test_a_node_over_tcp_gets_none(router, node):
    router.announce("foo.com", node.address, fd_passing=True)
    assert request(router.address).endswith(node.address.encode())


def test_an_announcement_that_takes_it_back(router, taking):
    router.announce("foo.com", taking.address, fd_passing=True)
    assert request(router.address)
    send_announcement(router.server, Announcement("foo.com", taking.address))
    wait_until(lambda: request(router.address) and taking.relayed, "an answer that was relayed")


@pytest.mark.parametrize("size", [1, 1000, 20_000, 3_000_000])
@pytest.mark.parametrize("keeps", [False, True])
def test_bodies(tmp_path, size, keeps):
    """What the router has read of the body already comes with the packet, the rest from the client."""
    with TakingNode(tmp_path / "node.sock", keeps) as node, passing_to(node) as router:
        assert request(router.address).endswith(b" 0")
        for _ in range(3):
            assert request(router.address, body=b"x" * size).endswith(f" {size}".encode())
        assert request(router.address).endswith(b" 0")
    assert (node.taken, node.relayed) == (5, 0)


def test_bodies_in_pieces(taking):
    data = request_packet("POST", "http://foo.com/", b"abcdef") + b"abcdef"
    with passing_to(taking) as router:
        for cut in (3, 4, 50, len(data) - 6, len(data) - 3, len(data) - 1):
            with connect(router.address) as sock:
                sock.sendall(data[:cut])
                if cut >= len(data) - 6:
                    wait_until(lambda: taking.taken or taking.connections, "the node to be asked")
                sock.sendall(data[cut:])
                assert read_all(sock).endswith(b" 6")
    assert taking.relayed == 0


def test_a_body_that_was_read_ahead_into_a_file_is_relayed(tmp_path, taking):
    with passing_to(taking, "--fastrouter-post-buffering=1000") as router:
        assert request(router.address, body=b"x" * 50_000).endswith(b" 50000")
        assert request(router.address, body=b"x" * 900).endswith(b" 900")
    assert (taking.taken, taking.relayed) == (1, 1)


def test_what_has_no_known_end_is_relayed(taking):
    with passing_to(taking) as router:
        request(router.address, HTTP_UPGRADE="websocket")
    assert (taking.taken, taking.relayed) == (0, 1)


def test_a_large_packet(taking):
    with passing_to(taking) as router:
        many = {f"HTTP_{n}": "x" * 6000 for n in range(10)}
        assert request(router.address, **many).endswith(b" 0")
    assert taking.taken == 1


def test_connections_are_kept_and_used_again(keeping):
    with passing_to(keeping) as router:
        for _ in range(20):
            assert request(router.address).endswith(b" 0")
        assert keeping.taken == 20 and keeping.connections <= 10  # a request may overtake a report
        in_threads(8, lambda number: [request(router.address) for _ in range(10)])
        assert keeping.taken == 100 and keeping.connections <= 50


def test_a_kept_connection_that_the_node_closes(tmp_path):
    release = threading.Event()

    def behave(connection, number):
        with take(connection) as client:
            read_request(client)
            client.sendall(answer(b"served"))
            client.release()
        release.wait(LIMIT)
        connection.close()

    with FakeNode(behave, path=str(tmp_path / "n.sock")) as node, passing_to(node) as router:
        worker = router.pids("fastrouter worker")[0]
        idle = descriptors(worker)
        assert request(router.address).endswith(b"served")
        wait_until(lambda: descriptors(worker) == idle + 1, "the connection to be kept")
        release.set()
        wait_until(lambda: descriptors(worker) == idle, "it to be closed")
        assert request(router.address).endswith(b"served")


def test_who_kept_a_connection_and_closes_it_unread_loses_nothing(tmp_path):
    """The request that was on its way there goes over another one, a POST as well."""
    runs = []

    def behave(connection, number):
        with take(connection) as client:
            runs.append(read_request(client)[1])
            client.sendall(answer(b"served"))
            kept = client.release()
        if kept is not None:
            kept.recv(1, socket.MSG_PEEK)  # there is a request
            kept.close()

    with FakeNode(behave, path=str(tmp_path / "n.sock")) as node, passing_to(node) as router:
        for number in range(10):
            assert request(router.address, method="POST", CONTENT_LENGTH="0").endswith(b"served"), number
            assert request(router.address, body=b"%d" % number).endswith(b"served")
    assert len(runs) == 20


@pytest.mark.parametrize("body", [b"", b"abc"])
def test_a_request_that_nobody_has_read_is_asked_again(tmp_path, body):
    def behave(connection, number):
        if number < 3:
            return  # closed with the request in it
        with take(connection) as client:
            _, found = read_request(client)
            client.sendall(answer(found or b"served"))

    with FakeNode(behave, path=str(tmp_path / "n.sock")) as node, passing_to(node) as router:
        assert request(router.address, method="POST", body=body).endswith(body or b"served")
    assert node.connections == 4


def test_a_node_that_never_reads_gives_way_to_another(router, tmp_path, taking):
    def behave(connection, number):
        connection.recv(2)

    with FakeNode(behave, path=str(tmp_path / "bad.sock")) as bad:
        router.announce("foo.com", bad.address, fd_passing=True)
        router.announce("foo.com", taking.address, fd_passing=True)
        for _ in range(4):
            assert request(router.address, body=b"abc").endswith(b" 3")
        assert bad.connections >= 4


def test_what_a_node_has_read_is_not_run_again(router, tmp_path, taking):
    def behave(connection, number):
        with contextlib.suppress(EOFError):
            _, found, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
            os.close(int.from_bytes(found[0][2], "little"))

    with FakeNode(behave, path=str(tmp_path / "bad.sock")) as bad:
        router.announce("foo.com", bad.address, fd_passing=True)
        wait_until(lambda: request(router.address) == b"" and bad.connections, "the bad node to be asked")
        router.announce("foo.com", taking.address, fd_passing=True)
        answers = [request(router.address) for _ in range(8)]
    assert bad.connections - 1 == answers.count(b"") > 0
    assert taking.taken == 8 - answers.count(b"")


def test_a_node_that_knows_nothing_of_descriptors(tmp_path):
    """It was announced by mistake: it is answered for as ever, and not passed anything again."""
    with FakeNode(path=str(tmp_path / "n.sock")) as node, told_to_pass_to(node) as router:
        assert request(router.address, body=b"x" * 50_000).endswith(node.address.encode())
        for _ in range(3):
            assert request(router.address).endswith(node.address.encode())
        router.wait_for("takes no clients' descriptors, though it should")
        assert request(router.address, body=b"x" * 50_000).endswith(node.address.encode())
        assert sum("takes no clients'" in line for line in router.lines) == 1


def test_a_slow_node_has_the_client_for_itself(tmp_path):
    """After a second or two the router keeps nothing of it but the connection that will tell of the end."""
    release = threading.Event()

    def behave(connection, number):
        with take(connection) as client:
            read_request(client)
            release.wait(LIMIT)
            client.sendall(answer(b"late"))

    with (
        FakeNode(behave, path=str(tmp_path / "n.sock")) as node,
        passing_to(node, "--fastrouter-timeout=1") as router,
    ):
        worker = router.pids("fastrouter worker")[0]
        idle = descriptors(worker)
        with connect(router.address) as sock:
            sock.sendall(request_packet("GET", "http://foo.com/"))
            wait_until(lambda: descriptors(worker) == idle + 2, "the client and the node")
            wait_until(lambda: descriptors(worker) == idle + 1, "the client to be let go")
            os.kill(worker, signal.SIGKILL)  # nobody needs it any more
            router.wait_for("ready|respawn", 2)
            release.set()
            assert read_all(sock) == answer(b"late")


def test_a_node_that_does_not_take_it_in_time(tmp_path):
    """The client is told, and nothing is said to it later."""
    path = str(tmp_path / "n.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(8)
        with passing_to(path, "--fastrouter-timeout=1", "--fastrouter-answer-errors") as router:
            assert request(router.address).startswith(b"HTTP/1.1 504 ")
            connection, _ = listener.accept()
            with take(connection) as client, contextlib.suppress(BrokenPipeError):
                assert read_request(client)
                client.sendall(answer(b"too late"))
                client.sendall(answer(b"too late"))


def test_a_client_that_leaves_before_the_node_looks(tmp_path):
    path = str(tmp_path / "n.sock")
    address = str(tmp_path / "r.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(8)
        with Router(
            "--fastrouter", address, "--fastrouter-to", path, "--fastrouter-fd-passing", path
        ) as router:
            worker = router.pids("fastrouter worker")[0]
            idle = descriptors(worker)
            with connect(address) as sock:
                sock.sendall(request_packet("GET", "http://foo.com/"))
                wait_until(lambda: descriptors(worker) == idle + 2, "the client and the node")
            wait_until(lambda: descriptors(worker) == idle, "both to be closed")


def test_a_router_worker_that_is_killed_loses_no_request_that_was_passed(tmp_path):
    path = str(tmp_path / "n.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        listener.settimeout(LIMIT)
        with passing_to(path) as router:
            worker = router.pids("fastrouter worker")[0]
            idle = descriptors(worker)
            clients = [connect(router.address) for _ in range(20)]
            for number, client in enumerate(clients):
                client.sendall(request_packet("POST", "http://foo.com/", b"%02d" % number) + b"%02d" % number)
            wait_until(lambda: descriptors(worker) == idle + 40, "all to be passed")
            os.kill(worker, signal.SIGKILL)
            for _ in clients:
                connection, _ = listener.accept()
                with take(connection) as taken:
                    taken.sendall(answer(read_request(taken)[1]))
            for number, client in enumerate(clients):
                with client:
                    assert read_all(client) == answer(b"%02d" % number)


APP = """
import os, time
fd = os.open({ran!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def application(environ, start_response):
    body = environ["wsgi.input"].read()
    os.write(fd, body + b"\\n")
    if body.startswith(b"large"):
        start_response("200 OK", [])
        return [b"x" * 100_000] * 50
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def wait_for_more(outcomes, count):
    aim = len(outcomes) + count
    wait_until(lambda: len(outcomes) >= aim, "requests to go on")


def test_app_workers_killed_under_load_run_nothing_twice(tmp_path):
    """With passed clients and kept connections: what was answered was run once, and what was not at most once."""
    ran = tmp_path / "ran"
    (tmp_path / "app.py").write_text(APP.format(ran=str(ran)))
    numbers = iter(range(10**9))
    lock = threading.Lock()

    def ask():
        with lock:
            number = b"%d" % next(numbers)
        reply = request(router.address, body=number, method="POST")
        return number, reply.rpartition(b"\r\n\r\n")[2]

    with Router(
        "--fastrouter=127.0.0.1:0", "--fastrouter-processes=2", "--fastrouter-use-socket=0",
        f"--socket={tmp_path}/app.sock", f"--wsgi-file={tmp_path}/app.py", "--processes=3", "--disable-logging",
    ) as router:  # fmt: skip
        with load(ask) as outcomes:
            for _ in range(10):
                wait_for_more(outcomes, 20)
                os.kill(router.pids("app worker", 1)[0], signal.SIGKILL)
            wait_for_more(outcomes, 100)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    runs = ran.read_bytes().split()
    assert len(runs) == len(set(runs))
    answered = [number for number, reply in outcomes if reply == number]
    assert set(answered) <= set(runs)
    assert len(outcomes) - len(answered) <= 10  # those that an app worker had in its hands


def test_the_local_application_is_passed_clients_and_large_answers(tmp_path):
    ran = tmp_path / "ran"
    (tmp_path / "app.py").write_text(APP.format(ran=str(ran)))
    log = tmp_path / "requests"
    with Router(
        "--fastrouter=127.0.0.1:0", "--fastrouter-use-socket=0", "--fastrouter-log", log,
        "--fastrouter-log-format", "%(status) %(rsize) %(outcome)",
        f"--socket={tmp_path}/app.sock", f"--wsgi-file={tmp_path}/app.py", "--disable-logging", "--threads=4",
    ) as router:  # fmt: skip
        reply = request(router.address, body=b"large")
        assert len(reply.partition(b"\r\n\r\n")[2]) == 5_000_000
        assert request(router.address, body=b"small").endswith(b"small")
        in_threads(8, lambda number: request(router.address, body=b"%d" % number))
        wait_until(lambda: log.read_text().count("\n") == 10, "the lines")
    lines = log.read_text().splitlines()
    assert lines[0] == f"200 {len(reply)} answered" and all(line.startswith("200 ") for line in lines)


@pytest.mark.parametrize(
    ("options", "said"),
    [([], True), (["--no-fd-passing"], False), (["--zerg-server=zerg.sock"], False)],
)
def test_what_the_local_application_announces(tmp_path, app_file, options, said):
    """That it takes clients, unless others may accept at its socket, who do not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "server.sock"))
        server.settimeout(LIMIT)
        with Router(
            "--fastrouter=127.0.0.1:0", "--fastrouter-use-socket=0", f"--socket={tmp_path}/app.sock",
            f"--wsgi-file={app_file}", f"--subscribe-to={tmp_path}/server.sock:foo.com", *options, cwd=tmp_path,
        ):  # fmt: skip
            announcement = parse_announcement(server.recv(4096))
    assert (announcement.address, announcement.traits.fd_passing) == (f"{tmp_path}/app.sock", said)


def test_counts(tmp_path, keeping):
    with passing_to(keeping, f"--fastrouter-stats={tmp_path}/stats") as router:
        sizes = [len(request(router.address)) for _ in range(5)]

        def statistics():
            with connect(f"{tmp_path}/stats") as sock:
                return json.loads(read_all(sock))

        # A client has its answer before the router hears of the end.
        wait_until(lambda: statistics()["active_sessions"] == 0, "the end of all sessions")
        (pool,) = statistics()["subscriptions"]
    assert (pool["nodes"][0]["requests"], pool["nodes"][0]["tx"]) == (5, sum(sizes))
    assert keeping.taken == 5


def test_a_node_whose_end_is_seen_before_it_is_gone(tmp_path):
    """Between the look at what it says and the one at what it has read, it closes: it has not read the request."""
    closed = threading.Event()

    def behave(connection, number):
        if number:
            with take(connection) as client:
                client.sendall(answer(b"second"))
            return
        with Program("strace", "-p", str(worker), "-e", "inject=recvfrom:signal=STOP:when=1") as strace:
            strace.wait_for("attached")
            connection.shutdown(socket.SHUT_RDWR)
            strace.wait_for("stopped by SIGSTOP")
            connection.close()
            closed.set()
            os.kill(worker, signal.SIGCONT)

    with FakeNode(behave, path=str(tmp_path / "node.sock")) as node, passing_to(node) as router:
        worker = router.pids("fastrouter worker")[0]
        assert request(router.address).endswith(b"second")
    assert closed.is_set() and node.connections == 2


def test_a_node_that_was_reset_before_an_old_session_looks(tmp_path):
    """The kernel tells a reset once: the look whether the node has the connection open still hears of it."""

    def behave(connection, number):
        if number:
            with take(connection) as client:
                client.sendall(answer(b"second"))
            return
        strace.wait_for("stopped by SIGSTOP")
        connection.close()
        os.kill(worker, signal.SIGCONT)

    with FakeNode(behave, path=str(tmp_path / "node.sock")) as node, passing_to(node) as router:
        worker = router.pids("fastrouter worker")[0]
        packet = request_packet("GET", "http://foo.com/")
        stop = ("-e", "inject=sendmsg:signal=STOP:when=1")
        with connect(router.address) as sock:
            sock.sendall(packet[:2])
            wait_for_sweeps(worker)
            with Program("strace", "-p", str(worker), *stop) as strace:
                strace.wait_for("attached")
                sock.sendall(packet[2:])
                assert read_all(sock).endswith(b"second")
    assert node.connections == 2


IN_FLIGHT = """
import os, socket
os.setuid({uid})
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
for _ in range(2):
    socket.send_fds(ours, [b"x"], [0] * 200)
print("ready", flush=True)
input()
"""


@pytest.mark.root
def test_as_many_descriptors_on_their_way_as_the_kernel_allows_a_user():
    """It passes none then (unix(7), ETOOMANYREFS): the request is relayed."""
    nobody, name = pwd.getpwnam("nobody").pw_uid, f"fastrouter-test-{os.getpid()}"
    options = ("--fastrouter=127.0.0.1:0", "--uid=nobody")
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(TakingNode(f"\0{name}\0"))
        to = (f"--fastrouter-to=@{name}", f"--fastrouter-fd-passing=@{name}")
        router = stack.enter_context(Router(*options, *to, prefix=("prlimit", "--nofile=256:256")))
        other = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", IN_FLIGHT.format(uid=nobody)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        assert other.stdout.readline() == "ready\n"
        assert request(router.address)
        assert (node.taken, node.relayed) == (0, 1)
        other.communicate("\n", timeout=LIMIT)
        wait_until(lambda: request(router.address) and node.taken, "a client that is passed")


def test_what_comes_behind_a_request_is_not_passed(keeping):
    """A second packet that hides behind the first one would be the node's next request, for somebody else."""
    packet = request_packet("GET", "http://foo.com/")
    with passing_to(keeping) as router:
        with connect(router.address) as sock:
            sock.sendall(packet + packet)
            assert read_all(sock).count(b"HTTP/1.1") == 1
        assert (keeping.taken, keeping.relayed) == (0, 1)
        assert request(router.address).endswith(b" 0") and keeping.taken == 1


@pytest.mark.parametrize("closes", [3, 4, 5, 8])
def test_a_node_that_crashes_again_and_again_runs_nothing_twice(router, tmp_path, closes):
    runs = []

    def crash(connection, number):
        if number >= closes:
            with take(connection) as client:
                runs.append(read_request(client)[1])
                client.sendall(answer(b"served"))

    def serve(connection, number):
        with take(connection) as client:
            runs.append(read_request(client)[1])
            client.sendall(answer(b"served"))

    with (
        FakeNode(crash, path=str(tmp_path / "a")) as crashing,
        FakeNode(serve, path=str(tmp_path / "b")) as good,
    ):
        router.announce("foo.com", crashing.address, fd_passing=True)
        router.announce("foo.com", good.address, fd_passing=True)
        for number in range(6):
            assert request(router.address, body=b"%d" % number).endswith(b"served")
        assert sorted(runs) == [b"%d" % number for number in range(6)]


def test_a_slow_node_that_knows_nothing_of_descriptors(tmp_path):
    """Even after a second or two the router still has the client, and relays."""
    release = threading.Event()

    def behave(connection, number):
        read_request(connection)
        release.wait(LIMIT)
        connection.sendall(answer(b"late, and long enough to be read in two pieces, were it read so" * 2))

    with FakeNode(behave, path=str(tmp_path / "n.sock")) as node, told_to_pass_to(node) as router:
        worker = router.pids("fastrouter worker")[0]
        with connect(router.address) as sock:
            sock.sendall(request_packet("GET", "http://foo.com/"))
            node.wait_for_requests(1)
            ticks = lambda: psutil.Process(worker).num_ctx_switches().voluntary  # noqa: E731
            before = ticks()
            wait_until(lambda: ticks() > before + 3, "a few seconds of the router's")
            release.set()
            assert read_all(sock).count(b"read in two pieces") == 2


def test_a_node_that_takes_clients_no_more(tmp_path):
    """Another program is at the address now: its first answer is passed on whole."""
    answers = iter([answer(b"x" * 100), answer(b"y" * 10)])

    def behave(connection, number):
        if number == 0:
            with take(connection) as client:
                read_request(client)
                client.sendall(answer(b"served"))
        else:
            read_request(connection)
            connection.sendall(next(answers))

    with FakeNode(behave, path=str(tmp_path / "n.sock")) as node, passing_to(node) as router:
        assert request(router.address).endswith(b"served")
        assert request(router.address) == answer(b"x" * 100)
        assert request(router.address) == answer(b"y" * 10)


FORKING = """
import os, time
def application(environ, start_response):
    environ["wsgi.input"].read(10)
    if environ["PATH_INFO"] == "/fork" and not os.fork():
        time.sleep(60)
        os._exit(0)
    start_response("200 OK", [("Content-Length", "6")])
    return [b"served"]
"""


def test_an_application_that_forks(tmp_path):
    """Its child has every connection open, too: nobody waits for that, or for a connection that nobody reads."""
    (tmp_path / "app.py").write_text(FORKING)
    with Router(
        "--fastrouter=127.0.0.1:0", "--fastrouter-use-socket=0", f"--socket={tmp_path}/app.sock",
        f"--wsgi-file={tmp_path}/app.py", "--disable-logging",
    ) as router:  # fmt: skip
        for _ in range(2):
            assert request(router.address).endswith(b"served")
            assert request(router.address, "http://foo.com/fork", body=b"x" * 40_000).endswith(b"served")
            assert request(router.address, "http://foo.com/fork").endswith(b"served")
        for _ in range(10):
            assert request(router.address).endswith(b"served")
        processes = [psutil.Process(pid) for pid in router.pids("worker", 2)]
        used = lambda: sum(sum(one.cpu_times()[:2]) for one in processes)  # noqa: E731
        before = used()
        for one in processes:
            switches = one.num_ctx_switches().voluntary
            if "fastrouter worker" in " ".join(one.cmdline()):
                wait_until(lambda: one.num_ctx_switches().voluntary > switches + 1, "two seconds")  # noqa: B023
        assert used() - before < 0.5
        for child in psutil.Process(router.pid).children(recursive=True):
            if child.pid not in [one.pid for one in processes]:
                child.kill()
