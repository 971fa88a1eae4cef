"""Statistics: uWSGI's JSON, summed over all workers, and Prometheus' text."""

import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
import urllib.error
import urllib.request

import pytest
from harness import (
    LIMIT,
    FakeNode,
    HeldNode,
    Program,
    Router,
    children,
    connect,
    descriptors,
    free_port,
    in_threads,
    read_all,
    read_until,
    refusing_address,
    request,
    send_announcement,
    subscription_router,
    wait_until,
)
from prometheus_client.parser import text_string_to_metric_families

from fastrouter.client import request_packet
from fastrouter.wire.announcement import Announcement


def stats_router(*options):
    return subscription_router("--fastrouter-stats=127.0.0.1:0", *options)


def address_of(router):
    return router.wait_for(r"stats server enabled on (\S+) fd: \d+ \*\*\*$")[1]


def statistics(router):
    with connect(address_of(router)) as sock:
        return json.loads(read_all(sock))


def at_rest(router):
    """The statistics once every session is over: a client has its answer a moment before that."""
    wait_until(lambda: statistics(router)["active_sessions"] == 0, "the end of all sessions")
    return statistics(router)


def test_four_workers_and_a_thousand_requests_show_a_thousand(nodes):
    with stats_router("--fastrouter-processes=4") as router:
        for one in nodes[:2]:
            router.announce("foo.com", one.address)
        in_threads(4, lambda number: [request(router.address) for _ in range(250)])
        found = at_rest(router)
        (pool,) = found["subscriptions"]
        assert sum(node["requests"] for node in pool["nodes"]) == pool["hits"] == found["accepted"] == 1000
        assert found["errors"] == 0
        assert all(node["rx"] > 0 and node["tx"] > 0 and node["ref"] == 0 for node in pool["nodes"])
        assert sum(worker["accepted"] for worker in found["router_workers"]) == 1000
        assert abs(pool["nodes"][0]["last_check"] - time.time()) < 30  # noqa: TID251 - it is shown so


def test_sessions_that_are_open():
    with HeldNode() as node, stats_router() as router:
        router.announce("foo.com", node.address)
        clients = [connect(router.address) for _ in range(3)]
        for client in clients:
            client.sendall(request_packet("GET", "http://foo.com/", b"", {}))
        wait_until(lambda: statistics(router)["active_sessions"] == 3, "three sessions")
        node.release.set()
        for client in clients:
            assert read_all(client)
            client.close()
        at_rest(router)


def test_what_is_counted_is_the_nodes_own(nodes):
    """Not that of another one that had its place before."""
    with stats_router() as router:
        router.announce("foo.com", nodes[0].address)
        for _ in range(5):
            request(router.address)
        at_rest(router)  # a node that is busy would end what it has first
        router.unsubscribe("foo.com", nodes[0].address)
        router.announce("foo.com", nodes[1].address)
        request(router.address)
        send_announcement(router.server, Announcement("foo.com", nodes[1].address))
        router.announce("end.com", nodes[1].address)
        node = statistics(router)["subscriptions"][0]["nodes"][0]
        assert (node["requests"], node["last_requests"]) == (1, 0)


def test_failures_refusals_and_static_nodes(node):
    sock, dead = refusing_address()
    with (
        sock,
        Router(
            "--fastrouter=127.0.0.1:0",
            f"--fastrouter-to={dead}",
            f"--fastrouter-to={node.address}",
            "--fastrouter-stats=127.0.0.1:0",
        ) as router,
    ):
        for _ in range(4):
            request(router.address)
        found = at_rest(router)
        assert [one["name"] for one in found["nodes"]] == [dead, node.address]
        assert found["nodes"][0]["failcnt"] == 1 and found["nodes"][1]["requests"] == 4
    with stats_router() as router:
        send_announcement(router.server, b"rubbish")
        router.announce("foo.com", node.address, weight=3, cores=2, load=1, modifier1=5)
        found = statistics(router)
        assert found["announcements"]["accepted"] == found["announcements"]["refused"]["malformed"] == 1
        shown = found["subscriptions"][0]["nodes"][0]
        assert (shown["weight"], shown["cores"], shown["load"], shown["modifier1"]) == (3, 2, 1, 5)


