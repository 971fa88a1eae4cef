"""Configured nodes with host names (``fastrouter-to``, ``fastrouter-fallback``): what the names mean now.

Their slots in shared memory have no other use. Router workers read them there, as they do announced nodes.
"""

import logging
import threading
import time

from fastrouter.address import host_name, show
from fastrouter.memory.cells import Slot
from fastrouter.memory.shared import NodeRecord
from fastrouter.options import GatewayOptions
from fastrouter.text import to_bytes, to_text
from workers.context import Gateway
from workers.resolver import Resolver, TooManyNames, look_up
from workers.table.publisher import Publisher

__all__ = ["ConfiguredNames", "named_slots"]

log = logging.getLogger("fastrouter")

_MOMENT = 2.0
"""Seconds."""


def named_slots(options: GatewayOptions) -> dict[int, str]:
    """The configured addresses that have host names, by their nodes' slots."""
    return {slot: address for slot, address in enumerate(options.configured_nodes) if host_name(address)}


class ConfiguredNames:
    """Keeps the slots of such nodes up to date."""

    def __init__(self, gateway: Gateway, resolver: Resolver, publisher: Publisher) -> None:
        self._named = named_slots(gateway.options)
        self._state = gateway.state
        self._resolver = resolver
        self._publisher = publisher

    def look_up_now(self) -> None:
        """Before the first router worker starts: a moment is spent on all that nobody has looked up yet."""
        found: dict[str, tuple[str, ...]] = {}
        unknown = {slot: address for slot, address in self._named.items() if self._state.read(slot) is None}
        hosts = {address.rpartition(":")[0] for address in unknown.values()}
        threads = [
            threading.Thread(
                target=lambda host: found.update({host: look_up(host)}), args=(host,), daemon=True
            )
            for host in hosts
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + _MOMENT
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0))
        for slot, address in unknown.items():
            host, _, port = address.rpartition(":")
            if found.get(host):
                self._move(slot, address, show((found[host][0], int(port))))
            else:
                log.warning("nobody knows the name %s", host)

    def follow(self) -> None:
        """Take over what the resolver knows."""
        for slot, address in self._named.items():
            host, _, port = address.rpartition(":")
            try:
                if numeric := self._resolver.numeric(host, int(port)):
                    self._move(slot, address, numeric)
            except TooManyNames:
                pass  # another second will do

    def _move(self, slot: int, address: str, numeric: str) -> None:
        before = self._state.read(slot)
        if before is not None and before.resolved == to_bytes(numeric):
            return
        log.info(
            "%s is at %s%s", address, numeric, f", no more at {to_text(before.resolved)}" if before else ""
        )
        self._state.write(slot, NodeRecord(0, slot, b"", to_bytes(address), resolved=to_bytes(numeric)))
        self._state.cells[self._state.slot_cell(slot, Slot.MARK)] = 0
        self._state.forget_rests(slot)
        self._publisher.publish_slot(slot)
