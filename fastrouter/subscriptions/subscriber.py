"""The announcing side: what ``subscribe-to`` and ``subscribe2`` say, and the announcements they make."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fastrouter.wire.announcement import Announcement
from fastrouter.wire.keyval import parse_keyval
from fastrouter.wire.request import decimal
from fastrouter.wire.signing_key import SigningError, SigningKey, parse_signing
from fastrouter.wire.traits import PLAIN, Traits

__all__ = ["SubscriberError", "Subscription", "parse_subscriptions"]


class SubscriberError(ValueError):
    """A subscription that cannot be understood; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One key, or one file of keys, announced to one subscription server."""

    server: str
    key: str = ""
    mapping: str = ""
    """A file with ``KEY[,MODIFIER1]`` lines, read anew for every round."""
    address: str = ""
    """Empty: that of the socket."""
    socket: int = 0
    shared: bool = False
    """The socket is a shared one, counted among those."""
    traits: Traits = PLAIN
    has_weight: bool = False
    """The weight of the traits is said; otherwise it is for the one who announces."""
    more: tuple[tuple[str, str], ...] = ()
    sign: SigningKey | None = None
    check: str = ""
    """A file without which nothing is announced."""

    def announcements(self, template: Announcement) -> Iterator[Announcement]:
        """What to send now. template has the address, and what all announcements share.

        Raises OSError when the mapping file cannot be read.
        """
        theirs, ours = template.traits, self.traits
        traits = theirs._replace(
            weight=ours.weight if self.has_weight else theirs.weight,
            backup=ours.backup,
            algorithm=ours.algorithm,
            max_conns=ours.max_conns,
        )
        common = replace(template, traits=traits, more=self.more)
        if not self.mapping:
            yield replace(common, key=self.key)
            return
        with open(self.mapping, encoding="utf-8", errors="surrogateescape") as file:
            for line in file.read().splitlines():
                if line and not line.startswith("#"):
                    key, _, modifier1 = line.partition(",")
                    number = decimal(modifier1.encode()) & 0xFF if modifier1 else traits.modifier1
                    yield replace(common, key=key, traits=traits._replace(modifier1=number))


def parse_subscriptions(subscribe_to: Sequence[str], subscribe2: Sequence[str]) -> list[Subscription]:
    """Read the options' values, in the order in which uWSGI announces them. Raises SubscriberError."""
    return [_subscribe_to(text) for text in subscribe_to] + [_subscribe2(text) for text in subscribe2]


def _subscribe_to(text: str) -> Subscription:
    """``[NAME=|=N=]SERVER:KEY[,MODIFIER1]`` or ``...SERVER:@FILE``."""
    address, socket, shared, rest = "", 0, False, text
    if text.startswith("="):
        number, equals, rest = text[1:].partition("=")
        if not equals or not number.isdecimal():
            raise SubscriberError("expected =N= with the number of a shared socket")
        socket, shared = int(number), True
    elif "=" in text:
        address, _, rest = text.partition("=")
    server, key = _split_server(rest)
    base = Subscription(server, address=address, socket=socket, shared=shared)
    if key.startswith("@"):
        return replace(base, mapping=key[1:])
    key, _, modifiers = key.partition(",")
    modifier1, comma, signing = modifiers.partition(",")
    if not key:
        raise SubscriberError("expected SERVER:KEY")
    sign = _signing(signing) if comma else None
    return replace(base, key=key, traits=Traits(_digits(modifier1)), sign=sign)


def _split_server(text: str) -> tuple[str, str]:
    if text.startswith("/"):
        server, colon, key = text.partition(":")
    else:
        bracket = text.find("]") + 1
        port_at = text.find(":", bracket)
        end = text.find(":", port_at + 1)
        server, colon, key = text[:end], ":" if port_at > 0 and end > 0 else "", text[end + 1 :]
    if not colon or not server:
        raise SubscriberError("expected SERVER:KEY, with SERVER as HOST:PORT or the path of a UNIX socket")
    return server, key


_MORE = ("vassal", "sni_key", "sni_crt", "sni_ca", "proto", "inactive")
"""Of subscribe2: what is announced for the sake of other routers, in the order in which uWSGI 2.1 does."""

_KNOWN = frozenset(
    {"server", "key", "socket", "addr", "address", "modifier1", "modifier2", "check"}
    | {"weight", "backup", "algo", "max_conns", "sign", "signer"}
)


def _subscribe2(text: str) -> Subscription:
    values = parse_keyval(text)
    for name in values.keys() - _KNOWN - set(_MORE):
        raise SubscriberError(f"there is no {name!r} in subscribe2")
    if not values.get("server") or not values.get("key"):
        raise SubscriberError("expected server=ADDRESS,key=KEY")
    key = values["key"]
    sign = _signing(values["sign"]) if "sign" in values else None
    if "signer" in values:
        if sign is None:
            raise SubscriberError("signer says nothing without sign=DIGEST:FILE")
        sign = replace(sign, signer=values["signer"])
    return Subscription(
        server=values["server"],
        key="" if key.startswith("@") else key,
        mapping=key[1:] if key.startswith("@") else "",
        address=values.get("addr", values.get("address", "")) if "socket" not in values else "",
        socket=_digits(values.get("socket", "")),
        traits=Traits(
            _digits(values.get("modifier1", "")),
            _digits(values.get("modifier2", "")),
            _digits(values.get("weight", "1")),
            _digits(values.get("backup", "")),
            _digits(values.get("max_conns", "")),
            values.get("algo", ""),
        ),
        has_weight="weight" in values,
        more=tuple((name, values[name]) for name in _MORE if name in values),
        sign=sign,
        check=values.get("check", ""),
    )


def _signing(text: str) -> SigningKey:
    try:
        return parse_signing(text)
    except SigningError as error:
        raise SubscriberError(str(error)) from None


def _digits(text: str) -> int:
    if text and not (text.isascii() and text.isdecimal()):
        raise SubscriberError(f"expected a whole number, not {text!r}")
    return int(text or 0)
