"""Addresses of a configuration: what is none although it could be a path, and what is said twice."""

import ipaddress
import os
import re
from collections.abc import Iterator

from fastrouter.address import AddressError, Binding, Tcp, Unix, host_name, parse_binding, parse_node
from fastrouter.options import Options

__all__ = ["parse_destination", "parse_listener", "said_twice", "streams"]

_REFERENCE = re.compile(r"[$%@]\([^()]*\)")

_Place = tuple[str, int]
"""An option, and which of its occurrences."""


def parse_listener(text: str) -> Binding:
    """Read the address of a socket to bind. Raises AddressError, also for paths that nobody means."""
    _refuse_mistakes(text)
    binding = parse_binding(text)
    if isinstance(binding, Tcp) and re.fullmatch(r"[0-9.]+", binding.host) and binding.host != "0":
        try:
            ipaddress.IPv4Address(binding.host)
        except ValueError:
            raise AddressError(f"{text!r}: expected an IPv4 address, not {binding.host!r}") from None
    return binding


def parse_destination(text: str) -> None:
    """See whether there is the address or the name of a node. Raises AddressError."""
    _refuse_mistakes(text)
    if not host_name(text):
        parse_node(text)


def _refuse_mistakes(text: str) -> None:
    if match := _REFERENCE.search(text):
        raise AddressError(f"{text!r}: expected an address, but nothing is known as {match[0]}")
    if "://" in text and not text.startswith("fd://"):
        raise AddressError(f"{text!r}: expected HOST:PORT or the path of a UNIX socket, not a URL")
    if text.isdecimal():
        raise AddressError(f"{text!r}: expected HOST:PORT or the path of a UNIX socket, such as :{text}")
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return
    host = f"[{text}]" if ":" in text else text
    raise AddressError(f"{text!r}: expected a port behind the address, such as {host}:3031")


def streams(options: Options) -> dict[str, list[str]]:
    """The addresses that connections are accepted on, by option."""
    named: dict[str, list[str]] = {}
    for gateway in options.families:
        prefix = gateway.PREFIX
        named[prefix] = gateway.addresses
        named[f"{prefix}-stats"] = [gateway.stats] if gateway.stats else []
        named[f"{prefix}-prometheus"] = [gateway.prometheus] if gateway.prometheus else []
    named["shared-socket"] = options.sockets.shared_socket
    named["undeferred-shared-socket"] = options.sockets.undeferred_shared_socket
    named["socket"] = options.app.sockets
    return named


def said_twice(options: Options) -> Iterator[tuple[_Place, _Place, str]]:
    """The first place of an address, the second, and what is written there."""
    server = options.sockets.zerg_server
    connections = {**streams(options), "zerg-server": [server] if server else []}
    datagrams = {
        f"{gateway.PREFIX}-subscription-server": gateway.subscription_server for gateway in options.families
    }
    for kind in (connections, datagrams):
        seen: dict[object, _Place] = {}
        for name, addresses in kind.items():
            for position, text in enumerate(addresses):
                key = _identity(text)
                if key is not None and key in seen:
                    yield seen[key], (name, position), text
                elif key is not None:
                    seen[key] = name, position


def _identity(text: str) -> object:
    """The same for two spellings of an address; None for what may be there twice, and for what is none."""
    try:
        binding = parse_listener(text)
    except AddressError:
        return None
    if isinstance(binding, Unix):
        return binding.path if binding.abstract else os.path.realpath(binding.path), binding.abstract
    if not isinstance(binding, Tcp) or not binding.port or binding.is_pattern:
        return None
    host = "0.0.0.0" if binding.host in ("", "0") else binding.host.lower()
    try:
        return ipaddress.ip_address(host), binding.port
    except ValueError:
        return host, binding.port
