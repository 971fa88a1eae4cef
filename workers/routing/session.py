"""A session: one client connection, from accept to close.

It is a generator that yields when it must wait, and is resumed with the event that came. What is particular
to a protocol is only how the request is read (see ``fastrouter.py``); everything from the key on is here and,
once a node is connected, in ``relay.py``.
"""

import logging
import socket
from _socket import socket as PlainSocket
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Final

from fastrouter.memory.cells import Counter
from fastrouter.memory.outcomes import BAD_REQUEST, FAILED, GONE, NO_ANSWER, TOO_LATE, UNAVAILABLE
from fastrouter.routing.node import Node
from fastrouter.wire.framing import Framing
from workers.loop import Event
from workers.routing.answers import answer
from workers.routing.body import BodyFile, BufferingFailed, buffer_body
from workers.routing.dialling import AGAIN, IN_PROGRESS, connect, dial, reach
from workers.routing.handoff import NOT_TAKEN, RELAYED, pass_on
from workers.routing.relay import Bytes, ClientGone, begin, hang_up, linger, relay

if TYPE_CHECKING:
    from workers.access_log import Record
    from workers.routing.router import Router

__all__ = ["SWEEP", "BadRequest", "Session"]

log = logging.getLogger("fastrouter.session")

SWEEP: Event = (-1, 0)
"""Resumes a session that has become old enough to notice that its client left."""

_UNIX: Final = 1
_STREAM: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK


class BadRequest(Exception):
    """The client sent something that is no request."""


