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
from functools import lru_cache

from fastrouter.address import host_name
from fastrouter.memory.cells import Table
from fastrouter.memory.shared import read_failures
from fastrouter.subscriptions.admission import Admission
from fastrouter.subscriptions.federation import Federation
from fastrouter.subscriptions.policy import Sender, parse_rule
from fastrouter.subscriptions.rates import Rates, source_of
from fastrouter.subscriptions.table import Entry, Limits, Outcome, SubscriptionTable, TableFull
from fastrouter.wire.announcement import (
    MAX_DATAGRAM,
    Announcement,
    AnnouncementError,
    Reason,
    parse_announcement,
    pool_hash,
)
from workers.announcing.transmitter import Resubscriber, Transmitter
from workers.context import Gateway
from workers.loop import Event, Loop
from workers.resolver import Resolver, TooManyNames
from workers.table.acknowledging import Acknowledgements
from workers.table.own_addresses import OwnAddresses
from workers.table.publisher import Publisher
from workers.table.saved_table import Snapshot
from workers.table.static_names import ConfiguredNames

__all__ = ["SubscriptionServer", "run_subscription_server"]

log = logging.getLogger("fastrouter")

_BATCH = 64
"""Datagrams to take from one socket before the others have their turn."""

_QUEUE = 16384
"""More datagrams than a socket's queue holds."""

_REFUSALS_LOGGED = 10
"""In a second; a flood of bad datagrams must not become a flood of lines."""

_REMEMBERED = 16384
"""Datagrams that need not be parsed again."""

_MOST_WAITING = 1024
"""Announcements of nodes whose names are being looked up."""

_CREDENTIALS = struct.Struct("3i")
"""Process, user and group (struct ucred, unix(7))."""


def run_subscription_server(gateway: Gateway, index: int, ready: Callable[[], None]) -> int:
    """Be the subscription server until told to stop. Returns the exit code."""
    server = SubscriptionServer(gateway)
    server.loop.handle_signals({signal.SIGTERM: server.stop, signal.SIGINT: server.stop})
    server.start()
    ready()
    server.loop.run()
    server.end()
    return 0


