"""The packet of a request, as a web server makes it, for a router or a node that is asked without one."""

from urllib.parse import unquote, urlsplit

from fastrouter.wire.packet import encode

__all__ = ["request_packet"]


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
