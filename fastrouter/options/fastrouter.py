"""The options of the fastrouter."""

from dataclasses import dataclass
from typing import ClassVar

from fastrouter.options.declaration import many, one
from fastrouter.options.gateway import GatewayOptions

__all__ = ["FastrouterOptions"]


@dataclass(slots=True)
class FastrouterOptions(GatewayOptions):
    """The fastrouter"""

    PREFIX: ClassVar[str] = "fastrouter"
    PASSES_CLIENTS: ClassVar[bool] = True

    force_key: str = one("text", "", "use KEY for every request", metavar="KEY")
    subscription_fallback_key: str = one(
        "text", "", "look KEY up when the key of the request has no node", metavar="KEY"
    )
    header_timeout: int = one(
        "count",
        30,
        "close a connection whose request head is not complete within SECONDS",
        metavar="SECONDS",
    )
    answer_errors: bool = one(
        "flag", False, "answer with 404, 502, 503 or 504 instead of closing the connection"
    )
    post_buffering: int = one(
        "integer",
        0,
        "read each body before a node is chosen; bodies over BYTES go to a temporary file",
        metavar="BYTES",
        differs="the body is read before the node is chosen",
    )
    post_buffering_dir: str = one(
        "text",
        "",
        "directory of these files (default: $TMPDIR or /tmp)",
        metavar="DIRECTORY",
        differs="is obeyed",
    )
    fd_passing: list[str] = many(
        "text",
        "pass clients' descriptors to the node at ADDRESS, a UNIX socket, though it does not announce that",
        metavar="ADDRESS",
    )
    keepalive: list[str] = many(
        "text",
        "keep connections to the node at ADDRESS open, though it does not announce that",
        metavar="ADDRESS",
    )