def test_failures_by_kind_and_times(node):
    sock, dead = refusing_address()
    closing = FakeNode(lambda connection, number: connection.recv(1 << 16))
    silent = FakeNode(lambda connection, number: connection.recv(1 << 16) and connection.recv(1))
    with (
        sock,
        closing,
        silent,
        stats_router("--fastrouter-timeout=1", "--fastrouter-max-retries=0") as router,
    ):
        router.announce("silent.com", silent.address)
        router.announce("closing.com", closing.address)
        router.announce("dead.com", dead)
        router.announce("foo.com", node.address)
        # Nobody is there, so the node is gone at once, with its statistics; the session's are kept.
        for key, count in (("silent", 1), ("closing", 2), ("dead", 1), ("nobody", 3), ("foo", 4)):
            for _ in range(count):
                request(router.address, f"http://{key}.com/")
        with connect(router.address) as client:
            client.sendall(b"\0\xff\xff\0")
        wait_until(lambda: statistics(router)["errors"] == 8, "all of them")
        found = statistics(router)
        kinds = {
            "too_late": 1,
            "no_answer": 2,
            "unavailable": 1,
            "no_node": 3,
            "bad_request": 1,
            "failed": 0,
            "gone": 0,
        }
        assert found["errors_by_kind"] == found["router_workers"][0]["errors_by_kind"] == kinds
        pools = {pool["key"]: pool for pool in found["subscriptions"]}
        for key, failures in (("silent.com", (0, 0, 1)), ("closing.com", (0, 2, 0)), ("foo.com", (0, 0, 0))):
            for one in (pools[key], pools[key]["nodes"][0]):
                assert (one["connect_failures"], one["unanswered"], one["timeouts"]) == failures
                assert one["failcnt"] == sum(failures)
        worker = found["router_workers"][0]
        assert (worker["connect_failures"], worker["unanswered"], worker["timeouts"]) == (1, 2, 1)
        assert worker["requests"] == 7 and worker["failcnt"] == 4
        for one, connected, answered in (
            (pools["foo.com"], 4, 4),
            (pools["silent.com"], 1, 0),
            (worker, 7, 4),
        ):
            for name, count in (("connect_time", connected), ("response_time", answered)):
                assert sum(one[name]["counts"]) == count
                bounds = [0.0, *found["time_buckets"], 60.0]
                counts = one[name]["counts"]
                least = sum(bounds[at] * count for at, count in enumerate(counts))
                most = sum(bounds[at + 1] * count for at, count in enumerate(counts))
                assert least <= one[name]["sum"] <= most


def test_times_of_a_slow_node_outlive_a_reload():
    with HeldNode() as node, stats_router("--fastrouter-processes=2") as router:
        router.announce("foo.com", node.address)
        with connect(router.address) as client:
            client.sendall(request_packet("GET", "http://foo.com/", b"", {}))
            assert node.entered.wait(LIMIT)
            threading.Event().wait(0.3)  # what is measured is time
            node.release.set()
            read_all(client)
        before = at_rest(router)
        (pool,) = before["subscriptions"]
        took = pool["response_time"]
        at = len(took["counts"]) - 1
        assert before["time_buckets"][at - 1] <= took["sum"] < before["time_buckets"][at]
        # The one ends where the other begins, which may be a while after the node has got the request.
        assert pool["connect_time"]["sum"] + took["sum"] >= 0.3
        former = set(children(router.pid))
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("^ready$", 2)
        wait_until(lambda: not former & set(children(router.pid)), "the end of the former")
        request(router.address)
        (now,) = at_rest(router)["subscriptions"]
        assert now["requests"] == 2 and sum(now["response_time"]["counts"]) == 2
        assert now["response_time"]["sum"] > took["sum"]


@pytest.fixture
def original(uwsgi, node):
    """The same set-up under a real uWSGI: its statistics."""
    address, server, stats = (
        free_port("127.0.0.1"),
        free_port("127.0.0.1", socket.SOCK_DGRAM),
        free_port("127.0.0.1"),
    )
    options = (
        f"--fastrouter={address}",
        f"--fastrouter-subscription-server={server}",
        f"--fastrouter-stats={stats}",
    )
    with Program(uwsgi, "--master", *options) as program:
        program.wait_for("stats server enabled")
        send_announcement(server, Announcement("foo.com", node.address, cores=2))
        program.wait_for("new node")
        request(address)
        with connect(stats) as sock:
            yield read_all(sock)


