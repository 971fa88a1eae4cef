"""The options of the raw router."""

from dataclasses import dataclass
from typing import ClassVar

from fastrouter.options.declaration import one
from fastrouter.options.gateway import GatewayOptions

__all__ = ["RawrouterOptions"]


@dataclass(slots=True)
class RawrouterOptions(GatewayOptions):
    """The raw router"""

    PREFIX: ClassVar[str] = "rawrouter"
    DEFERS: ClassVar[bool] = False

    xclient: bool = one(
        "flag",
        False,
        "tell nodes the address of a client by XCLIENT, as Postfix understands it",
        differs="holds back what the client says before that; tells IPv6 addresses, too",
    )
    send_proxy: int = one(
        "integer(0, 2)",
        0,
        "begin each connection to a node with a header of the PROXY protocol, version 1 or 2",
        metavar="VERSION",
    )
