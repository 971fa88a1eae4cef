"""The subscription server: takes announcements and keeps the routing table. The only one that writes it."""

import logging
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import replace

from fastrouter.admission import Admission, Sender
from fastrouter.federation import Federation
from fastrouter.shared import EVERY_SLOT, Delta, Table, read_failures
from fastrouter.subscription import (
    MAX_DATAGRAM,
    Announcement,
    AnnouncementError,
    Reason,
    parse_announcement,
    pool_hash,
)
from fastrouter.table import Entry, Outcome, SubscriptionTable, TableFull
from fastrouter.text import to_bytes
from workers.announcing import Resubscriber
from workers.context import Context
from workers.loop import Event, Loop

__all__ = ["SubscriptionServer", "run_subscription_server"]

log = logging.getLogger("fastrouter")

_BATCH = 64
"""Datagrams to take from one socket before the others have their turn."""

_QUEUE = 16384
"""More datagrams than a socket's queue holds."""

_REFUSALS_LOGGED = 10
"""In a second; a flood of bad datagrams must not become a flood of lines."""


_CREDENTIALS = struct.Struct("3i")
"""Process, user and group (struct ucred, unix(7))."""


def run_subscription_server(context: Context, index: int, ready: Callable[[], None]) -> int:
    """Be the subscription server until told to stop. Returns the exit code."""
    server = SubscriptionServer(context)
    server.loop.handle_signals({signal.SIGTERM: server.stop, signal.SIGINT: server.stop})
    server.start()
    ready()
    server.loop.run()
    return 0


