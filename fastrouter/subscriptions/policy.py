"""Who may announce which keys, and where nodes may be: the rules of ``subscription-allow``."""

import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from fastrouter.address import AddressError, parse_node
from fastrouter.wire.announcement import Announcement
from fastrouter.wire.keyval import keyval_items

__all__ = ["Policy", "PolicyError", "Rule", "Sender", "parse_rule", "pattern"]

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class PolicyError(ValueError):
    """A rule that cannot be understood; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Where a datagram came from, as far as the kernel says."""

    host: str = ""
    """Numeric address; empty for a UNIX socket."""
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Allows what meets all of its conditions. An empty one is met by everything."""

    keys: tuple[re.Pattern[str], ...] = ()
    signers: frozenset[str] = frozenset()
    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()
    sources: tuple[_Network, ...] = ()
    """Networks that announcements come from."""
    networks: tuple[_Network, ...] = ()
    """Where nodes may be; the next one is for what is no number."""
    names: tuple[re.Pattern[str], ...] = ()
    """Patterns of host names."""
    paths: tuple[re.Pattern[str], ...] = ()
    """Patterns of UNIX sockets."""

    def allows(self, announcement: Announcement, sender: Sender, signer: str) -> bool:
        """Whether it allows an announcement, whose signature is signer's (empty: nobody's)."""
        return (
            (not self.keys or any(pattern.match(announcement.key) for pattern in self.keys))
            and (not self.signers or signer in self.signers)
            and (not self.uids or sender.uid in self.uids)
            and (not self.gids or sender.gid in self.gids)
            and (not self.sources or _is_in(sender.host, self.sources))
            and (not (self.networks or self.names or self.paths) or self._has_place_for(announcement.address))
        )

    def _has_place_for(self, address: str) -> bool:
        try:
            family, sockaddr = parse_node(address)
        except AddressError:
            host = address.rpartition(":")[0]
            return any(pattern.match(host) for pattern in self.names)
        if family == socket.AF_UNIX:
            return any(pattern.match(os.path.normpath(address)) for pattern in self.paths)
        return _is_in(str(sockaddr[0]), self.networks)


Policy = Sequence[Rule]
"""What one of the rules allows is allowed; without any, everything is."""


def parse_rule(text: str) -> Rule:
    """Read a value of ``subscription-allow``: ``key=*.a.com b.com,signer=a``, ``from=10.0.0.0/8,...``.

    Raises PolicyError.
    """
    values: dict[str, list[str]] = {}
    for name, value in keyval_items(text):
        if name not in _CONDITIONS:
            raise PolicyError(f"there is no {name!r} in a rule, only {', '.join(_CONDITIONS)}")
        if name in values:
            raise PolicyError(f"{name} is there twice; several values are written {name}=A B")
        values[name] = value.split()
    if not values or not all(values.values()):
        raise PolicyError("expected CONDITION=VALUE..., with blanks between several values")
    nodes = values.get("node", [])
    paths = [item for item in nodes if item[0] in "/@"]
    names = [item for item in nodes if _HOST_PATTERN.fullmatch(item)]
    networks = [item for item in nodes if item not in paths and item not in names]
    return Rule(
        keys=_patterns(values.get("key", [])),
        signers=frozenset(values.get("signer", [])),
        uids=_numbers(values.get("uid", [])),
        gids=_numbers(values.get("gid", [])),
        sources=_networks(values.get("from", [])),
        networks=_networks(networks),
        names=_patterns(names),
        paths=_patterns(paths),
    )


_HOST_PATTERN = re.compile(r"(?=.*[A-Za-z])[0-9A-Za-z_.*?-]+|\*")
_CONDITIONS = ("key", "signer", "uid", "gid", "from", "node")


def _patterns(texts: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    return tuple(map(pattern, texts))


_WILD = {"*": "[^/]*", "?": "[^/]"}


def pattern(text: str) -> re.Pattern[str]:
    """A shell's pattern: ``*``, ``?`` and ``[...]`` stand for anything but a slash; case counts."""
    parts = re.split(r"(\*|\?|\[!?[^]/[]+\])", text)
    return re.compile("".join(_WILD.get(part) or _set(part) or re.escape(part) for part in parts) + r"\Z")


def _set(part: str) -> str:
    """``[a-z]`` or ``[!a-z]`` as a regular expression; empty for what is neither."""
    if len(part) < 3 or part[0] != "[":
        return ""
    negated, inner = part[1] == "!", part[1:-1].removeprefix("!")
    inner = re.sub(r"([\\^\]\[&~|])", r"\\\1", inner)
    return f"[^/{inner}]" if negated else f"[{inner}]"


def _numbers(texts: Sequence[str]) -> frozenset[int]:
    for text in texts:
        if not text.isascii() or not text.isdecimal():
            raise PolicyError(f"expected the number of a user or group, not {text!r}")
    return frozenset(map(int, texts))


def _networks(texts: Sequence[str]) -> tuple[_Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise PolicyError(f"expected an address or a network such as 10.0.0.0/8: {error}") from None


def _is_in(host: str, networks: Sequence[_Network]) -> bool:
    if not host:
        return False
    address = ipaddress.ip_address(host)
    if address.version == 6 and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
