"""One table for all workers, whatever is killed or held up while it changes."""

import os
import random
import signal
import socket

from harness import (
    FakeNode,
    connect,
    dial,
    read_all,
    request,
    subscription_router,
    wait_until,
)

from fastrouter.client import request_packet
from fastrouter.wire.announcement import Announcement

KEYS = [f"key-{number}.com" for number in range(6)]


def test_workers_agree_after_churn_and_kills():
    nodes = [FakeNode() for _ in range(4)]
    chance = random.Random(4)
    with subscription_router("--fastrouter-processes=3", "--subscription-tolerance=600") as router:
        router.announce("last.com", nodes[0].address)
        router.unsubscribe("last.com", nodes[0].address)
        held_up, killed, _ = router.pids("fastrouter worker", 3)
        os.kill(held_up, signal.SIGSTOP)  # its pipe will be full
        kind, server = dial(router.server)
        with socket.socket(kind, socket.SOCK_DGRAM) as sock:
            for turn in range(200):
                for key in KEYS:
                    for node in nodes:
                        gone = chance.random() < 0.5
                        sock.sendto(Announcement(key, node.address, unsubscribe=gone).encode(), server)
                if turn in (60, 130):
                    os.kill(router.pids("subscription server")[0], signal.SIGKILL)
                if turn == 100:
                    os.kill(killed, signal.SIGKILL)
        router.announce("last.com", nodes[0].address)
        os.kill(held_up, signal.SIGCONT)
        views = [view_of(router, worker) for worker in router.pids("fastrouter worker", 3)]
        assert views[0] == views[1] == views[2]
        assert any(views[0].values())
    for node in nodes:
        node.close()


def test_a_request_that_waits_with_a_change_is_routed_by_it():
    with FakeNode() as old, FakeNode() as new, subscription_router() as router:
        router.announce("foo.com", old.address)
        assert request(router.address)
        worker = router.pids("fastrouter worker")[0]
        os.kill(worker, signal.SIGSTOP)
        with connect(router.address) as client:  # its event comes first
            client.sendall(request_packet("GET", "http://foo.com/"))
            router.announce("foo.com", new.address)
            router.unsubscribe("foo.com", old.address)
            os.kill(worker, signal.SIGCONT)
            assert read_all(client)
        assert (len(old.packets), len(new.packets)) == (1, 1)


def view_of(router, worker):
    """The nodes that one worker routes each key to, found out by holding up the others."""
    others = [pid for pid in router.pids("fastrouter worker", 3) if pid != worker]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: answers(router), "the worker to have the last change")
    view = {key: {request(router.address, f"http://{key}/") for _ in range(8)} - {b""} for key in KEYS}
    for pid in others:
        os.kill(pid, signal.SIGCONT)
    return view


def answers(router):
    """Whether the one worker that runs has an answer. The kernel may wake one that is held up for a request."""
    try:
        return request(router.address, "http://last.com/", limit=0.5)
    except TimeoutError:
        return b""
