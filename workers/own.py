"""Telling whether an address is this router's own: what is sent there comes back, again and again."""

import socket
from collections.abc import Iterable
from functools import lru_cache

from fastrouter.address import AddressError, parse_node

__all__ = ["OwnAddresses"]

_parse = lru_cache(16384)(parse_node)
_ALL = ("0.0.0.0", "::")


class OwnAddresses:
    """The addresses of bound sockets, and every address of this machine where one is bound to all of them."""

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = {parse_node(name) for name in names}
        self._ports = {
            sockaddr[1]
            for name in names
            for family, sockaddr in [parse_node(name)]
            if family != socket.AF_UNIX and name.rpartition(":")[0].strip("[]") in _ALL
        }

    def __contains__(self, address: str) -> bool:
        try:
            family, sockaddr = _parse(address)
        except AddressError:
            return False  # a name: what it stands for has to be looked at
        if (family, sockaddr) in self._exact:
            return True
        if family == socket.AF_UNIX or sockaddr[1] not in self._ports:
            return False
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((sockaddr[0], 0))
            except OSError:
                return False  # another machine's
        return True