class SubscriptionServer:
    """Datagrams in, deltas out."""

    def __init__(self, context: Context) -> None:
        assert context.failures is not None
        self.loop = Loop(self._tick)
        self._cells = context.state.cells
        self._table = SubscriptionTable(context.state, first_slot=context.options.router.configured_slots)
        self._tolerance = context.options.subscription.tolerance
        self._sockets = {
            listener.socket.fileno(): listener.socket for listener in context.subscription_listeners
        }
        self._pipes = [pipe.writer for pipe in context.deltas]
        self._behind: set[int] = set()
        """Pipes that were full; their workers read the whole table when there is room again."""
        self._failures = context.failures.reader
        # An application may share a socket with the router; then a request ends there sooner or later.
        by_app = {listener.name for listener in context.app_listeners}
        self._own = {listener.name for listener in context.router_listeners} - by_app
        self._refused = 0
        self._admission = _admission(context)
        self._others = _others(context)
        self._federation = Federation(context.name, bool(self._others))
        self._wants_credentials = context.options.subscription.credentials
        pid = os.getpid()
        self._as_subscription = f"[uwsgi-subscription for pid {pid}]"
        self._as_router = f"[uWSGI fastrouter pid {pid}]"

    def start(self) -> None:
        """Go on from what a predecessor left, which may have died between a change and its delta."""
        for fd in self._sockets:
            self.loop.watch(fd, select.EPOLLIN, self._receive)
        self.loop.watch(self._failures, select.EPOLLIN, self._take_failures)
        self._cells[Table.GENERATION] += 1
        self._publish(Delta(self._cells[Table.GENERATION], EVERY_SLOT))

    def stop(self) -> None:
        self.loop.running = False

    def _receive(self, event: Event) -> bool:
        """Take a batch of datagrams. False when no more wait."""
        sock = self._sockets[event[0]]
        for _ in range(_BATCH):
            try:
                datagram, sender = self._read(sock)
            except BlockingIOError:
                return False
            try:
                self._take(datagram, sender)
            except AnnouncementError as error:
                self._refuse(error, sender)
            except TableFull:
                full = "the table is full (subscription-max-nodes)"
                self._refuse(AnnouncementError(full, Reason.TABLE_FULL), sender)
        return True

    def _read(self, sock: socket.socket) -> tuple[bytes, Sender]:
        if not self._wants_credentials or sock.family != socket.AF_UNIX:
            datagram, address = sock.recvfrom(MAX_DATAGRAM + 1)
            return datagram, Sender(address[0].partition("%")[0] if isinstance(address, tuple) else "")
        datagram, about, _, _ = sock.recvmsg(MAX_DATAGRAM + 1, socket.CMSG_SPACE(_CREDENTIALS.size))
        for level, kind, data in about:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                _, uid, gid = _CREDENTIALS.unpack(data)
                return datagram, Sender("", uid, gid)
        return datagram, Sender()

    def _take(self, datagram: bytes, sender: Sender) -> None:
        # What is signed has to say itself where its node is; who sent it is not covered.
        host = "" if self._admission.checks_signatures else sender.host
        announcement = parse_announcement(datagram, host)
        if announcement.address in self._own:
            raise AnnouncementError(f"{announcement.address} is this router itself", Reason.OWN_ADDRESS)
        now = int(time.time())  # noqa: TID251 - what is signed carries an absolute time
        self._admission.admit(datagram, announcement, sender, now)
        self._federation.check(announcement)
        announcement = replace(announcement, backup=self._federation.level(announcement))
        outcome, delta = self._table.announce(announcement, time.monotonic())
        if outcome is Outcome.UNKNOWN:
            return
        if delta is not None:
            self._publish(delta)
        self._cells[Table.ACCEPTED] += 1
        if not announcement.unsubscribe:
            self._pass_on(announcement)
        elif announcement.key not in self._table:
            self._take_back(announcement.key)
        key, address = announcement.key, announcement.address
        if outcome is Outcome.NEW_POOL:
            log.info("%s new pool: %s (hash key: %d)", self._as_subscription, key, pool_hash(key))
        if outcome in (Outcome.NEW_POOL, Outcome.NEW_NODE):
            log.info("%s %s => new node: %s", self._as_subscription, key, address)
            self._acknowledge(announcement)
        elif outcome is Outcome.REMOVED:
            log.info("%s %s => marking %s as failed", self._as_router, key, address)

    def _pass_on(self, announcement: Announcement) -> None:
        for other in self._others:
            passed_on = self._federation.passed_on(announcement, other.own)
            if passed_on is not None:
                other.send(passed_on)

    def _take_back(self, key: str) -> None:
        for other in self._others:
            other.send(self._federation.taken_back(key, other.own))

    def _refuse(self, error: AnnouncementError, sender: Sender) -> None:
        self._cells[Table.REFUSED + error.reason] += 1
        self._refused += 1
        if self._refused <= _REFUSALS_LOGGED:
            origin = sender.host or "a local sender"
            log.warning("%s refused an announcement from %s: %s", self._as_subscription, origin, error)

    def _acknowledge(self, announcement: Announcement) -> None:
        """Tell the socket that an announcement names that its node was taken."""
        if not announcement.notify:
            return
        text = f"[subscription ack] {announcement.key} => new node: {announcement.address}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            try:
                path = to_bytes(announcement.notify)
                sock.sendto(to_bytes(text), path)
            except OSError as error:
                log.debug("no acknowledgement to %s: %s", announcement.notify, error)

    def _take_failures(self, event: Event) -> None:
        for failure in read_failures(event[0]):
            failed = self._table.fail(failure.slot, failure.id)
            if failed is not None:
                self._publish(failed[1])
                if failed[0].key not in self._table:
                    self._take_back(failed[0].key)

    def _tick(self) -> None:
        if self._refused > _REFUSALS_LOGGED:
            more = self._refused - _REFUSALS_LOGGED
            log.warning("%s refused %d more announcements", self._as_subscription, more)
        self._refused = 0
        for fd in self._sockets:
            # Whoever was held up must not take for silence what waits here.
            for _ in range(_QUEUE // _BATCH):
                if not self._receive((fd, 0)):
                    break
        for entry, delta in self._table.expire(time.monotonic(), self._tolerance):
            self._publish(delta)
            self._log_silence(entry)
            if entry.key not in self._table:
                self._take_back(entry.key)

    def _log_silence(self, entry: Entry) -> None:
        log.info(
            "%s %s => marking %s as failed (no announce received in %d seconds)",
            self._as_subscription,
            entry.key,
            entry.address,
            self._tolerance,
        )

    def _publish(self, delta: Delta) -> None:
        data = delta.encode()
        for pipe in self._pipes:
            if pipe not in self._behind:
                try:
                    os.write(pipe, data)
                except BlockingIOError:
                    self._behind.add(pipe)
                    self.loop.watch(pipe, select.EPOLLOUT, self._catch_up)

    def _catch_up(self, event: Event) -> None:
        os.write(event[0], Delta(self._cells[Table.GENERATION], EVERY_SLOT).encode())
        self._behind.remove(event[0])
        self.loop.unwatch(event[0])


def _admission(context: Context) -> Admission:
    options = context.options.subscription
    keys = None
    if options.sign_check is not None:
        from fastrouter.signature import KeyFiles  # brings in cryptography, which few need

        keys = KeyFiles(options.sign_check.digest, options.sign_check.directory)
    return Admission(
        keys,
        context.signed_times,
        options.sign_tolerance,
        options.sign_skip_uid,
        options.credentials_check,
        options.credentials,
    )


def _others(context: Context) -> list[Resubscriber]:
    """The routers that are told what is announced here."""
    options, others = context.options.router, []
    for server in options.resubscribe:
        try:
            own = context.router_listeners[0].name
            others.append(Resubscriber(server, own, options.resubscribe_bind, options.resubscribe_sign))
        except OSError as error:
            log.error("cannot announce anything to %s: %s", server, error)
    return others
