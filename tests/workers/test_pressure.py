"""What an attack on limits, rests, queues and buffered bodies has found, so that it is not found again."""

import os
import resource
import socket
import threading
import time
from contextlib import ExitStack

import psutil
import pytest
from harness import (
    LIMIT,
    MASTER,
    FakeNode,
    HeldNode,
    Program,
    Router,
    answer,
    connect,
    in_threads,
    read_all,
    read_request,
    request,
    router_to,
    subscription_router,
    wait_until,
)

from fastrouter.client import request_packet


def ask(stack, router, host="foo.com", method="GET", body=b""):
    sock = stack.enter_context(connect(router.address))
    sock.sendall(request_packet(method, f"http://{host}/", body) + body)
    return sock


def cpu(pid):
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def test_a_fast_upload_does_not_have_the_worker_for_itself(node):
    arguments = (
        f"--fastrouter-to={node.address}",
        "--fastrouter-post-buffering=1000",
        "--fastrouter-harakiri=2",
    )
    with Router("--fastrouter=127.0.0.1:0", *arguments) as router, ExitStack() as stack:
        sock = stack.enter_context(connect(router.address))
        size = 1 << 33
        sock.sendall(request_packet("POST", "http://foo.com/", b"", {"CONTENT_LENGTH": str(size)}))
        stopping = threading.Event()

        def upload():
            chunk = b"x" * (1 << 20)
            try:
                while not stopping.is_set():
                    sock.sendall(chunk)
            except OSError:
                pass

        thread = threading.Thread(target=upload)
        thread.start()
        try:
            slowest = 0.0
            for _ in range(30):
                started = time.monotonic()
                assert request(router.address).endswith(node.address.encode())
                slowest = max(slowest, time.monotonic() - started)
            assert slowest < LIMIT / 10
        finally:
            stopping.set()
            sock.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("algorithm", ["wrr", "lrc", "iphash"])
