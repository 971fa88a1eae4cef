"""Who may announce what: signatures, replays, credentials.

A signed announcement carries the time at which it was made, one second more if it is an unsubscription (uWSGI
2.0.31). Of each node the highest time that was accepted is kept, over both commands and beyond the node's own
life, so that nothing which was heard once is obeyed a second time: neither as it was, nor with the command
changed, which the signature does not cover. uWSGI compares with the node's first announcement only.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastrouter.cache.store import Cache
from fastrouter.subscription import Announcement, AnnouncementError, Reason
from fastrouter.text import to_bytes

if TYPE_CHECKING:
    from fastrouter.signature import KeyFiles

__all__ = ["Admission", "Sender"]


@dataclass(frozen=True, slots=True)
class Sender:
    """Where a datagram came from, as far as the kernel says."""

    host: str = ""
    """Numeric address; empty for a UNIX socket."""
    uid: int | None = None
    gid: int | None = None


class Admission:
    """The rules of one configuration. Without any, everybody may announce everything."""

    def __init__(
        self,
        keys: "KeyFiles | None" = None,
        times: Cache | None = None,
        tolerance: int = 86400,
        trusted: Sequence[int] = (),
        owned: Sequence[str] = (),
        credentials: bool = False,
    ) -> None:
        """keys checks signatures, and times keeps the highest accepted of each node, for tolerance seconds.

        trusted are the uids that need not sign; owned are prefixes of files whose owner may announce the key
        that they name; credentials says that senders have to be known.
        """
        self._keys = keys
        self._times = times
        self._tolerance = tolerance
        self._trusted = frozenset(trusted) - {0}  # uWSGI does not exempt root either
        self._owned = list(owned)
        self._credentials = credentials

    @property
    def checks_signatures(self) -> bool:
        return self._keys is not None

    def admit(self, datagram: bytes, announcement: Announcement, sender: Sender, now: int) -> None:
        """Raises AnnouncementError when the sender may not say this. now is in seconds of the epoch."""
        if self._credentials and sender.uid is None:
            raise AnnouncementError("the sender's credentials are not known", Reason.CREDENTIALS)
        if self._owned and not self._is_owner(announcement.key, sender):
            raise AnnouncementError(
                f"the sender (uid {sender.uid}, gid {sender.gid}) does not own {announcement.key}",
                Reason.CREDENTIALS,
            )
        if self._keys is not None and (sender.uid is None or sender.uid not in self._trusted):
            self._check_signature(self._keys, datagram, announcement, now)

    def _check_signature(
        self, keys: "KeyFiles", datagram: bytes, announcement: Announcement, now: int
    ) -> None:
        from fastrouter.signature import split_signature

        signed = split_signature(datagram)
        if signed is None:
            raise AnnouncementError(f"{announcement.key} is not signed", Reason.UNSIGNED)
        try:
            keys.verify(to_bytes(announcement.key), signed)
        except ValueError as error:
            raise AnnouncementError(f"{announcement.key}: {error}", Reason.SIGNATURE) from None
        name = f"{announcement.key} node: {announcement.address} unix_check: {announcement.unix}"
        if not now - self._tolerance <= announcement.unix <= now + self._tolerance:
            raise AnnouncementError(f"invalid (sniffed ?) packet sent for slot: {name}", Reason.STALE)
        if not self._is_newer(announcement):
            raise AnnouncementError(f"invalid (sniffed ?) packet sent for slot: {name}", Reason.REPLAYED)

    def _is_newer(self, announcement: Announcement) -> bool:
        """Whether nothing as new was heard of the node; takes note of the time if so."""
        assert self._times is not None
        node = to_bytes(f"{announcement.key}\0{announcement.address}")
        name = hashlib.sha256(node).digest()
        item = self._times.peek(name)
        highest = int.from_bytes(item.value, "big") if item else -1
        # An instance that stops within the second of its start has that second's time, and the one more.
        time = announcement.unix - announcement.unsubscribe
        if time < highest or (time == highest and not announcement.unsubscribe):
            return False
        # Whom nothing can be remembered of cannot be let in.
        return self._times.update(name, min(time, 2**63).to_bytes(8, "big"), 2 * self._tolerance)

    def _is_owner(self, key: str, sender: Sender) -> bool:
        if sender.uid is None or "/" in key or "\0" in key or key in (".", ".."):
            return False
        for prefix in self._owned:
            try:
                about = os.stat(prefix + key)
            except OSError:
                continue
            if (about.st_uid, about.st_gid) == (sender.uid, sender.gid):
                return True
        return False
