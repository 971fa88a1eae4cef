"""The command ``fastrouter-request``: sends one uwsgi request and prints the reply.

For looking at a router, or at a node, without a web server in between.
"""

import argparse
import socket
import sys
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from fastrouter.address import AddressError, parse_node
from fastrouter.packet import encode
from fastrouter.text import in_words

__all__ = ["main", "request_packet"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 for a reply, 1 for none, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="fastrouter-request", description="Send one uwsgi request and print the reply."
    )
    parser.add_argument("address", help="router or node: HOST:PORT, the path of a UNIX socket, or @NAME")
    parser.add_argument("url", nargs="?", default="http://localhost/", help="default: %(default)s")
    parser.add_argument("-X", "--method", default="GET", help="default: %(default)s")
    parser.add_argument("-d", "--data", default="", help="the request's body; - reads standard input")
    parser.add_argument("-V", "--variable", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("-t", "--timeout", type=float, default=60.0, help="seconds, default: %(default)s")
    chosen = parser.parse_args(arguments)
    body = sys.stdin.buffer.read() if chosen.data == "-" else chosen.data.encode()
    extra = dict(item.partition("=")[::2] for item in chosen.variable)
    try:
        family, sockaddr = parse_node(chosen.address)
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(chosen.timeout)
            doing = f"cannot connect to {chosen.address}"
            sock.connect(sockaddr)
            doing = f"no answer from {chosen.address}"
            sock.sendall(request_packet(chosen.method, chosen.url, body, extra) + body)
            size = _copy(sock)
    except AddressError as error:
        print(f"fastrouter-request: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"fastrouter-request: {doing}: {in_words(error)}", file=sys.stderr)
        return 1
    if not size:
        print(f"fastrouter-request: {chosen.address} closed without an answer", file=sys.stderr)
    return 0 if size else 1


def request_packet(method: str, url: str, body: bytes = b"", extra: dict[str, str] | None = None) -> bytes:
    """The packet that nginx would make of such a request."""
    parts = urlsplit(url)
    path = parts.path or "/"
    variables = {
        "QUERY_STRING": parts.query,
        "REQUEST_METHOD": method,
        "CONTENT_TYPE": "application/octet-stream" if body else "",
        "CONTENT_LENGTH": str(len(body)) if body else "",
        "REQUEST_URI": path + (f"?{parts.query}" if parts.query else ""),
        "PATH_INFO": unquote(path),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_SCHEME": parts.scheme or "http",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "0",
        "SERVER_PORT": str(parts.port or 80),
        "SERVER_NAME": parts.hostname or "localhost",
        "HTTP_HOST": parts.netloc.rpartition("@")[2] or "localhost",
        **(extra or {}),
    }
    return encode((name.encode(), value.encode()) for name, value in variables.items())


def _copy(sock: socket.socket) -> int:
    size = 0
    while data := sock.recv(65536):
        sys.stdout.buffer.write(data)
        size += len(data)
    sys.stdout.buffer.flush()
    return size


if __name__ == "__main__":
    sys.exit(main())