def test_key_by_key_with_the_original(original, node):
    with stats_router() as router:
        router.announce("foo.com", node.address, cores=2)
        request(router.address)
        at_rest(router)
        with connect(address_of(router)) as sock:
            text = read_all(sock)
        theirs, ours = json.loads(original), json.loads(text)
        assert text.startswith(b'{\n\t"version":"')

        def same(theirs, ours, but):
            assert list(theirs) == [key for key in ours if key in theirs], "in this order"
            for key, value in theirs.items():
                assert type(ours[key]) is type(value), key
                if key not in but:
                    assert ours[key] == value, key

        same(theirs, ours, {"version", "pid", "cwd", "fastrouter", "subscriptions"})
        assert len(theirs["fastrouter"]) == len(ours["fastrouter"])
        (their_pool,), (our_pool,) = theirs["subscriptions"], ours["subscriptions"]
        same(their_pool, our_pool, {"nodes"})
        same(their_pool["nodes"][0], our_pool["nodes"][0], {"last_check"})


def test_uwsgitop_shows_what_it_does_of_the_original(uwsgi, uwsgitop, node):
    """Its first lines; the application workers that it has a table for are not what a router has."""
    stats = free_port("127.0.0.1")
    options = (f"--fastrouter={free_port('127.0.0.1')}", f"--fastrouter-stats={stats}")
    server = f"--fastrouter-subscription-server={free_port('127.0.0.1', socket.SOCK_DGRAM)}"
    with Program(uwsgi, "--master", *options, server) as original, stats_router() as router:
        original.wait_for("stats server enabled")
        router.announce("foo.com", node.address)
        request(router.address)
        for address in (stats, address_of(router)):
            terminal, end = pty.openpty()
            fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
            streams = {"stdin": end, "stdout": end, "stderr": end, "env": {**os.environ, "TERM": "xterm"}}
            with subprocess.Popen([uwsgitop, address], start_new_session=True, **streams) as top:
                os.close(end)
                shown = read_until(terminal, rb"masterpid: ", top)
                os.write(terminal, b"q")
                assert top.wait(LIMIT) == 0, shown
            os.close(terminal)
            assert b"Traceback" not in shown and b"node: 127.0.0.1 - cwd: " in shown


def test_over_http_and_minified(node):
    with stats_router("--stats-http", "--stats-minified") as router:
        router.announce("foo.com", node.address)
        with urllib.request.urlopen(f"http://{address_of(router)}/") as reply:
            assert reply.headers["Content-Type"] == "application/json"
            text = reply.read()
        assert b"\n" not in text and json.loads(text)["subscriptions"]


def test_a_request_that_comes_late_and_in_parts(node):
    """What comes of it after the answer must not take that back."""
    with stats_router("--stats-http") as router:
        router.announce_all((f"{number}.com" for number in range(500)), node.address)
        for _ in range(5):
            with connect(address_of(router)) as sock:
                for _ in range(20):
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Padding: x\r\n" * 100)
                sock.sendall(b"\r\n")
                data = read_all(sock)
            assert len(json.loads(data.partition(b"\r\n\r\n")[2])["subscriptions"]) == 500


def test_prometheus(node):
    with stats_router("--fastrouter-prometheus=127.0.0.1:0") as router:
        router.announce("foo.com", node.address)
        send_announcement(router.server, b"\xe0\0\0\0" + b'\3\0key\2\0\xff\xfe\7\0address\4\0/x"y')
        router.wait_for("new node: /x")
        for _ in range(3):
            request(router.address)
        at_rest(router)
        url = router.wait_for(r"statistics for Prometheus on (\S+)")[1]
        with urllib.request.urlopen(url) as reply:
            families = {
                family.name: family for family in text_string_to_metric_families(reply.read().decode())
            }
        requests = {
            sample.labels["node"]: sample.value for sample in families["fastrouter_node_requests"].samples
        }
        assert requests == {node.address: 3, '/x"y': 0}
        assert families["fastrouter_accepted"].samples[0].value == 3
        assert families["fastrouter_announcements_refused"].samples
        assert families["fastrouter_worker_requests"].samples[0].value == 3
        times = [
            sample
            for sample in families["fastrouter_node_response_seconds"].samples
            if sample.labels["node"] == node.address
        ]
        values = [sample.value for sample in times if sample.name.endswith("_bucket")]
        assert len(values) > 10 and values == sorted(values) and values[-1] == 3
        assert [sample.value for sample in times if sample.name.endswith("_count")] == [3]


