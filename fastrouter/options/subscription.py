"""The options of the subscription server."""

from dataclasses import dataclass

from fastrouter.options.declaration import Group, SignCheck, many, one
from fastrouter.routing.balance import ALGORITHMS

__all__ = ["SubscriptionOptions"]


@dataclass(slots=True)
class SubscriptionOptions(Group):
    """The subscription server"""

    tolerance: int = one(
        "count",
        17,
        "drop a node that is silent for more than SECONDS",
        name="subscription-tolerance",
        metavar="SECONDS",
    )
    algorithm: str = one(
        f"choice({', '.join(ALGORITHMS)})",
        "wrr",
        f"how a pool is balanced whose nodes announce no algorithm: {', '.join(ALGORITHMS)}",
        name="subscription-algo",
        metavar="NAME",
        differs="counts the requests of all router workers; iphash goes by REMOTE_ADDR",
    )
    dotsplit: bool = one(
        "flag",
        False,
        "look a.b.c up as .b.c and .c when it has no node",
        name="subscription-dotsplit",
    )
    mountpoints: int = one(
        "integer",
        0,
        "let the first N segments of the path be part of the key: foo.com/a/b, foo.com/a, foo.com",
        name="subscription-mountpoints",
        aliases=("subscription-mountpoint",),
        metavar="N",
        differs="is for announced keys; the longest of the first N segments counts",
    )
    slow_start: int = one(
        "integer",
        0,
        "raise the share of a new node gradually, over SECONDS",
        name="subscription-slow-start",
        metavar="SECONDS",
    )
    state: str = one(
        "text",
        "",
        "keep the table in FILE, and read it after a restart",
        name="subscription-state",
        metavar="FILE",
    )
    max_nodes: int = one(
        "integer(1, 1000000)",
        16384,
        "refuse announcements beyond N nodes",
        name="subscription-max-nodes",
        metavar="N",
    )
    max_pools: int = one(
        "integer", 0, "refuse announcements beyond N keys", name="subscription-max-pools", metavar="N"
    )
    max_pool_nodes: int = one(
        "integer",
        0,
        "refuse announcements beyond N nodes of a key",
        name="subscription-max-pool-nodes",
        metavar="N",
    )
    max_source_nodes: int = one(
        "integer",
        0,
        "refuse announcements beyond N nodes of a source (an address, an IPv6 /64, or a user)",
        name="subscription-max-source-nodes",
        metavar="N",
    )
    max_rate: int = one(
        "integer",
        0,
        "refuse more than N announcements a second from a source, averaged over 10 seconds",
        name="subscription-max-rate",
        metavar="N",
    )
    allow: list[str] = many(
        "text",
        "take only announcements that meet every condition of at least one rule: key=PATTERN...,"
        " signer=NAME...,"
        " uid=UID..., gid=GID..., from=NETWORK..., node=NETWORK-OR-PATTERN...",
        name="subscription-allow",
        metavar="KEYVAL",
    )
    notify_allow: list[str] = many(
        "text",
        "acknowledge announcements on the UNIX datagram sockets that they name, if their paths match PATTERN;"
        " with subscriptions-use-credentials, those of the sender's own need no pattern",
        name="subscription-notify-allow",
        metavar="PATTERN",
    )
    sign_check: SignCheck | None = one(
        "sign_check",
        None,
        "take only signed announcements; the public key is DIRECTORY/KEY.pem. DIGEST ED25519: only"
        " fastrouter's own scheme",
        name="subscriptions-sign-check",
        metavar="DIGEST:DIRECTORY",
        differs=(
            "covers every announcement, and obeys nothing twice; key files are read again when they change"
        ),
    )
    sign_tolerance: int = one(
        "count",
        86400,
        "refuse signed announcements that are older than SECONDS",
        name="subscriptions-sign-check-tolerance",
        metavar="SECONDS",
        differs="is for the future, too",
    )
    sign_skip_uid: list[int] = many(
        "integer(0, 4294967295)",
        "take unsigned announcements from processes of user UID (not 0)",
        name="subscriptions-sign-skip-uid",
        metavar="UID",
    )
    credentials: bool = one(
        "flag",
        False,
        "have the kernel name the sender of each datagram on UNIX sockets, and refuse unknown senders",
        name="subscriptions-use-credentials",
        differs="is an error with UDP addresses",
    )
    credentials_check: list[str] = many(
        "text",
        "take announcements of a key only from the owner (user and group) of the file PREFIX + key",
        name="subscriptions-credentials-check",
        metavar="PREFIX",
        differs="is an error without subscriptions-use-credentials; holds for unsubscriptions, too",
    )
