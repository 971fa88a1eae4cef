"""Telling whether an address is this router's own: what is sent there comes back, again and again."""

import os
import socket
from collections.abc import Iterable
from functools import lru_cache

from fastrouter.address import AddressError, parse_node

__all__ = ["OwnAddresses"]

_parse = lru_cache(16384)(parse_node)
_ALL = ("0.0.0.0", "::")


class OwnAddresses:
    """The addresses of bound sockets, and every address of this machine where one is bound to all of them."""

    def __init__(self, names: Iterable[str], started_in: str = "") -> None:
        """started_in is the directory that relative paths of UNIX sockets count from."""
        self._exact = set()
        self._ports = set()
        self._paths = []
        for name in names:
            family, sockaddr = parse_node(name)
            self._exact.add((family, sockaddr))
            if isinstance(sockaddr, bytes):
                self._paths.append(os.path.join(os.fsencode(started_in), sockaddr))
            elif name.rpartition(":")[0].strip("[]") in _ALL:
                self._ports.add(sockaddr[1])

    def __contains__(self, address: str) -> bool:
        try:
            family, sockaddr = _parse(address)
        except AddressError:
            return False  # a name: what it stands for has to be looked at
        if (family, sockaddr) in self._exact:
            return True
        if isinstance(sockaddr, bytes):
            return self._has_path(sockaddr)
        if sockaddr[1] not in self._ports:
            return False
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((sockaddr[0], 0))
            except OSError:
                return False  # another machine's
        return True

    def _has_path(self, path: bytes) -> bool:
        """Whether a path leads to one of the sockets, by whatever links and detours."""
        for own in self._paths:
            try:
                if os.path.samefile(own, path):
                    return True
            except (OSError, ValueError):
                pass  # one of them is not there, or is an abstract name
        return False