def test_many_nodes_are_told_of_when_asked_for(node):
    """By default there are as many series as a Prometheus can have of every router; the rest is counted."""
    with stats_router("--fastrouter-prometheus=127.0.0.1:0", "--stats-http") as router:
        for number in range(1200):
            send_announcement(router.server, Announcement(f"{number}.com", node.address))
        router.announce("foo.com", node.address)
        url = router.wait_for(r"statistics for Prometheus on (\S+)")[1]

        def told(query):
            with urllib.request.urlopen(url + query) as reply:
                families = text_string_to_metric_families(reply.read().decode())
            return {family.name: family.samples for family in families}

        for query, listed in (("", 1000), ("?nodes=1", 1201), ("?nodes=0", 0)):
            found = told(query)
            assert len(found["fastrouter_node_requests"]) == listed
            assert found["fastrouter_nodes_left_out"][0].value == 1201 - listed
            assert found["fastrouter_nodes"][0].value == found["fastrouter_pools"][0].value == 1201
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(url + "?nodes=some")
        for query, listed in (("", 1201), ("?nodes=0", 0)):
            with urllib.request.urlopen(f"http://{address_of(router)}/{query}") as reply:
                found = json.load(reply)
            assert len(found["subscriptions"]) == listed and found["nodes_left_out"] == 1201 - listed


def test_http_readers_that_ask_for_nothing(node):
    """Those that leave, those that send half a request, and those that only wait: others go on."""
    with stats_router("--stats-http", "--socket-timeout=1") as router:
        server = router.pids("stats server")[0]
        before = descriptors(server)
        waiting = [connect(address_of(router)) for _ in range(70)]
        with connect(address_of(router)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n")
            client.shutdown(socket.SHUT_WR)
            assert json.loads(read_all(client).partition(b"\r\n\r\n")[2])["fastrouter"]
        with connect(address_of(router)) as client:
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b""
        wait_until(lambda: descriptors(server) == before, "the end of those that wait")
        for client in waiting:
            client.close()


def test_a_unix_socket(tmp_path, node):
    path = tmp_path / "stats.sock"
    with subscription_router(f"--fastrouter-stats={path}", "--vacuum") as router:
        with connect(str(path)) as sock:
            assert json.loads(read_all(sock))["fastrouter"]
        router.stop()
        assert not path.exists()


def test_readers_that_do_not_read(node):
    """They harm neither requests nor other readers, and go when their time is up."""
    with stats_router("--socket-timeout=1") as router:
        router.announce_all((f"{'long' * 50}{number}.com" for number in range(3000)), node.address)
        router.announce("foo.com", node.address)
        server = router.pids("stats server")[0]
        before = descriptors(server)
        stuck = []
        for _ in range(5):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            host, _, port = address_of(router).rpartition(":")
            sock.connect((host, int(port)))
            stuck.append(sock)
        assert len(statistics(router)["subscriptions"]) == 3001
        assert request(router.address).endswith(node.address.encode())
        wait_until(lambda: descriptors(server) == before, "the end of the readers")
        for sock in stuck:
            sock.close()


def test_many_readers_and_one_that_is_killed(node):
    with stats_router() as router:
        router.announce("foo.com", node.address)
        idle = [connect(address_of(router)) for _ in range(100)]
        assert statistics(router)["subscriptions"]
        for sock in idle:
            sock.close()
        os.kill(router.pids("stats server")[0], signal.SIGKILL)
        router.wait_for("respawned fastrouter stats server")
        assert statistics(router)["subscriptions"]