class SubscriptionServer:
    """Datagrams in, deltas out."""

    def __init__(self, gateway: Gateway) -> None:
        assert gateway.failures is not None
        options = gateway.context.options.subscription
        self.loop = Loop(self._tick)
        self._cells = gateway.state.cells
        limits = Limits(options.max_pools, options.max_pool_nodes, options.max_source_nodes)
        self._table = SubscriptionTable(gateway.state, gateway.options.configured_slots, limits)
        self._tolerance = options.tolerance
        self._sockets = {
            listener.socket.fileno(): listener.socket for listener in gateway.subscription_listeners
        }
        self._publisher = Publisher(self.loop, gateway.state, [pipe.writer for pipe in gateway.deltas])
        self._failures = gateway.failures.reader
        # An application may share a socket with the router; then a request ends there sooner or later.
        by_app = {listener.name for listener in gateway.context.app_listeners}
        bound = {listener.name for listener in gateway.listeners} - by_app
        self._own = OwnAddresses(bound, gateway.context.started_in)
        self._refused = 0
        # A node says the same in every round, unless it signs.
        self._parse = lru_cache(_REMEMBERED)(parse_announcement)
        self._rates = Rates(options.max_rate)
        self._admission = _admission(gateway)
        self._resolver = Resolver(self.loop, self._take_waiting)
        self._waiting: dict[tuple[str, str], tuple[Announcement, Sender]] = {}
        """Announcements whose node's name is being looked up, by key and address."""
        self._names = ConfiguredNames(gateway, self._resolver, self._publisher)
        self._others = _others(gateway, self._resolver)
        self._federation = Federation(gateway.name, bool(self._others))
        self._snapshot = Snapshot(gateway.saved_table, gateway.state, self._table)
        self._acknowledgements = Acknowledgements(options.notify_allow)
        self._wants_credentials = options.credentials
        pid = os.getpid()
        self._as_subscription = f"[uwsgi-subscription for pid {pid}]"
        self._as_router = f"[uWSGI {gateway.prefix} pid {pid}]"

    def start(self) -> None:
        """Go on from what a predecessor left, which may have died between a change and its delta."""
        for fd in self._sockets:
            self.loop.watch(fd, select.EPOLLIN, self._receive)
        self.loop.watch(self._failures, select.EPOLLIN, self._take_failures)
        self._names.look_up_now()
        for node in self._snapshot.left_behind():
            try:
                outcome = self._announce(node.announcement, Sender(), node.resolved)
                self._log_outcome(outcome, node.announcement, Sender())
            except AnnouncementError as error:
                self._refuse(error, Sender())
        self._publisher.publish_all()

    def stop(self) -> None:
        self.loop.running = False

    def end(self) -> None:
        self._snapshot.save()

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
        return True

    def _read(self, sock: socket.socket) -> tuple[bytes, Sender]:
        if not self._wants_credentials or sock.family != socket.AF_UNIX:
            datagram, address = sock.recvfrom(MAX_DATAGRAM + 1)
            return datagram, Sender(_host(address))
        datagram, about, _, _ = sock.recvmsg(MAX_DATAGRAM + 1, socket.CMSG_SPACE(_CREDENTIALS.size))
        for level, kind, data in about:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                _, uid, gid = _CREDENTIALS.unpack(data)
                return datagram, Sender("", uid, gid)
        return datagram, Sender()

    def _take(self, datagram: bytes, sender: Sender) -> None:
        if not self._rates.admits(source_of(sender.host, sender.uid), time.monotonic()):
            raise AnnouncementError("it announces too much (subscription-max-rate)", Reason.RATE)
        # What is signed has to say itself where its node is; who sent it is not covered.
        host = "" if self._admission.checks_signatures else sender.host
        announcement = self._parse(datagram, host)
        now = int(time.time())  # noqa: TID251 - what is signed carries an absolute time
        self._admission.admit(datagram, announcement, sender, now, self._is_known(announcement))
        self._federation.check(announcement)
        level = self._federation.level(announcement)
        if level != announcement.traits.backup:
            announcement = replace(announcement, traits=announcement.traits._replace(backup=level))
        if self._enter(announcement, sender):
            if not announcement.unsubscribe and not announcement.drain:
                self._pass_on(announcement)
            elif announcement.key not in self._table:
                self._take_back(announcement.key)

    def _is_known(self, announcement: Announcement) -> bool:
        name = (announcement.key, announcement.address)
        return self._table.knows(announcement) or name in self._waiting

    def _enter(self, announcement: Announcement, sender: Sender) -> bool:
        """Change the table. False when there was nothing to do, or its node's address is not known yet."""
        resolved = ""
        if announcement.unsubscribe or announcement.drain:
            self._waiting.pop((announcement.key, announcement.address), None)
        elif host := host_name(announcement.address):
            numeric = self._numeric(host, announcement)
            if numeric is None:
                self._wait_for_name(announcement, sender)
                return False
            resolved = numeric
        outcome = self._announce(announcement, sender, resolved)
        if outcome is Outcome.UNKNOWN:
            return False
        self._cells[Table.ACCEPTED] += 1  # before anybody can read of it
        self._log_outcome(outcome, announcement, sender)
        return True

    def _numeric(self, host: str, announcement: Announcement) -> str | None:
        """What the name of a node's host stands for, None as long as nobody knows."""
        try:
            numeric = self._resolver.numeric(host, int(announcement.address.rpartition(":")[2]))
        except TooManyNames as error:
            raise AnnouncementError(f"{announcement.key}: {error}", Reason.UNRESOLVED) from None
        # Where name servers are down, a node is where it was.
        numeric = numeric or self._table.resolved(announcement) or numeric
        if numeric == "":
            raise AnnouncementError(f"{announcement.key}: nobody knows the name {host}", Reason.UNRESOLVED)
        return numeric

    def _announce(self, announcement: Announcement, sender: Sender, resolved: str) -> Outcome:
        if (resolved or announcement.address) in self._own:
            raise AnnouncementError(f"{announcement.address} is this router itself", Reason.OWN_ADDRESS)
        source = source_of(sender.host, sender.uid)
        try:
            outcome, delta = self._table.announce(announcement, time.monotonic(), source, resolved)
        except TableFull as error:
            raise AnnouncementError(str(error), Reason.TABLE_FULL) from None
        if delta is not None:
            self._publisher.publish(delta)
        return outcome

    def _wait_for_name(self, announcement: Announcement, sender: Sender) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            problem = f"{announcement.key}: too many names are being looked up"
            raise AnnouncementError(problem, Reason.UNRESOLVED)
        self._waiting[announcement.key, announcement.address] = (announcement, sender)

    def _take_waiting(self, host: str) -> None:
        """What a name means is known, or has changed."""
        for name, (announcement, sender) in list(self._waiting.items()):
            if host_name(announcement.address) == host:
                del self._waiting[name]
                try:
                    if self._enter(announcement, sender):
                        self._pass_on(announcement)
                except AnnouncementError as error:
                    self._refuse(error, sender)

    def _log_outcome(self, outcome: Outcome, announcement: Announcement, sender: Sender) -> None:
        key, address = announcement.key, announcement.address
        if outcome is Outcome.NEW_POOL:
            log.info("%s new pool: %s (hash key: %d)", self._as_subscription, key, pool_hash(key))
        if outcome in (Outcome.NEW_POOL, Outcome.NEW_NODE):
            log.info("%s %s => new node: %s", self._as_subscription, key, address)
            self._acknowledgements.send(announcement, sender)
        elif outcome is Outcome.REMOVED and announcement.drain:
            log.info("%s %s => no more requests to %s", self._as_subscription, key, address)
        elif outcome is Outcome.REMOVED:
            log.info("%s %s => %s has left", self._as_router, key, address)

    def _pass_on(self, announcement: Announcement) -> None:
        for other in self._others:
            passed_on = self._federation.passed_on(announcement, other.own)
            if passed_on is not None:
                other.send(passed_on)

    def _take_back(self, key: str) -> None:
        for other in self._others:
            if own := other.own:
                other.send(self._federation.taken_back(key, own))

    def _refuse(self, error: AnnouncementError, sender: Sender) -> None:
        self._cells[Table.REFUSED + error.reason] += 1
        self._refused += 1
        if self._refused <= _REFUSALS_LOGGED:
            origin = sender.host or "a local sender"
            log.warning("%s refused an announcement from %s: %s", self._as_subscription, origin, error)

    def _take_failures(self, event: Event) -> None:
        for failure in read_failures(event[0]):
            failed = self._table.fail(failure.slot, failure.id)
            if failed is not None:
                self._publisher.publish(failed[1])
                self._resolver.try_another(host_name(failed[0].address))
                if failed[0].key not in self._table:
                    self._take_back(failed[0].key)

    def _tick(self) -> None:
        if self._refused > _REFUSALS_LOGGED:
            more = self._refused - _REFUSALS_LOGGED
            log.warning("%s refused %d more announcements", self._as_subscription, more)
        self._refused = 0
        self._resolver.tick()
        self._names.follow()
        for fd in self._sockets:
            # Whoever was held up must not take for silence what waits here.
            for _ in range(_QUEUE // _BATCH):
                if not self._receive((fd, 0)):
                    break
        for entry, delta in self._table.expire(time.monotonic(), self._tolerance):
            self._publisher.publish(delta)
            self._log_silence(entry)
            if entry.key not in self._table:
                self._take_back(entry.key)
        for entry, delta in self._table.drained():
            self._publisher.publish(delta)
            log.info("%s %s => %s has no request left", self._as_subscription, entry.key, entry.address)
        self._snapshot.tick()

    def _log_silence(self, entry: Entry) -> None:
        log.info(
            "%s %s => marking %s as failed (no announce received in %d seconds)",
            self._as_subscription,
            entry.key,
            entry.address,
            self._tolerance,
        )


def _host(address: object) -> str:
    """Of a sender; that of IPv4 is the same over an IPv6 socket."""
    if not isinstance(address, tuple):
        return ""
    host = str(address[0]).partition("%")[0]
    return host.removeprefix("::ffff:") if "." in host else host


def _admission(gateway: Gateway) -> Admission:
    options = gateway.context.options.subscription
    keys = None
    if options.sign_check is not None:
        from fastrouter.wire.signature import KeyFiles  # brings in cryptography, which few need

        keys = KeyFiles(options.sign_check.digest, options.sign_check.directory)
    return Admission(
        keys,
        gateway.signed_times,
        options.sign_tolerance,
        options.sign_skip_uid,
        options.credentials_check,
        options.credentials,
        [parse_rule(text) for text in options.allow],
    )


def _others(gateway: Gateway, resolver: Resolver) -> list[Resubscriber]:
    """The routers that are told what is announced here."""
    options = gateway.options
    if not options.resubscribe:
        return []
    own = gateway.listeners[0].name
    try:
        transmitter = Transmitter(resolver, options.resubscribe_bind)
    except (OSError, ValueError) as error:
        log.error("cannot announce from %s: %s", options.resubscribe_bind, error)
        return []
    return [
        Resubscriber(transmitter, server, own, options.resubscribe_sign) for server in options.resubscribe
    ]
