"""A node as a router worker sees it."""

from fastrouter.address import parse_node
from fastrouter.shared import COUNTERS

__all__ = ["Node"]


class Node:
    """One address that serves requests."""

    __slots__ = (
        "address",
        "counters_at",
        "family",
        "header",
        "id",
        "key",
        "mark_at",
        "order",
        "slot",
        "sockaddr",
        "weight",
    )

    def __init__(
        self,
        address: str,
        slot: int,
        id: int = 0,
        key: str = "",
        order: int = 0,
        weight: int = 1,
        modifiers: tuple[int, int] = (0, 0),
    ) -> None:
        """Raises AddressError when the address cannot be dialled."""
        self.family, self.sockaddr = parse_node(address)
        self.address = address
        self.slot = slot
        self.id = id
        self.key = key
        self.order = order
        self.weight = weight
        self.header = modifiers
        """modifier1 and modifier2 of the packets that this node is sent."""
        self.counters_at = slot * COUNTERS
        """Where in a worker's counters the node's are."""
        self.mark_at = 0
        """Where in the shared cells its failures are marked."""
