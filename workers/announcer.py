"""The announcer: tells subscription servers of the local application, and takes it back at the end."""

import logging
import os
import signal
from collections.abc import Callable, Iterator

from fastrouter.subscriber import SigningKey, Subscription, parse_subscriptions
from fastrouter.subscription import Announcement
from workers.announcing import send_announcement
from workers.context import Context
from workers.loop import Loop

__all__ = ["Announcer", "run_announcer"]

log = logging.getLogger("fastrouter")


def run_announcer(context: Context, index: int, ready: Callable[[], None]) -> int:
    """Announce until told to stop, then unsubscribe. Returns the exit code."""
    announcer = Announcer(context)
    announcer.loop.handle_signals({signal.SIGTERM: announcer.stop, signal.SIGINT: announcer.stop})
    ready()
    announcer.announce()
    announcer.loop.run()
    announcer.unsubscribe()
    return 0


class Announcer:
    """Sends rounds of announcements."""

    def __init__(self, context: Context) -> None:
        self.loop = Loop(self._tick)
        self._context = context
        options = context.options
        self._subscriptions = parse_subscriptions(
            options.announcer.subscribe_to, options.announcer.subscribe2
        )
        self._frequency = options.announcer.frequency
        self._seconds = 0
        self._announced: dict[tuple[str, str, str], tuple[Announcement, SigningKey | None]] = {}
        """What is to be unsubscribed, and who signs that, by server, key and address."""
        for text in (*options.announcer.subscribe_to, *options.announcer.subscribe2):
            log.info("subscribing to %s", text)

    def announce(self) -> None:
        """Send one round, and unsubscribe what the round before had and this one has not."""
        current: dict[tuple[str, str, str], tuple[Announcement, SigningKey | None]] = {}
        for subscription in self._subscriptions:
            try:
                for announcement in self._of(subscription):
                    name = (subscription.server, announcement.key, announcement.address)
                    current[name] = (announcement, subscription.sign)
            except OSError as error:
                log.warning("cannot read %s: %s; nothing of it is changed", subscription.mapping, error)
                known = self._announced.items()
                current.update({name: one for name, one in known if name[0] == subscription.server})
        for gone in self._announced.keys() - current.keys():
            self._unsubscribe(gone, self._announced[gone][1])
        self._announced = current
        for (server, _, _), (announcement, signing_key) in current.items():
            send_announcement(server, announcement, signing_key)

    def unsubscribe(self) -> None:
        """Take everything back."""
        for name, (_, signing_key) in self._announced.items():
            self._unsubscribe(name, signing_key)

    def stop(self) -> None:
        self.loop.running = False

    def _tick(self) -> None:
        """As uWSGI does: a second after the start, and then at every multiple of the frequency."""
        self._seconds += 1
        if self._seconds == 1 or self._seconds % self._frequency == 0:
            self.announce()

    def _unsubscribe(self, name: tuple[str, str, str], signing_key: SigningKey | None) -> None:
        server, key, address = name
        log.info("unsubscribing %s (%s) from %s", key, address, server)
        send_announcement(server, Announcement(key, address, unsubscribe=True), signing_key)

    def _of(self, subscription: Subscription) -> Iterator[Announcement]:
        if subscription.check and not os.path.exists(subscription.check):
            return
        yield from subscription.announcements(self._template(subscription))

    def _template(self, subscription: Subscription) -> Announcement:
        options = self._context.options
        cores = options.app.processes * options.app.threads
        override = options.announcer.with_modifier1
        return Announcement(
            key="",
            address=subscription.address or self._address(subscription),
            modifier1=subscription.modifier1 if override is None else override,
            modifier2=subscription.modifier2,
            cores=cores,
            weight=cores if options.announcer.auto_weight else options.announcer.weight,
            notify=options.announcer.notify_socket,
        )

    def _address(self, subscription: Subscription) -> str:
        context = self._context
        listeners = context.shared_listeners if subscription.shared else context.app_listeners
        return listeners[subscription.socket].name
