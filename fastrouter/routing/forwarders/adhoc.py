"""Nodes whose addresses are made up as requests come: of the key, by a cache, by a function."""

from fastrouter.memory.shared import Layout
from fastrouter.routing.node import Node, configured
from fastrouter.wire.request import decimal
from fastrouter.wire.traits import ConfiguredTraits

__all__ = ["AdhocNodes", "UnlistedForwarder"]

_MOST = 4096
"""Nodes to remember; clients choose keys, so there is no end to them."""


class AdhocNodes:
    """Makes nodes, and remembers them. All share one slot: their requests are counted together."""

    def __init__(
        self,
        slot: int,
        layout: Layout,
        configured_traits: ConfiguredTraits | None = None,
    ) -> None:
        self._slot = slot
        self._layout = layout
        self._configured_traits = configured_traits or ConfiguredTraits()
        self._nodes: dict[tuple[str, int], Node | None] = {}

    def get(self, address: str, modifier1: int = 0) -> Node | None:
        """The node at an address; None when that cannot be dialled."""
        name = (address, modifier1)
        if name not in self._nodes:
            if len(self._nodes) >= _MOST:
                self._nodes.clear()
            self._nodes[name] = self._make(address, modifier1)
        return self._nodes[name]

    def read(self, text: str) -> Node | None:
        """The node that ``ADDRESS[,MODIFIER1]`` names (as uWSGI reads it); None when it names none."""
        address, _, modifier1 = text.partition(",")
        return self.get(address, decimal(modifier1.encode("ascii", "replace")) & 0xFF)

    def _make(self, address: str, modifier1: int) -> Node | None:
        try:
            # They are counted together, so that a limit for each cannot be kept.
            traits = self._configured_traits.of(address)._replace(modifier1=modifier1, max_conns=0)
            return configured(address, self._slot, self._layout, traits)
        except ValueError:  # an AddressError, or what cannot be encoded
            return None


class UnlistedForwarder:
    """What the forwarders of such nodes have in common: nothing is known of a node but its address."""

    def mark_failed(self, node: Node) -> bool:
        return False  # it may be there the next time; nothing is lost by looking

    @property
    def is_empty(self) -> bool:
        return False
