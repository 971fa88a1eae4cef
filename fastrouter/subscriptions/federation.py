"""What a router tells other routers of the keys that it serves (``fastrouter-resubscribe``).

It announces itself in its nodes' stead. Every announcement that is passed on says which routers it has come
by (``via``, not in uWSGI), so that one which comes round is known again and goes no further.
"""

from fastrouter.wire.announcement import Announcement, AnnouncementError, Reason
from fastrouter.wire.traits import Traits

__all__ = ["Federation"]

_MOST_HOPS = 8

_FURTHER = 1000
"""Backup levels that nodes of other routers are behind our own, where announcements may go round."""


class Federation:
    """One router among others; name tells it from them."""

    def __init__(self, name: str, passes_on: bool) -> None:
        self._name = name
        self._passes_on = passes_on

    def check(self, announcement: Announcement) -> None:
        """Raises AnnouncementError when an announcement has been here before."""
        if self._name in announcement.via:
            came = " > ".join(announcement.via)
            raise AnnouncementError(f"{announcement.key} has come round: {came}", Reason.OWN_ADDRESS)

    def level(self, announcement: Announcement) -> int:
        """The backup level that its node gets.

        Who passes announcements on prefers its own nodes to other routers, which might send the request back.
        """
        return announcement.traits.backup + (_FURTHER if announcement.via and self._passes_on else 0)

    def passed_on(self, announcement: Announcement, address: str) -> Announcement | None:
        """What to tell others of an announcement that was taken here; address is this router's."""
        if not self._passes_on or len(announcement.via) >= _MOST_HOPS:
            return None
        traits = announcement.traits
        return Announcement(
            announcement.key,
            address,
            traits=Traits(traits.modifier1, traits.modifier2, backup=traits.backup),
            via=(*announcement.via, self._name),
        )

    def taken_back(self, key: str, address: str) -> Announcement:
        """What to tell others when a key has lost its last node."""
        return Announcement(key, address, unsubscribe=True, via=(self._name,))
