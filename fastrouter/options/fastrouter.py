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

    force_key: str = one("text", "", "route every request by KEY, whatever it asks for", metavar="KEY")
    subscription_fallback_key: str = one(
        "text", "", "look KEY up when nobody has announced the request's key", metavar="KEY"
    )
    header_timeout: int = one(
        "count",
        30,
        "close a connection whose request has not come, with all of its variables, within SECONDS",
        metavar="SECONDS",
    )
    answer_errors: bool = one(
        "flag", False, "answer 404, 503 and the like where otherwise the connection is closed without a word"
    )
    post_buffering: int = one(
        "integer",
        0,
        "read a body before a node is chosen; those over BYTES are put in a temporary file",
        metavar="BYTES",
        differs="the body is read before the node is chosen",
    )
    post_buffering_dir: str = one(
        "text", "", "where to put them (default: $TMPDIR or /tmp)", metavar="DIRECTORY", differs="is obeyed"
    )
    fd_passing: list[str] = many(
        "text",
        "the node at ADDRESS, the path of a UNIX socket, takes clients' descriptors, though it does not"
        " announce that",
        metavar="ADDRESS",
    )
    keepalive: list[str] = many(
        "text",
        "the node at ADDRESS leaves connections open after its answers, though it does not announce that",
        metavar="ADDRESS",
    )
