"""The options of the command ``fastrouter-subscribe``."""

from dataclasses import dataclass, replace
from typing import ClassVar

from fastrouter.options.declaration import Group, many, one
from fastrouter.routing.balance import ALGORITHMS
from fastrouter.subscriptions.subscriber import SubscriberError, Subscription, parse_subscriptions
from fastrouter.wire.signing_key import SigningKey

__all__ = ["SubscribeOptions"]


@dataclass(slots=True)
class SubscribeOptions(Group):
    """Announcing a program"""

    USAGE: ClassVar[str] = "fastrouter-subscribe OPTION... [-- PROGRAM ARGUMENT...]"
    PURPOSE: ClassVar[str] = (
        "Announces PROGRAM to fastrouters for as long as it runs; without one, what runs at the address."
    )

    server: list[str] = many(
        "text", "announce to the subscription server at ADDRESS", short="s", metavar="ADDRESS"
    )
    key: list[str] = many(
        "text", "announce KEY, or every KEY[,MODIFIER1] in a file: @FILE", short="k", metavar="KEY"
    )
    address: str = one(
        "text", "", "the node's address, which the program listens on", short="a", metavar="ADDRESS"
    )
    subscribe_to: list[str] = many(
        "text",
        "announce as uWSGI's option of that name does; the options below are for what it leaves open",
        metavar="SUBSCRIPTION",
    )
    subscribe2: list[str] = many(
        "text",
        "announce as uWSGI's option of that name does, server=,key=,addr=,...; the same holds",
        metavar="KEYVAL",
    )
    modifier1: int = one("integer(0, 255)", 0, "announce modifier1 N", metavar="N")
    modifier2: int = one("integer(0, 255)", 0, "announce modifier2 N", metavar="N")
    weight: int = one("integer(1, 65535)", 1, "announce weight N", metavar="N")
    backup: int = one("integer(0, 65535)", 0, "announce backup level N", metavar="N")
    algo: str = one(f"choice({', '.join(ALGORITHMS)})", "", "ask for this balancing", metavar="NAME")
    max_conns: int = one("integer", 0, "ask for N requests at a time at most", metavar="N")
    fd_passing: bool = one(
        "flag", False, "say that the program takes clients' descriptors on its UNIX socket"
    )
    keepalive: bool = one(
        "flag", False, "say that the program leaves connections open after its answers, for more requests"
    )
    cores: int = one("integer", 0, "say that there are N cores", metavar="N")
    sign: SigningKey | None = one(
        "signing_key",
        None,
        "sign with the private key in FILE; DIGEST is that of the server's subscriptions-sign-check",
        metavar="DIGEST:FILE",
    )
    signer: str = one("text", "", "what that key is called at the server, if not like KEY", metavar="NAME")
    notify: str = one("text", "", "ask for acknowledgements on the UNIX datagram socket PATH", metavar="PATH")
    check: str = one("text", "", "announce only while FILE exists", metavar="FILE")
    freq: int = one("integer(1)", 10, "announce every SECONDS", metavar="SECONDS")
    ping: bool = one("flag", False, "announce only while the node answers uwsgi's ping, not just accepts")
    check_timeout: int = one("count", 3, "seconds in which it has to", metavar="SECONDS")
    shared: bool = one(
        "flag",
        False,
        "something may accept at the address before the program does, as with socket activation;"
        " otherwise that is an error",
    )
    drain: int = one(
        "integer",
        2,
        "at the end, leave SECONDS between asking for no more requests and passing the signal on",
        metavar="SECONDS",
    )

    def subscriptions(self) -> list[Subscription]:
        """What is to be announced. Raises SubscriberError."""
        sign = self.sign
        if self.signer:
            if sign is None:
                raise SubscriberError("signer says nothing without sign")
            sign = replace(sign, signer=self.signer)
        if bool(self.server) != bool(self.key):
            raise SubscriberError("expected both --server and --key")
        made = [
            Subscription(
                server,
                key="" if key.startswith("@") else key,
                mapping=key[1:] if key.startswith("@") else "",
            )
            for server in self.server
            for key in self.key
        ]
        made += parse_subscriptions(self.subscribe_to, self.subscribe2)
        if not made:
            raise SubscriberError("there is nothing to announce: give --server and --key")
        return [self._completed(subscription, sign) for subscription in made]

    def _completed(self, subscription: Subscription, sign: SigningKey | None) -> Subscription:
        name = subscription.key or subscription.mapping
        if subscription.shared or subscription.socket:
            raise SubscriberError(f"{name}: there are no sockets here, only an address to announce")
        if not (subscription.address or self.address):
            raise SubscriberError(f"{name}: expected --address")
        said = subscription.traits
        traits = said._replace(
            modifier1=said.modifier1 or self.modifier1,
            modifier2=said.modifier2 or self.modifier2,
            weight=said.weight if subscription.has_weight else self.weight,
            backup=said.backup or self.backup,
            algorithm=said.algorithm or self.algo,
            max_conns=said.max_conns or self.max_conns,
        )
        return replace(
            subscription,
            address=subscription.address or self.address,
            traits=traits,
            has_weight=True,
            sign=subscription.sign or sign,
            check=subscription.check or self.check,
        )
