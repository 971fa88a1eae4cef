"""How many announcements a second each source may send."""

import ipaddress
from collections import OrderedDict

__all__ = ["Rates", "source_of"]

_BURST = 10.0
"""Seconds whose announcements may come at once: a machine's instances do not start one after the other."""

_MOST_SOURCES = 65536
_NETWORK = 64
"""Bits of an IPv6 address that tell sources apart: who has one address has all of its network."""


class Rates:
    """A token bucket for each source. What is refused takes nothing out of it."""

    def __init__(self, rate: int) -> None:
        """rate is in announcements per second, 0 for no limit."""
        self._rate = rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What is left, and at which monotonic second that was; who was silent for longest comes first."""

    def admits(self, source: str, now: float) -> bool:
        """Whether a source may send one more, at monotonic second now."""
        if not self._rate:
            return True
        most = self._rate * _BURST
        left, before = self._buckets.pop(source, (most, now))
        left = min(most, left + (now - before) * self._rate)
        admitted = left >= 1.0
        self._buckets[source] = (left - admitted, now)
        if len(self._buckets) > _MOST_SOURCES:
            self._buckets.popitem(last=False)
        return admitted


def source_of(host: str, uid: int | None) -> str:
    """Who is to answer for an announcement: a machine, a network, a user; empty when nobody knows."""
    if ":" in host:
        return str(ipaddress.ip_network((host, _NETWORK), strict=False))
    return host or ("" if uid is None else f"uid {uid}")