def test_a_large_pool_that_is_full_costs_the_others_little(node, algorithm):
    """300 nodes at 127.0.0.x with one request each, more that wait, and somebody else's requests meanwhile."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("0.0.0.0", 0))
    held.listen(1024)
    port = held.getsockname()[1]
    options = (
        "--fastrouter-max-conns=1",
        "--fastrouter-queue-timeout=30",
        f"--subscription-algo={algorithm}",
    )
    with held, subscription_router(*options) as router, ExitStack() as stack:
        for number in range(300):
            router.announce("full.com", f"127.0.{number // 200}.{number % 200 + 1}:{port}")
        router.announce("other.com", node.address)
        for _ in range(320):
            ask(stack, router, "full.com")
        (worker,) = router.pids("fastrouter worker")
        held.settimeout(LIMIT)
        accepted = [stack.enter_context(held.accept()[0]) for _ in range(300)]
        before, started = cpu(worker), time.monotonic()
        for _ in range(40):
            assert request(router.address, "http://other.com/").endswith(node.address.encode())
        assert time.monotonic() - started < LIMIT / 2
        assert len(accepted) == 300 and cpu(worker) - before < LIMIT / 5


def test_a_node_with_long_requests_comes_back_from_its_rest():
    broken, release = threading.Event(), threading.Event()

    def behave(connection, number):
        packet, _ = read_request(connection)
        if b"/long" in packet:
            release.wait(LIMIT)
        if not broken.is_set():
            connection.sendall(answer(b"first"))

    with (
        FakeNode(behave) as first,
        FakeNode() as second,
        subscription_router() as router,
        ExitStack() as stack,
    ):
        router.announce("foo.com", first.address)
        for _ in range(3):
            sock = stack.enter_context(connect(router.address))
            sock.sendall(request_packet("GET", "http://foo.com/long"))
        first.wait_for_requests(3)
        router.announce("foo.com", second.address)
        broken.set()
        wait_until(lambda: request(router.address) and "rests for" in router.output, "it to rest")
        broken.clear()
        wait_until(lambda: request(router.address).endswith(b"first"), "it to come back")
        wait_until(
            lambda: [request(router.address) for _ in range(10)].count(answer(b"first")) > 3, "its share"
        )
        release.set()


def test_a_node_that_never_reads_a_buffered_body(tmp_path):
    def behave(connection, number):
        connection.recv(1)
        threading.Event().wait(3)

    with FakeNode(behave, path=str(tmp_path / "node.sock")) as node:
        options = ("--fastrouter-post-buffering=1000", "--fastrouter-answer-errors", "--fastrouter-timeout=1")
        with Router("--fastrouter=127.0.0.1:0", f"--fastrouter-to={node.address}", *options) as router:
            assert request(router.address, body=b"x" * 600_000).startswith(b"HTTP/1.1 504")
            assert "Traceback" not in router.output


def test_fallbacks_are_for_failures_and_not_for_full_nodes(node):
    with HeldNode() as held, FakeNode() as fallback, ExitStack() as stack:
        options = ("--fastrouter-max-conns=1", f"--fastrouter-fallback={fallback.address}")
        with subscription_router(*options) as router:
            router.announce("foo.com", held.address)
            ask(stack, router)
            assert held.entered.wait(LIMIT)
            router.announce("foo.com", node.address)
            assert {request(router.address) for _ in range(10)} == {answer(node.address.encode())}
            assert not fallback.connections
            held.release.set()


def closes(connection, number):
    read_request(connection)


def test_who_waits_for_room_does_not_try_a_broken_node_again_and_again():
    with FakeNode(closes) as broken, HeldNode() as held, ExitStack() as stack:
        with subscription_router("--fastrouter-max-conns=1", "--fastrouter-max-fails=0") as router:
            router.announce("foo.com", held.address)
            ask(stack, router)
            assert held.entered.wait(LIMIT)
            router.announce("foo.com", broken.address)
            waiting = ask(stack, router)
            wait_until(lambda: broken.connections, "the broken one to be tried")
            held.release.set()
            assert read_all(waiting).endswith(b"served")
            assert broken.connections == 1


def test_the_time_in_the_queue_is_what_it_is_said_to_be():
    with FakeNode(closes) as broken, HeldNode() as held, ExitStack() as stack:
        options = ("--fastrouter-max-conns=1", "--fastrouter-queue-timeout=1", "--fastrouter-answer-errors")
        with subscription_router(*options) as router:
            router.announce("foo.com", held.address)
            ask(stack, router)
            assert held.entered.wait(LIMIT)
            router.announce("foo.com", broken.address)
            started = time.monotonic()
            assert request(router.address).startswith(b"HTTP/1.1 503")
            assert time.monotonic() - started < LIMIT / 2
            held.release.set()


def test_first_come_first_served():
    served = []

    def behave(connection, number):
        packet, _ = read_request(connection)
        served.append(int(packet[packet.index(b"/number") + 7 :][:2]))
        connection.sendall(answer(b"ok"))

    gate = threading.Event()

    def gated(connection, number):
        if not number:
            read_request(connection)
            gate.wait(LIMIT)
            return
        behave(connection, number)

    with FakeNode(gated) as node, ExitStack() as stack:
        with subscription_router("--fastrouter-queue-timeout=30") as router:
            router.announce("foo.com", node.address, max_conns=1)
            ask(stack, router)
            node.wait_for_requests(1)
            waiting = []
            for number in range(10, 20):
                sock = stack.enter_context(connect(router.address))
                sock.sendall(request_packet("GET", f"http://foo.com/number{number}"))
                waiting.append(sock)
                stack.callback(sock.close)
                threading.Event().wait(0.02)  # in this order into the backlog
            threading.Event().wait(1.2)  # past the sweep
            gate.set()
            for sock in waiting:
                assert read_all(sock)
            assert served == list(range(10, 20))


def test_any_number_of_keys_can_wait_for_one_pool(node):
    with HeldNode() as held, ExitStack() as stack:
        options = ("--fastrouter-max-conns=1", "--subscription-dotsplit", "--fastrouter-queue-timeout=30")
        with subscription_router(*options) as router:
            router.announce(".foo.com", held.address)
            first = ask(stack, router, "a.foo.com")
            assert held.entered.wait(LIMIT)
            waiting = [ask(stack, router, f"{number}.foo.com") for number in range(80)]
            held.release.set()
            assert all(read_all(sock).endswith(b"served") for sock in (first, *waiting))


def test_no_busy_loop_after_a_time_out():
    """The client closes its side while its second node is waited for."""

    def hangs(connection, number):
        read_request(connection)
        connection.recv(1)

    with FakeNode(hangs) as node, ExitStack() as stack:
        with Router(
            "--fastrouter=127.0.0.1:0", f"--fastrouter-to={node.address}", "--fastrouter-timeout=4"
        ) as router:
            (worker,) = router.pids("fastrouter worker")
            sock = ask(stack, router)
            node.wait_for_requests(1)
            sock.shutdown(socket.SHUT_WR)
            before = cpu(worker)
            assert read_all(sock) == b""
            assert cpu(worker) - before < 1


def test_a_request_that_takes_too_long_is_not_run_again(nodes):
    def hangs(connection, number):
        read_request(connection)
        connection.recv(1)

    with FakeNode(hangs) as first, FakeNode(hangs) as second:
        arguments = (f"--fastrouter-to={first.address}", f"--fastrouter-to={second.address}")
        options = ("--fastrouter-timeout=1", "--fastrouter-answer-errors")
        with Router("--fastrouter=127.0.0.1:0", *arguments, *options) as router:
            assert request(router.address).startswith(b"HTTP/1.1 504")
            assert first.connections + second.connections == 1


def test_streams_that_fall_idle_do_not_make_a_node_rest():
    def streams(connection, number):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nfirst event")
        connection.recv(1)

    with (
        FakeNode(streams) as first,
        FakeNode(streams) as second,
        subscription_router("--fastrouter-timeout=1") as router,
    ):
        router.announce("foo.com", first.address)
        router.announce("foo.com", second.address)
        answers = in_threads(8, lambda _: request(router.address))
        assert all(text.endswith(b"first event") for text in answers)
        assert "rests" not in router.output


def test_descriptors_for_bodies_in_files(node):
    """As many sessions as may be, each with three descriptors, and none is lost."""
    arguments = (f"--fastrouter-to={node.address}", "--fastrouter-post-buffering=10")
    prefix = ("prlimit", "--nofile=120:120")
    with Router("--fastrouter=127.0.0.1:0", *arguments, prefix=prefix) as router:
        answers = in_threads(60, lambda _: request(router.address, body=b"x" * 60_000))
        assert all(text.endswith(node.address.encode()) for text in answers)


def test_a_large_body_in_memory_is_sent_without_copying_it_each_time(tmp_path):
    body = b"x" * (48 << 20)
    with FakeNode(path=str(tmp_path / "node.sock")) as node:
        arguments = (f"--fastrouter-to={node.address}", f"--fastrouter-post-buffering={len(body)}")
        with Router("--fastrouter=127.0.0.1:0", *arguments) as router:
            (worker,) = router.pids("fastrouter worker")
            before = cpu(worker)
            assert request(router.address, body=body)
            assert cpu(worker) - before < LIMIT / 10
            assert [len(one) for one in node.bodies] == [len(body)]


def test_mapping_functions_may_exit_answer_nonsense_and_use_the_cache(node, tmp_path):
    (tmp_path / "mapper.py").write_text(
        "import sys, uwsgi\n"
        "def get(key):\n"
        "    if key == 'exit.com':\n"
        "        sys.exit(1)\n"
        "    if key == 'surrogate.com':\n"
        "        return '\\ud800'\n"
        "    return uwsgi.cache_get('node')\n"
    )
    arguments = (
        "--fastrouter-use-code-string=0:mapper.py:get",
        "--cache=10",
        f"--add-cache-item=node={node.address}",
    )
    with Router("--fastrouter=127.0.0.1:0", *arguments, cwd=tmp_path) as router:
        (worker,) = router.pids("fastrouter worker")
        assert request(router.address, "http://exit.com/") == b""
        assert request(router.address, "http://surrogate.com/") == b""
        assert request(router.address).endswith(node.address.encode())
        assert router.pids("fastrouter worker") == [worker] and "bug" not in router.output


def test_a_client_that_resets_is_not_taken_for_a_full_disk(node):
    arguments = (f"--fastrouter-to={node.address}", "--fastrouter-post-buffering=10")
    with Router("--fastrouter=127.0.0.1:0", *arguments) as router:
        with connect(router.address) as sock:
            sock.sendall(request_packet("POST", "http://foo.com/", b"x" * 100_000) + b"x" * 50_000)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert request(router.address).endswith(node.address.encode())
        assert "cannot buffer" not in router.output


@pytest.mark.root
def test_a_directory_that_the_worker_cannot_write_stops_the_start(tmp_path):
    tmp_path.chmod(0o700)
    arguments = (
        "--fastrouter-to=127.0.0.1:1",
        "--fastrouter-post-buffering=10",
        f"--fastrouter-post-buffering-dir={tmp_path}",
    )
    with Program(MASTER, "--fastrouter=127.0.0.1:0", "--fastrouter-uid=65534", *arguments) as program:
        assert program.wait() == 22
        assert f"cannot buffer a body in {tmp_path}: Permission denied" in program.output


def test_no_harakiri_for_the_successor_of_a_dead_worker(node, tmp_path):
    (tmp_path / "mapper.py").write_text(
        "import os, time\n"
        "if os.path.exists('slow'):\n"
        "    time.sleep(2.5)\n"
        "def get(key):\n"
        "    if key == 'kill.com':\n"
        "        open('slow', 'w').close()\n"
        "        os.kill(os.getpid(), 9)\n"
        f"    return '{node.address}'\n"
    )
    arguments = ("--fastrouter-use-code-string=0:mapper.py:get", "--fastrouter-harakiri=1")
    with Router("--fastrouter=127.0.0.1:0", *arguments, cwd=tmp_path) as router:
        assert request(router.address, "http://kill.com/") == b""
        router.wait_for("respawned fastrouter worker 1")
        assert request(router.address).endswith(node.address.encode())
        assert "HARAKIRI" not in router.output


def test_no_harakiri_after_a_pause_of_everything(node, tmp_path):
    (tmp_path / "mapper.py").write_text(f"def get(key):\n    return '{node.address}'\n")
    arguments = ("--fastrouter-use-code-string=0:mapper.py:get", "--fastrouter-harakiri=1")
    with Router("--fastrouter=127.0.0.1:0", *arguments, cwd=tmp_path) as router:
        everybody = [psutil.Process(router.pid), *psutil.Process(router.pid).children()]
        for process in everybody:
            process.suspend()
        threading.Event().wait(2.2)
        for process in everybody:
            process.resume()
        assert all(request(router.address) for _ in range(20))
        assert "HARAKIRI" not in router.output


def test_accepting_goes_on_as_soon_as_a_session_ends():
    """Without descriptors nobody is accepted; one second for each of those that wait would be long."""
    with HeldNode() as held, router_to(held) as router, ExitStack() as stack:
        (worker,) = router.pids("fastrouter worker")
        clients = [ask(stack, router)]
        assert held.entered.wait(LIMIT)
        highest = max(int(fd) for fd in os.listdir(f"/proc/{worker}/fd"))
        _, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (highest + 1, hard))
        clients += [ask(stack, router) for _ in range(300)]
        router.wait_for("cannot accept")
        began = time.monotonic()
        held.release.set()
        assert all(read_all(client).endswith(b"served") for client in clients)
        assert time.monotonic() - began < 20
