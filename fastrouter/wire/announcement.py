"""The announcement: the datagram by which a node joins, refreshes or leaves a pool.

A uwsgi packet with modifier1 224; modifier2 0 subscribes, anything else unsubscribes. As uWSGI 2.0.31 does,
the header's size is not looked at, unknown variables are ignored, the last of a repeated variable counts,
and rubbish after the last good record is ignored. Unlike it, what cannot become a node is refused here.
"""

import re
from dataclasses import dataclass
from enum import IntEnum

from fastrouter.address import AddressError, host_name, parse_node
from fastrouter.text import to_bytes, to_text
from fastrouter.wire.packet import HEADER, SUBSCRIPTION, PacketError, encode, records
from fastrouter.wire.request import MAX_KEY, decimal
from fastrouter.wire.traits import PLAIN, Traits, read_traits

__all__ = ["MAX_DATAGRAM", "Announcement", "AnnouncementError", "Reason", "parse_announcement", "pool_hash"]

MAX_DATAGRAM = 4096
"""Largest announcement, in bytes (uWSGI 2.0.31 reads no more)."""

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class Reason(IntEnum):
    """Why an announcement is refused; the order is that of the counters in shared memory."""

    MALFORMED = 0
    OWN_ADDRESS = 1
    TABLE_FULL = 2
    UNSIGNED = 3
    SIGNATURE = 4
    STALE = 5
    REPLAYED = 6
    CREDENTIALS = 7
    POLICY = 8
    RATE = 9
    UNRESOLVED = 10
    OVERTAKEN = 11


class AnnouncementError(ValueError):
    """The announcement is refused; the message says why."""

    def __init__(self, message: str, reason: Reason = Reason.MALFORMED) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Announcement:
    key: str
    address: str
    unsubscribe: bool = False
    traits: Traits = PLAIN
    cores: int = 0
    load: int = 0
    more: tuple[tuple[str, str], ...] = ()
    """Variables for routers of other kinds (``sni_key``, ``proto``), passed over by this one."""
    drain: bool = False
    """The node wants no more requests, and has some to end. Not in uWSGI."""
    via: tuple[str, ...] = ()
    """The routers that it was passed on by, first to last. Not in uWSGI."""
    notify: str = ""
    """Path of the UNIX datagram socket that wants to hear of the node's acceptance."""
    signer: str = ""
    """Whose key it is signed with, if that is not called like the announced key. Not in uWSGI."""
    unix: int = 0
    """When it was made, in seconds of the epoch (in uWSGI's scheme, one more to unsubscribe); 0 unless it is
    signed."""
    sequence: int = 0
    """Tells announcements of one second apart; the later one has the higher number. Not in uWSGI."""

    def encode(self) -> bytes:
        """The datagram, with the variables in the order in which uWSGI 2.0.31 and 2.1 send them.

        Raises PacketError when it would be too long.
        """
        optional = (
            ("backup", self.traits.backup),
            *self.more,
            *self.traits.extensions(),
            ("drain", int(self.drain)),
            ("via", ",".join(self.via)),
            ("notify", self.notify),
            ("signer", self.signer),
            ("unix", self.unix),
            ("seq", self.sequence),
        )
        pairs = (
            ("key", self.key),
            ("address", self.address),
            ("modifier1", self.traits.modifier1),
            ("modifier2", self.traits.modifier2),
            ("cores", self.cores),
            ("load", self.load),
            ("weight", self.traits.weight),
            *((name, value) for name, value in optional if value),
        )
        block = ((name.encode(), to_bytes(str(value))) for name, value in pairs)
        datagram = encode(block, SUBSCRIPTION, int(self.unsubscribe))
        if len(datagram) > MAX_DATAGRAM:
            raise PacketError(f"the announcement has {len(datagram)} bytes, at most {MAX_DATAGRAM} are read")
        return datagram


def parse_announcement(datagram: bytes, sender: str = "") -> Announcement:
    """Read a datagram.

    sender is the numeric address that it came from, if known: a node that announces a port on "all
    addresses" (``:3031``) is dialled there, since such an address says nothing to another machine.
    Raises AnnouncementError.
    """
    if len(datagram) <= HEADER.size:
        raise AnnouncementError("too short")
    if len(datagram) > MAX_DATAGRAM:
        raise AnnouncementError(f"longer than {MAX_DATAGRAM} bytes")
    values = _lenient_records(datagram[HEADER.size :])
    key, address = values.get(b"key", b""), values.get(b"address", b"")
    if not 0 < len(key) <= MAX_KEY:
        raise AnnouncementError(f"the key has {len(key)} bytes, expected 1 to {MAX_KEY}")
    if not 0 < len(address) <= 255:
        raise AnnouncementError(f"the address has {len(address)} bytes, expected 1 to 255")
    if _CONTROL.search(key):
        raise AnnouncementError(f"the key has control characters: {to_text(key)!r}")
    number = {name: decimal(values.get(name, b"")) for name in _NUMBERS}
    return Announcement(
        key=to_text(key),
        address=_dialable(to_text(address), sender),
        unsubscribe=datagram[3] != 0,
        traits=read_traits(values),
        cores=number[b"cores"],
        load=number[b"load"],
        drain=number[b"drain"] != 0,
        via=tuple(name for name in to_text(values.get(b"via", b"")).split(",") if name),
        notify=to_text(values.get(b"notify", b"")),
        signer=to_text(values.get(b"signer", b"")),
        unix=number[b"unix"],
        sequence=number[b"seq"],
    )


_NUMBERS = (b"cores", b"load", b"drain", b"unix", b"seq")


def pool_hash(key: str) -> int:
    """The hash that uWSGI shows beside a pool: djb33x over signed chars, modulo 65535."""
    value = 5381
    for char in to_bytes(key):
        value = (value * 33 ^ (char - 256 if char > 127 else char)) & 0xFFFFFFFF
    return value % 65535


def _lenient_records(block: bytes) -> dict[bytes, bytes]:
    values = {}
    try:
        for name, value in records(block):
            values[name] = value
    except PacketError:
        pass  # what was read before the bad record counts, as in uWSGI
    return values


def _dialable(address: str, sender: str) -> str:
    host, colon, port = address.rpartition(":")
    if sender and colon and host in ("", "0", "0.0.0.0", "[::]"):
        address = f"[{sender}]:{port}" if ":" in sender else f"{sender}:{port}"
    if host_name(address):
        return address
    try:
        parse_node(address)
    except AddressError as error:
        raise AnnouncementError(f"cannot be dialled: {error}") from None
    return address
