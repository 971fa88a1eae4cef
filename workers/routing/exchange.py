"""The story of a session: read a request, find a node, connect, relay, account, close.

A session is a generator that yields when it must wait, and is resumed with the event that came. A gateway
overrides how a request is read (``read``), what a node is sent of it (``request_for``) and what the log of
requests has of it (``variables``). Whether another node is tried is decided here and nowhere else.
"""

import logging
from collections.abc import Callable, Generator, Iterator, Mapping

from fastrouter.memory.cells import Counter
from fastrouter.memory.outcomes import BAD_REQUEST, FAILED, GONE, NO_ANSWER, TOO_LATE, UNAVAILABLE
from fastrouter.routing.node import Node
from workers.loop import Event
from workers.routing.answers import answer
from workers.routing.body import buffer_body
from workers.routing.body_file import BufferingFailed
from workers.routing.dialling import AGAIN, IN_PROGRESS, connect, dial, reach
from workers.routing.engine import Engine
from workers.routing.handoff import NOT_TAKEN, RELAYED, pass_on
from workers.routing.relay import Bytes, begin, hang_up, linger, relay
from workers.routing.session import BadRequest, ClientGone, Session
from workers.routing.waiting import Ticket

__all__ = ["SWEEP", "Exchange", "MakeExchange"]

log = logging.getLogger("fastrouter.session")

SWEEP: Event = (-1, 0)
"""Resumes a session that has become old enough to notice that its client left."""

Waits = Generator[None, Event, None]


