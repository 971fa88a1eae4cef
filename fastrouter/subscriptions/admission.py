"""Who may announce what: credentials, signatures, replays, and the operator's rules (policy.py).

A signed announcement carries the time at which it was made. Of each node the highest time that was accepted
is kept (replays.py), over both commands and beyond the node's own life, so that nothing which was heard once
is obeyed a second time: neither as it was nor, in uWSGI's scheme, whose signature does not cover the command,
turned into an unsubscription. (uWSGI 2.0.31 compares with the node's first announcement only.) The other way
round, an unsubscription of uWSGI's scheme that is turned into an announcement brings the node back until it
is seen to be dead: it is the announcement that an instance sends which is started again within the second.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastrouter.cache.store import Cache
from fastrouter.subscriptions.policy import Policy, Sender
from fastrouter.subscriptions.replays import Replays, Verdict, mark_of
from fastrouter.text import to_bytes
from fastrouter.wire.announcement import Announcement, AnnouncementError, Reason

if TYPE_CHECKING:
    from fastrouter.wire.signature import KeyFiles

__all__ = ["Admission"]


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
        policy: Policy = (),
    ) -> None:
        """keys checks signatures, and times keeps the highest accepted of each node, for tolerance seconds.

        trusted are the uids that need not sign; owned are prefixes of files whose owner may announce the key
        that they name; credentials says that senders have to be known; policy says who may announce what.
        """
        self._keys = keys
        self._replays = None if times is None else Replays(times, 2 * tolerance)
        self._tolerance = tolerance
        self._trusted = frozenset(trusted) - {0}  # uWSGI does not exempt root either
        self._owned = list(owned)
        self._credentials = credentials
        self._policy = policy

    @property
    def checks_signatures(self) -> bool:
        return self._keys is not None

    def admit(
        self, datagram: bytes, announcement: Announcement, sender: Sender, now: int, is_known: bool = True
    ) -> None:
        """Raises AnnouncementError when the sender may not say this. now is in seconds of the epoch.

        is_known says whether the node is in the table: to take back what is not there changes nothing.
        """
        if self._credentials and sender.uid is None:
            raise AnnouncementError("the sender's credentials are not known", Reason.CREDENTIALS)
        if self._owned and not self._is_owner(announcement.key, sender):
            raise AnnouncementError(
                f"the sender (uid {sender.uid}, gid {sender.gid}) does not own {announcement.key}",
                Reason.CREDENTIALS,
            )
        if self._keys is None or sender.uid in self._trusted:
            self._check_policy(announcement, sender, "")
            return
        signer = announcement.signer or announcement.key
        covers_command = self._check_signature(self._keys, signer, datagram, announcement, now)
        self._check_policy(announcement, sender, signer)
        # Last of all, since it takes note: who may not announce a node must not make it look old either.
        leaves_traces = is_known or not (announcement.unsubscribe or announcement.drain)
        self._check_time(announcement, signer, covers_command, leaves_traces)

    def _check_policy(self, announcement: Announcement, sender: Sender, signer: str) -> None:
        if any(rule.allows(announcement, sender, signer) for rule in self._policy):
            return
        # Without a rule, whoever has a key file may announce the key that it is called after.
        if self._policy or signer not in ("", announcement.key):
            by = f", signed by {signer}," if signer else ""
            raise AnnouncementError(
                f"{announcement.key} at {announcement.address}{by} is not allowed by any rule", Reason.POLICY
            )

    def _check_signature(
        self, keys: "KeyFiles", signer: str, datagram: bytes, announcement: Announcement, now: int
    ) -> bool:
        """Whether the signature covers the command."""
        from fastrouter.wire.signature import split_signature

        signed = split_signature(datagram)
        if signed is None:
            raise AnnouncementError(f"{announcement.key} is not signed", Reason.UNSIGNED)
        try:
            keys.verify(to_bytes(signer), signed)
        except ValueError as error:
            raise AnnouncementError(f"{announcement.key}: {error}", Reason.SIGNATURE) from None
        if not now - self._tolerance <= announcement.unix <= now + self._tolerance:
            raise AnnouncementError(_sniffed(announcement), Reason.STALE)
        return signed.covers_command

    def _check_time(
        self, announcement: Announcement, signer: str, covers_command: bool, leaves_traces: bool
    ) -> None:
        assert self._replays is not None
        node = to_bytes(f"{announcement.key}\0{announcement.address}")
        if covers_command:
            mark, may_equal = mark_of(announcement.unix, announcement.sequence), False
        else:
            # An instance that stops within the second of its start has that second's time, and the one more.
            mark = mark_of(announcement.unix - announcement.unsubscribe, 0)
            may_equal = announcement.unsubscribe
        verdict = self._replays.check(to_bytes(signer), node, mark, may_equal)
        if verdict is Verdict.REPLAYED:
            raise AnnouncementError(_sniffed(announcement), Reason.REPLAYED)
        if verdict is Verdict.OVERTAKEN:
            problem = (
                f"{announcement.key}: nothing from before {announcement.unix} is taken of {signer} any more"
            )
            raise AnnouncementError(problem, Reason.OVERTAKEN)
        if leaves_traces:
            self._replays.remember(to_bytes(signer), node, mark)

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


def _sniffed(announcement: Announcement) -> str:
    """uWSGI's words."""
    name = f"{announcement.key} node: {announcement.address} unix_check: {announcement.unix}"
    return f"invalid (sniffed ?) packet sent for slot: {name}"
