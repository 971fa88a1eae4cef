"""The command ``fastrouter-request``: sends one uwsgi request and prints the reply.

For looking at a router, or at a node, without a web server in between.
"""

import socket
import sys
from collections.abc import Sequence

from fastrouter.address import AddressError, parse_node
from fastrouter.client import request_packet
from fastrouter.config.dialect.pairs import ConfigError
from fastrouter.options import RequestOptions
from fastrouter.text import in_words
from fastrouter.wire.packet import PacketError
from master.commands.tool import run_tool

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 for a reply, 1 for none, 2 for a wrong command line."""
    return run_tool(RequestOptions, arguments, _request)


def _request(options: RequestOptions, words: Sequence[str]) -> int:
    if not 1 <= len(words) <= 2:
        raise ConfigError("expected ADDRESS and perhaps a URL")
    address, url = [*words, "http://localhost/"][:2]
    body = sys.stdin.buffer.read() if options.data == "-" else options.data.encode()
    try:
        packet = request_packet(options.method, url, body, dict(options.variable))
    except (ValueError, PacketError) as error:
        raise ConfigError(f"no packet can be made of {url[:80]!r}: {error}") from None
    try:
        size = _exchange(address, packet + body, options.timeout)
    except (AddressError, OSError) as error:
        print(f"fastrouter-request: {error}", file=sys.stderr)
        return 1
    if not size:
        print(f"fastrouter-request: {address} closed without an answer", file=sys.stderr)
    return 0 if size else 1


def _exchange(address: str, data: bytes, timeout: float) -> int:
    """Send data, copy the reply to standard output, and return its size. Raises AddressError and OSError."""
    family, sockaddr = parse_node(address)
    size, doing = 0, f"cannot connect to {address}"
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(sockaddr)
            doing = f"no answer from {address}"
            sock.sendall(data)
            while chunk := sock.recv(65536):
                sys.stdout.buffer.write(chunk)
                size += len(chunk)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise ConnectionError(f"{doing}: {in_words(error)}") from None
    return size


if __name__ == "__main__":
    sys.exit(main())
