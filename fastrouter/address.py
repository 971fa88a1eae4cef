"""Addresses as they are written in configurations and announcements.

Two kinds: what a socket can be bound to, and what a node can be reached at. The forms are those of
uWSGI 2.0.31, plus IPv6 for nodes.
"""

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import NamedTuple

from fastrouter.text import to_bytes

__all__ = [
    "AddressError",
    "Binding",
    "Dial",
    "Inherited",
    "Shared",
    "Tcp",
    "Unix",
    "host_name",
    "parse_binding",
    "parse_node",
    "show",
]

MAX_UNIX_PATH = 107
"""Longest UNIX socket path in bytes (sun_path without its terminator, unix(7))."""


_LABEL = "[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?"
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)*(?![0-9]+\.?$){_LABEL}\.?")


class AddressError(ValueError):
    """The text is no address of the expected kind."""


@dataclass(frozen=True, slots=True)
class Tcp:
    """An internet address; the host may be empty (all), a name, a number or a pattern such as ``192.*``."""

    host: str
    port: int

    @property
    def is_pattern(self) -> bool:
        return self.host.endswith("*") and self.host != "*"


@dataclass(frozen=True, slots=True)
class Unix:
    """A UNIX socket: a path, or a name in the abstract namespace."""

    path: str
    abstract: bool = False

    @property
    def sockaddr(self) -> bytes:
        """As the kernel wants it. uWSGI's abstract names end in a NUL byte, so these do too."""
        encoded = to_bytes(self.path)
        return b"\0" + encoded + b"\0" if self.abstract else encoded


@dataclass(frozen=True, slots=True)
class Shared:
    """``=N``: the shared socket number N."""

    number: int


@dataclass(frozen=True, slots=True)
class Inherited:
    """``fd://N``: a descriptor that this program was started with."""

    fd: int


Binding = Tcp | Unix | Shared | Inherited


class Dial(NamedTuple):
    """What a socket needs to connect to a node."""

    family: int
    sockaddr: tuple[str, int] | bytes


def parse_binding(text: str) -> Binding:
    """Read the address of a socket to bind. Raises AddressError."""
    if text.startswith("="):
        return Shared(_number(text[1:], text, "the number of a shared socket after '='"))
    if text.startswith("fd://"):
        return Inherited(_number(text[5:], text, "a descriptor number after 'fd://'"))
    if text.startswith("@") or text.startswith("\\0"):
        return _unix(text[1:] if text[0] == "@" else text[2:], text, abstract=True)
    if ":" in text and "/" not in text:
        host, port = _split(text)
        return Tcp("" if host == "*" else host, port)
    return _unix(text, text)


def parse_node(text: str) -> Dial:
    """Read the address of a node: ``1.2.3.4:80``, ``[::1]:80``, ``:80``, ``/path``, ``@abstract``.

    Only numbers: a router worker never waits for a name server. Raises AddressError.
    """
    if text.startswith("@") or text.startswith("\\0"):
        return Dial(socket.AF_UNIX, _unix(text[1:] if text[0] == "@" else text[2:], text, True).sockaddr)
    if ":" not in text or "/" in text:  # what has a slash is a path, whatever else it has
        return Dial(socket.AF_UNIX, _unix(text, text).sockaddr)
    host, port = _split(text)
    if not port:
        raise AddressError(f"{text!r}: a node needs a port")
    if host in ("", "0", "0.0.0.0"):
        return Dial(socket.AF_INET, ("127.0.0.1", port))
    number: ipaddress.IPv4Address | ipaddress.IPv6Address
    try:
        number = ipaddress.ip_address("::1" if host == "::" else host)
        if "%" in host:
            raise ValueError  # an interface's name, which may not be here
    except ValueError:
        raise AddressError(f"{text!r}: expected a numeric address, not the name {host!r}") from None
    if number.version == 6 and number.ipv4_mapped is not None:
        number = number.ipv4_mapped  # the kernel would dial that
        if number.is_unspecified:
            number = ipaddress.IPv4Address("127.0.0.1")
    return Dial(socket.AF_INET if number.version == 4 else socket.AF_INET6, (str(number), port))


def host_name(text: str) -> str:
    """The host of ``name:80``, when that is a name which somebody has to look up; otherwise empty."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) <= 65535:
        return ""
    # What ends in a number is a mistyped address (RFC 1123, 2.1), which a resolver might yet make one of.
    return host if len(host) <= 253 and _HOST_NAME.fullmatch(host) else ""


def show(name: object) -> str:
    """The address of a bound socket, as getsockname() gives it, in the form that configurations use."""
    if isinstance(name, tuple):
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
    if isinstance(name, bytes):
        return "@" + name[1:].rstrip(b"\0").decode("utf-8", "replace")
    return str(name)


def _split(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise AddressError(f"{text!r}: expected a port from 0 to 65535 after the last ':', not {port!r}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise AddressError(f"{text!r}: an IPv6 address is written in brackets, [{host}]:{port}")
    return host, int(port)


def _number(digits: str, text: str, expected: str) -> int:
    if not digits.isascii() or not digits.isdigit():
        raise AddressError(f"{text!r}: expected {expected}")
    return int(digits)


def _unix(path: str, text: str, abstract: bool = False) -> Unix:
    size = len(to_bytes(path))
    if not path or "\0" in path:
        raise AddressError(f"{text!r}: expected the name of a UNIX socket")
    if size > MAX_UNIX_PATH - 2 * abstract:
        raise AddressError(f"{text!r}: {size} bytes, the path of a UNIX socket has at most {MAX_UNIX_PATH}")
    return Unix(path, abstract)
