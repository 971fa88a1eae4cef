"""The header of the PROXY protocol, which tells a node who a client is (HAProxy, 2020)."""

import ipaddress
import struct

__all__ = ["proxy_header"]

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21
"""Version 2, and the command."""
_TCP4, _TCP6 = 0x11, 0x21

Address = tuple[str, int]
"""A numeric address and a port."""


def proxy_header(version: int, client: Address | None, here: Address | None) -> bytes:
    """The header of a connection from client, which it made to here; None for one over a UNIX socket.

    version is 1 (section 2.1, a line) or 2 (section 2.2, binary). What has no addresses that both versions
    can tell is UNKNOWN in version 1 and LOCAL in version 2: the node is to take the connection as it is.
    """
    if client is None or here is None:
        return b"PROXY UNKNOWN\r\n" if version == 1 else _binary(_LOCAL, 0, b"")
    source, target = _numeric(client[0]), _numeric(here[0])
    if source.version != target.version:
        source, target = _as_ipv6(source), _as_ipv6(target)
    is_ipv4 = source.version == 4
    if version == 1:
        family = "TCP4" if is_ipv4 else "TCP6"
        return f"PROXY {family} {source} {target} {client[1]} {here[1]}\r\n".encode("ascii")
    ports = struct.pack("!HH", client[1], here[1])
    return _binary(_PROXY, _TCP4 if is_ipv4 else _TCP6, source.packed + target.packed + ports)


_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def _numeric(host: str) -> _Ip:
    """An address without its scope; an IPv4 address that came over an IPv6 socket is an IPv4 address."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _as_ipv6(address: _Ip) -> ipaddress.IPv6Address:
    if isinstance(address, ipaddress.IPv6Address):
        return address
    return ipaddress.IPv6Address(f"::ffff:{address}")


def _binary(command: int, family: int, addresses: bytes) -> bytes:
    return _SIGNATURE + struct.pack("!BBH", command, family, len(addresses)) + addresses
