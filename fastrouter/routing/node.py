"""A node as a router worker sees it."""

from collections.abc import Sequence
from typing import Final

from fastrouter.address import parse_node
from fastrouter.memory.cells import COUNTERS, Slot
from fastrouter.memory.shared import Layout, NodeRecord
from fastrouter.text import to_bytes, to_text
from fastrouter.wire.traits import PLAIN, Traits

__all__ = ["Node", "configured", "named"]

_UNIX: Final = 1
"""AF_UNIX"""


class Node:
    """One address that serves requests."""

    __slots__ = (
        "address",
        "backup",
        "counters_at",
        "failures",
        "family",
        "has_taken",
        "header",
        "id",
        "keeps",
        "key",
        "mark_at",
        "max_conns",
        "order",
        "peers",
        "points",
        "record",
        "resets_until",
        "rest_at",
        "share",
        "slot",
        "sockaddr",
        "takes_clients",
        "weight",
    )

    def __init__(self, record: NodeRecord, slot: int, layout: Layout, traits: Traits | None = None) -> None:
        """traits are the announced ones unless given. Raises AddressError for an address that is none."""
        traits = record.traits if traits is None else traits
        self.record = record
        self.address = to_text(record.address)
        self.move(record.resolved or record.address)
        self.slot = slot
        self.id = record.id
        self.key = record.key
        self.order = record.order
        self.weight = traits.weight
        self.backup = traits.backup
        self.max_conns = traits.max_conns
        self.header = (traits.modifier1, traits.modifier2)
        """modifier1 and modifier2 of the packets that this node is sent."""
        self.takes_clients = traits.fd_passing and self.family == _UNIX
        """Clients' descriptors are passed to it."""
        self.keeps = traits.keepalive
        """It leaves connections open."""
        self.has_taken = record.id != 0
        """It has said so itself or reported of one of them, so that it is sure to know how."""
        self.counters_at = slot * COUNTERS
        """Where in a worker's counters the node's are."""
        self.mark_at = layout.slot_cell(slot, Slot.MARK)
        """Where in the shared cells its failures are marked."""
        self.rest_at = layout.slot_cell(slot, Slot.REST)
        self.peers: Sequence[Node] = ()
        """The nodes of its pool, itself included; none when it is in no pool."""
        self.points: list[int] = []
        """Its places on the ring that clients' addresses are hashed to, as far as they were needed."""
        self.failures = 0
        """Requests that failed in a row, as this worker saw them."""
        self.resets_until = 0
        """A second of this worker's, until which it counts as one that leaves bodies unread."""
        self.share = 0.0
        """What it has saved up of requests, as long as it starts slowly."""

    def move(self, address: bytes) -> None:
        """Be reached at a numeric address. Raises AddressError."""
        self.family, self.sockaddr = parse_node(to_text(address))


_NOWHERE = b"/dev/null/unresolved"
"""What nobody can be reached at."""


def configured(address: str, slot: int, layout: Layout, traits: Traits = PLAIN) -> Node:
    """A node that was not announced. Raises AddressError when the address cannot be dialled."""
    return Node(NodeRecord(0, slot, b"", to_bytes(address), traits), slot, layout)


def named(address: str, slot: int, layout: Layout, traits: Traits = PLAIN) -> Node:
    """The same for an address with a host name: it is nowhere until its slot says where it is."""
    return Node(NodeRecord(0, slot, b"", to_bytes(address), traits, resolved=_NOWHERE), slot, layout)
