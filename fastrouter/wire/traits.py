"""A node's traits: how it is spoken to and how many requests it gets, as announced or as options say."""

from collections.abc import Container, Mapping
from typing import NamedTuple

from fastrouter.text import to_text
from fastrouter.wire.request import decimal

__all__ = ["MAX_ALGORITHM", "PLAIN", "ConfiguredTraits", "Traits", "read_traits"]

MAX_WEIGHT = 65535
MAX_BACKUP = 65535
MAX_CONNS = 0xFFFFFFFF
MAX_ALGORITHM = 32
"""Bytes of an algorithm's name."""


class Traits(NamedTuple):
    """What a node is like."""

    modifier1: int = 0
    """Of the packets that it is sent, as modifier2."""
    modifier2: int = 0
    weight: int = 1
    """Its share of requests, compared with the other nodes of its pool."""
    backup: int = 0
    """Level (uWSGI 2.1): it serves only while no node of a lower level lives."""
    max_conns: int = 0
    """Most requests at a time, 0 for no limit. Not in uWSGI."""
    algorithm: str = ""
    """Balancing that it asks for in its pool (uWSGI 2.1: ``algo``); empty for the configured one."""
    fd_passing: bool = False
    """It takes clients' descriptors (passing.py). Not in uWSGI."""
    keepalive: bool = False
    """It leaves connections open after answers whose end can be told. Not in uWSGI."""

    def extensions(self) -> tuple[tuple[str, int | str], ...]:
        """The variables of an announcement that uWSGI 2.0 does not send, but for the level."""
        return (
            ("algo", self.algorithm),
            ("max_conns", self.max_conns),
            ("fd_passing", int(self.fd_passing)),
            ("keepalive", int(self.keepalive)),
        )


PLAIN = Traits()
"""Of a node that nothing is known of."""


def read_traits(variables: Mapping[bytes, bytes]) -> Traits:
    """Those that an announcement's variables say, within bounds; numbers are read as uWSGI does."""

    def number(name: bytes) -> int:
        return decimal(variables.get(name, b""))

    return Traits(
        modifier1=number(b"modifier1") & 0xFF,
        modifier2=number(b"modifier2") & 0xFF,
        weight=min(number(b"weight") or 1, MAX_WEIGHT),
        backup=min(number(b"backup"), MAX_BACKUP),
        max_conns=min(number(b"max_conns"), MAX_CONNS),
        algorithm=to_text(variables.get(b"algo", b"")[:MAX_ALGORITHM]),
        fd_passing=number(b"fd_passing") != 0,
        keepalive=number(b"keepalive") != 0,
    )


class ConfiguredTraits:
    """What options say of nodes by their addresses, whether those announce themselves or not."""

    def __init__(
        self, max_conns: int = 0, fd_passing: Container[str] = (), keepalive: Container[str] = ()
    ) -> None:
        """max_conns is for nodes that name no limit; the others are addresses of nodes with the trait."""
        self._max_conns = max_conns
        self._fd_passing = fd_passing
        self._keepalive = keepalive

    def of(self, address: str, traits: Traits = PLAIN) -> Traits:
        """Those of the node at an address, which has announced traits."""
        return traits._replace(
            max_conns=traits.max_conns or self._max_conns,
            fd_passing=traits.fd_passing or address in self._fd_passing,
            keepalive=traits.keepalive or address in self._keepalive,
        )