class Session:
    """The state that the router and the relay look at; the rest is local to the generator."""

    __slots__ = (
        "ahead",
        "body",
        "body_left",
        "body_size",
        "client",
        "client_fd",
        "framing",
        "generator",
        "idempotent",
        "is_head",
        "is_passed",
        "is_reused",
        "key",
        "limit",
        "node",
        "node_fd",
        "old",
        "packet",
        "record",
        "remote",
        "repeatable",
        "resume",
        "router",
        "sock",
        "started",
        "surplus",
        "touched",
        "waits_for",
        "woken",
    )

    def __init__(self, router: "Router", client: int) -> None:
        self.router = router
        self.client_fd = client
        # With a family and a type that are given, the kernel is asked nothing but whether this is a socket.
        self.client = PlainSocket(_UNIX, _STREAM, 0, client)
        self.sock: PlainSocket | None = None
        self.node_fd = -1
        self.node: Node | None = None
        """Where it counts as a request."""
        self.started = 0
        """Monotonic nanoseconds at which the node was dialled, and then connected."""
        self.touched = router.seconds
        """The second of the last event."""
        self.limit = router.timeout
        """Seconds without an event after which TimeoutError is thrown in."""
        self.old = False
        self.record: Record | None = None
        """What the log of requests is to tell, if there is one."""
        self.waits_for: bytes | None = None
        """The pool in whose queue it has a place."""
        self.woken = False
        """There may be room now."""
        # What the protocol reads:
        self.key = b""
        self.remote = b""
        """The address of the client, as the web server saw it."""
        self.packet = b""
        """What the node is sent first, with any body bytes that came along."""
        self.body: BodyFile | None = None
        """What it is sent next, if the rest of the body has been read ahead."""
        self.body_size = 0
        """Of the whole body, in bytes, as far as anybody says."""
        self.body_left: int | None = 0
        """Bytes of the body still to come from the client; None when only its end of file can tell."""
        self.surplus = 0
        """Bytes at the end of the packet that are behind the body."""
        self.idempotent = False
        self.framing: Framing | None = None
        """Tells where the answer ends, if the node leaves the connection open."""
        self.is_head = False
        """The answer has no body."""
        self.is_reused = False
        """The connection to the node is not new, and may be one that the node has just closed."""
        self.ahead = b""
        """What has been read of the answer before it was known to be one."""
        self.is_passed = False
        """The node has been sent the client's descriptor."""
        self.repeatable = False
        """Another node may be tried when one closes without an answer."""
        generator = self._run()
        self.generator: Generator[None, Event, None] | None = generator
        """None when it is over."""
        self.resume: Callable[[Event], object] = generator.send

    def _run(self) -> Generator[None, Event, None]:
        router = self.router
        problem, lingers = 0, False
        try:
            try:
                waiting = router.read_request(self)
                if waiting is not None:
                    yield from waiting
                router.keep_up()
                if router.post_buffering and self.body_left and router.knows(self.key):
                    yield from buffer_body(self)
                problem = yield from self._serve()
                lingers = self.body_left is not None and self.body_left > 0
            except BadRequest as bad:
                problem = BAD_REQUEST
                log.debug("bad request: %s", bad)
            except BufferingFailed as failed:
                problem = FAILED
                log.error("%s", failed)
            except (ClientGone, OSError) as ended:
                problem = GONE
                log.debug("session ends: %s", ended)
            router.leave(self)
            if problem:
                router.count_error(problem)
                if self.record is not None:
                    self.record.problem = problem
                if router.answers_errors and problem != GONE and not self._may_have_answer(problem):
                    lingers = answer(self.client, problem)
                if problem == TOO_LATE and self.is_passed:
                    hang_up(self.client)  # of which the node has a copy that it has not looked at
            if lingers:
                yield from linger(self)
        except Exception:
            router.count_error(FAILED)
            log.exception("a session failed; this is a bug")
        finally:
            router.close(self)
        # Not to end here spares every session an exception; with nobody left who knows it, it is gone.
        self.generator, self.resume = None, _nothing
        yield

    def _serve(self) -> Generator[None, Event, int]:
        """Try nodes until one answers. Returns the status that says why none did, 0 when one did."""
        router = self.router
        problem, queued_at, falls_back = 0, -1, False
        failed: list[Node] = []
        full: Node | None = None
        nodes = router.candidates(self.key, self.remote)
        while True:
            node = next(nodes, None)
            if node is None:
                if full is not None:
                    queued_at = router.seconds if queued_at < 0 else queued_at
                    if (yield from self._wait_for_room(full.key, queued_at)):
                        nodes, full = self._nodes(falls_back), None
                        continue
                    problem = UNAVAILABLE
                if falls_back or not router.fallback or not router.knows(self.key):
                    return problem or router.no_node(self.key)
                nodes, full, falls_back = iter(router.fallback), None, True
            elif node in failed:
                pass
            elif not router.take(self, node):
                full = full or node
            else:
                error_number, rest = reach(self, node)
                if error_number == IN_PROGRESS or error_number == AGAIN:  # noqa: SIM109 - costs a tuple
                    error_number, rest = yield from connect(self, node, error_number)
                if self.is_passed or self.is_reused:
                    problem, again = yield from self._try_again(node, error_number, rest, len(failed))
                elif error_number:
                    problem = router.connect_failed(self, node, error_number, len(failed))
                    again = self.sock is not None
                else:
                    begin(self, node)
                    problem = yield from relay(self, node, rest)
                    again = problem == NO_ANSWER and self.repeatable
                if not again:
                    return problem
                router.leave(self)
                failed.append(node)
                if len(failed) > router.max_retries:
                    return problem
                if router.fallback and not falls_back:
                    nodes, full, falls_back = iter(router.fallback), None, True

    def _nodes(self, falls_back: bool) -> Iterator[Node]:
        """The fallback nodes, in order, once another has failed (as in uWSGI), or there was none."""
        return iter(self.router.fallback) if falls_back else self.router.candidates(self.key, self.remote)

    def _try_again(
        self, node: Node, error: int, rest: Bytes, tries: int
    ) -> Generator[None, Event, tuple[int, bool]]:
        """Try a node that may turn out to have closed before it knew of the request, and then again.

        Returns the status, and whether another may be tried.
        """
        router = self.router
        for attempt in range(1 + max(router.max_retries, 1)):  # who does not retry may still have to dial
            if attempt:
                router.disconnect(self)
                error, rest = dial(self, node)
                if error == IN_PROGRESS or error == AGAIN:  # noqa: SIM109 - as above
                    error, rest = yield from connect(self, node, error)
            if error and not self.is_passed:
                return router.connect_failed(self, node, error, tries), self.sock is not None
            problem = NOT_TAKEN if error else (yield from self._talk(node, rest))
            if problem != NOT_TAKEN:
                return problem, problem == NO_ANSWER and self.repeatable and not self.is_passed
        self.is_passed = False
        router.failed(self, node, Counter.UNANSWERED)
        return NO_ANSWER, True

    def _talk(self, node: Node, rest: Bytes) -> Generator[None, Event, int]:
        """Pass the client or relay. Returns the status, or NOT_TAKEN."""
        begin(self, node)
        if self.is_passed:
            problem = yield from pass_on(self, node, rest)
            if problem != RELAYED:
                return problem
            self.is_passed, rest = False, b""
        problem = yield from relay(self, node, rest)
        return NOT_TAKEN if problem == NO_ANSWER and self.is_reused else problem

    def _may_have_answer(self, problem: int) -> bool:
        """Whether the node may have said something to the client that only those two know of."""
        return problem == NO_ANSWER and self.is_passed

    def _wait_for_room(self, pool: bytes, since: int) -> Generator[None, Event, bool]:
        """Wait in the queue of a pool until a node may have room. False when the time for that is over."""
        router = self.router
        self.touched, self.limit = since, router.queue_timeout
        router.queue.add(self, pool)
        try:
            while not self.woken:
                yield
        except TimeoutError:
            return False
        return True


def _nothing(event: Event) -> None:
    """For who resumes a session that is over."""