class Exchange(Session):
    """A session with its story. A gateway has its own subclass."""

    __slots__ = ("_ended", "generator")

    def __init__(
        self,
        engine: Engine,
        client: int,
        listener: bytes,
        address: object,
        ended: "Callable[[Exchange], None]",
    ) -> None:
        """ended is called when the session is over and everything is closed."""
        super().__init__(engine, client, listener, address)
        self._ended = ended
        generator = self._run()
        self.generator: Waits | None = generator
        """None when it is over."""
        self.resume = generator.send

    def read(self) -> Waits | None:
        """Read a request into the session. Returns what waits for the rest of it, if it is not all there.

        Both raise BadRequest for what is no request, and OSError when the client fails.
        """
        raise NotImplementedError

    def converse(self, node: Node, rest: Bytes) -> Generator[None, Event, int]:
        """Talk to a node that is connected; rest is what it is still to be sent of the request.

        Returns 0 or the status of a failure, as relay does.
        """
        return relay(self, node, rest)

    def variables(self) -> Mapping[str, str]:
        """The request's variables, as far as they came, for the log of requests."""
        return {}

    def _run(self) -> Waits:
        engine = self.engine
        problem, lingers = 0, False
        try:
            try:
                waiting = self.read()
                if waiting is not None:
                    yield from waiting
                self.nodes.keep_up()
                if engine.post_buffering and self.body_left and self.nodes.knows(self.key):
                    yield from buffer_body(self)
                problem = yield from self._serve()
                lingers = self.body_left is not None and self.body_left > 0
            except BadRequest as bad:
                problem = BAD_REQUEST
                log.debug("bad request: %s", bad)
            except BufferingFailed as failed:
                problem = FAILED
                log.error("%s", failed)
            except (ClientGone, OSError) as gone:
                problem = GONE
                log.debug("session ends: %s", gone)
            self.leave()
            if problem:
                lingers = self._fail(problem) or lingers
            if lingers:
                yield from linger(self)
        except Exception:
            engine.count_error(FAILED)
            log.exception("a session failed; this is a bug")
        finally:
            self._close()
        # Not to end here spares every session an exception; nothing refers to the generator any more.
        self.generator, self.resume = None, _nothing
        yield

    def _fail(self, problem: int) -> bool:
        """Count a session without an answer, and answer it if asked to. Returns whether to linger."""
        engine = self.engine
        engine.count_error(problem)
        if self.record is not None:
            self.record.problem = problem
        # A node that was passed the client may have said something that only those two know of.
        may_have_answer = problem == NO_ANSWER and self.is_passed
        lingers = False
        if engine.answers_errors and problem != GONE and not may_have_answer:
            lingers = answer(self.client, problem)
        if problem == TOO_LATE and self.is_passed:
            hang_up(self.client)  # of which the node has a copy that it has not looked at
        return lingers

    def _close(self) -> None:
        """Let go of everything that the session has."""
        self.leave()
        self.give_ticket_back()
        if self.body is not None:
            self.body.close()
        # A node may have the client, too: closing alone would not end the watch.
        self.engine.loop.unwatch(self.client_fd)
        self.client.close()
        self._ended(self)

    def _serve(self) -> Generator[None, Event, int]:
        """Try nodes until one answers. Returns the status that says why none did, 0 when one did."""
        engine, pool = self.engine, self.nodes
        problem, queued_at, falls_back = 0, -1, False
        failed: list[Node] = []
        full: Node | None = None
        nodes = pool.candidates(self.key, self.remote)
        while True:
            node = next(nodes, None)
            if node is None:
                if full is not None:
                    queued_at = engine.seconds if queued_at < 0 else queued_at
                    if (yield from self._wait_for_room(full.key, queued_at)):
                        nodes, full = self._nodes(falls_back), None
                        continue
                    problem = UNAVAILABLE
                if falls_back or not pool.fallback or not pool.knows(self.key):
                    return problem or pool.no_node(self.key, engine.seconds)
                nodes, full, falls_back = iter(pool.fallback), None, True
            elif node in failed:
                pass
            elif not pool.take(node, self.ticket):
                full = full or node
            else:
                self.node = node
                if self.ticket is not None:
                    self.give_ticket_back()
                error_number, rest = reach(self, node)
                if error_number == IN_PROGRESS or error_number == AGAIN:  # noqa: SIM109 - costs a tuple
                    error_number, rest = yield from connect(self, node, error_number)
                if self.is_passed or self.is_reused:
                    problem, again = yield from self._try_again(node, error_number, rest, len(failed))
                elif error_number:
                    problem = pool.connect_failed(self.key, node, error_number, len(failed))
                    again = self.sock is not None
                else:
                    begin(self, node)
                    problem = yield from self.converse(node, rest)
                    again = problem == NO_ANSWER and self.repeatable
                if not again:
                    return problem
                self.leave()
                failed.append(node)
                if len(failed) > engine.max_retries:
                    return problem
                if pool.fallback and not falls_back:
                    nodes, full, falls_back = iter(pool.fallback), None, True

    def _nodes(self, falls_back: bool) -> Iterator[Node]:
        """The fallback nodes, in order, once another has failed (as in uWSGI), or there was none."""
        return iter(self.nodes.fallback) if falls_back else self.nodes.candidates(self.key, self.remote)

    def _try_again(
        self, node: Node, error: int, rest: Bytes, tries: int
    ) -> Generator[None, Event, tuple[int, bool]]:
        """Try a node that may turn out to have closed before it knew of the request, and then again.

        Returns the status, and whether another may be tried.
        """
        engine = self.engine
        for attempt in range(1 + max(engine.max_retries, 1)):  # a new connection is due even without retries
            if attempt:
                self.disconnect()
                error, rest = dial(self, node)
                if error == IN_PROGRESS or error == AGAIN:  # noqa: SIM109 - as above
                    error, rest = yield from connect(self, node, error)
            if error and not self.is_passed:
                return self.nodes.connect_failed(self.key, node, error, tries), self.sock is not None
            problem = NOT_TAKEN if error else (yield from self._talk(node, rest))
            if problem != NOT_TAKEN:
                return problem, problem == NO_ANSWER and self.repeatable and not self.is_passed
        self.is_passed = False
        self.nodes.failed(self.key, node, Counter.UNANSWERED)
        return NO_ANSWER, True

    def _talk(self, node: Node, rest: Bytes) -> Generator[None, Event, int]:
        """Pass the client or relay. Returns the status, or NOT_TAKEN."""
        begin(self, node)
        if self.is_passed:
            problem = yield from pass_on(self, node, rest)
            if problem != RELAYED:
                return problem
            self.is_passed, rest = False, b""
        problem = yield from self.converse(node, rest)
        return NOT_TAKEN if problem == NO_ANSWER and self.is_reused else problem

    def _wait_for_room(self, pool: bytes, since: int) -> Generator[None, Event, bool]:
        """Wait in the queue of a pool until a node may have room. False when the time for that is over."""
        self.touched, self.limit = since, self.engine.queue_timeout
        ticket = self.ticket
        if ticket is None or ticket.pool != pool:
            self.give_ticket_back()
            ticket = self.ticket = Ticket(pool, self.resume)
        self.nodes.waiting.add(ticket)
        try:
            while not ticket.is_called:
                yield
        except TimeoutError:
            return False
        return True


MakeExchange = Callable[[Engine, int, bytes, object, Callable[[Exchange], None]], Exchange]
"""Makes a gateway's session of a client, as Exchange() does."""


def _nothing(event: Event) -> None:
    """A session that is over."""
