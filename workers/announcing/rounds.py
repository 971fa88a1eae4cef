"""The announcer: rounds of announcements to subscription servers, and taking them back at the end."""

import logging
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from fastrouter.subscriptions.subscriber import Subscription
from fastrouter.wire.announcement import Announcement
from fastrouter.wire.signing_key import SigningKey
from workers.announcing.transmitter import Transmitter

__all__ = ["Announcer"]

log = logging.getLogger("fastrouter")

_Name = tuple[str, str, str]
"""Server, key, address."""


class Announcer:
    """Announces what subscriptions say, of nodes that template describes."""

    def __init__(
        self,
        transmitter: Transmitter,
        subscriptions: Sequence[Subscription],
        template: Callable[[Subscription], Announcement],
        frequency: int,
        is_alive: Callable[[str], bool] = lambda address: True,
    ) -> None:
        """frequency is in seconds; is_alive says whether the node at an address is to be announced now."""
        self._transmitter = transmitter
        self._subscriptions = subscriptions
        self._template = template
        self._frequency = frequency
        self._is_alive = is_alive
        self._seconds = 0
        # Instances that were started together shall not announce together for ever.
        self._phase = random.randrange(frequency)
        self._drains = False
        self._announced: dict[_Name, tuple[Announcement, SigningKey | None]] = {}
        """With the key that signs it."""

    @property
    def has_announced(self) -> bool:
        """Whether there is anything to take back."""
        return bool(self._announced)

    def remember(self, subscription: Subscription, template: Announcement) -> None:
        """This was announced by somebody before; the next round takes it back, unless it is in that, too."""
        try:
            for announcement in subscription.announcements(template):
                name = (subscription.server, announcement.key, announcement.address)
                self._announced[name] = (announcement, subscription.sign)
        except OSError as error:
            log.warning("cannot read %s: %s; nothing of it is taken back", subscription.mapping, error)

    def begin(self) -> None:
        """Send a round now, and another one in a second, as uWSGI does: a datagram may be lost."""
        self._seconds = 0
        self.announce()

    def tick(self, paused: int = 0, silent: int = 0) -> None:
        """To be called once a second, for the rounds that follow.

        While it is paused everything is taken back; while it is silent nothing at all is sent.
        """
        if silent:
            return
        if paused:
            self.unsubscribe()
            self._seconds = 0
            return
        self._seconds += 1
        if self._seconds == 1 or self._seconds % self._frequency == self._phase:
            self.announce()

    def announce(self) -> None:
        """Send one round, and unsubscribe what the round before had and this one has not."""
        current: dict[_Name, tuple[Announcement, SigningKey | None]] = {}
        for subscription in self._subscriptions:
            try:
                for announcement in self._of(subscription):
                    name = (subscription.server, announcement.key, announcement.address)
                    current[name] = (announcement, subscription.sign)
            except OSError as error:
                log.warning("cannot read %s: %s; nothing of it is changed", subscription.mapping, error)
                known = self._announced.items()
                current.update({name: one for name, one in known if name[0] == subscription.server})
        for (server, _, _), (announcement, signing_key) in current.items():
            self._transmitter.send(server, announcement, signing_key)
        # Afterwards, so that there is no moment without a node.
        for gone in self._announced.keys() - current.keys():
            self._unsubscribe(gone)
        self._announced = current

    def drain(self) -> None:
        """Ask for no more requests, from now on. Routers that do not know this go on sending them."""
        self._drains = True
        for (server, _, _), (announcement, signing_key) in self._announced.items():
            self._transmitter.send(server, replace(announcement, drain=True), signing_key)

    def unsubscribe(self) -> None:
        """Take everything back."""
        for name in self._announced:
            self._unsubscribe(name)
        self._announced = {}

    def _unsubscribe(self, name: _Name) -> None:
        server, key, address = name
        log.info("unsubscribing %s (%s) from %s", key, address, server)
        signing_key = self._announced[name][1]
        self._transmitter.send(server, Announcement(key, address, unsubscribe=True), signing_key)

    def _of(self, subscription: Subscription) -> Iterator[Announcement]:
        if subscription.check and not os.path.exists(subscription.check):
            return
        template = self._template(subscription)
        if self._is_alive(template.address):
            yield from subscription.announcements(replace(template, drain=self._drains))
