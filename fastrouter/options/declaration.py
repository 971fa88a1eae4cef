"""How an option is declared: once, as a field of a dataclass, with everything that anyone wants to know.

The field's Python type is what the program sees; ``kind`` is the check that turns text into it, in the
notation of ConfigObj's validation.
"""

import dataclasses
import ipaddress
import re
from collections.abc import Iterator
from typing import Any, ClassVar

from configobj.validate import ValidateError, Validator

from fastrouter.options.capabilities import CAPABILITIES
from fastrouter.options.hook import HookSyntaxError, parse_hook, parse_touch_hook
from fastrouter.wire.signing_key import DIGEST_NAMES, SigningError, SigningKey, parse_signing

__all__ = [
    "NONE",
    "OPTIONAL",
    "REQUIRED",
    "Group",
    "MappingSource",
    "Option",
    "check",
    "declared",
    "many",
    "one",
]


@dataclasses.dataclass(frozen=True, slots=True)
class MappingSource:
    """Where a mapping function is."""

    script: str
    """A file or a module."""
    function: str

    @property
    def is_file(self) -> bool:
        return self.script.endswith(".py") or "/" in self.script


@dataclasses.dataclass(frozen=True, slots=True)
class SignCheck:
    """How signatures are checked."""

    digest: str
    directory: str
    """Of the public keys."""


REQUIRED, OPTIONAL, NONE = "required", "optional", "none"
"""Whether an option takes an argument on the command line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    name: str
    """As configurations write it, without dashes in front."""
    field: str
    kind: str
    default: Any
    help: str
    aliases: tuple[str, ...] = ()
    short: str = ""
    argument: str = REQUIRED
    metavar: str = ""
    differs: str = ""
    """What is otherwise than in uWSGI 2.0.31, if anything is: a sentence without its subject."""
    many: bool = False
    """Every occurrence counts, in order; otherwise the last one does."""

    @property
    def is_free(self) -> bool:
        """Whether a ``;`` or ``#`` may well be meant: in commands, formats and titles."""
        return self.metavar in ("COMMAND", "FORMAT", "NAME=VALUE", "TITLE", "TEXT")


@dataclasses.dataclass(slots=True)
class Group:
    """A dataclass whose fields are options; its docstring is the title in --help."""

    PREFIX: ClassVar[str] = ""
    """What the names begin with."""
    USAGE: ClassVar[str] = ""
    """How the command is called whose options these are, where they are a command's own."""
    PURPOSE: ClassVar[str] = ""
    """What that does."""


def one(kind: str, default: Any, help: str, **extra: Any) -> Any:
    """Declare an option of which the last occurrence counts."""
    return dataclasses.field(default=default, metadata={"kind": kind, "help": help, **_argument(kind, extra)})


def many(kind: str, help: str, **extra: Any) -> Any:
    """Declare an option of which every occurrence counts."""
    metadata = {"kind": kind, "help": help, "many": True, **extra}
    return dataclasses.field(default_factory=list, metadata=metadata)


def _argument(kind: str, extra: dict[str, Any]) -> dict[str, Any]:
    return {"argument": NONE, **extra} if kind == "flag" else extra


def declared(group: type[Group]) -> Iterator[Option]:
    """The options that a group declares."""
    for field in dataclasses.fields(group):
        extra = dict(field.metadata)
        if not extra:
            continue  # a gateway of another kind has an option for it
        for text in ("help", "differs"):
            extra[text] = extra.get(text, "").replace("PREFIX", group.PREFIX)
        name = extra.pop("name", None)
        if name is None:
            name = field.name.replace("_", "-")
        default = [] if extra.get("many") else field.default
        aliases = tuple(_prefixed(group, alias) for alias in extra.pop("aliases", ()))
        yield Option(_prefixed(group, name), field.name, default=default, aliases=aliases, **extra)


def _prefixed(group: type[Group], name: str) -> str:
    return "-".join(part for part in (group.PREFIX, name) if part)


def _flag(value: str) -> bool:
    return value.lower() not in ("false", "off", "no", "0")


def _integer(value: str, min: str = "0", max: str = "9223372036854775807") -> int:
    low, high = int(min), int(max)
    number = int(value) if re.fullmatch(r"-?[0-9]+", value) else None
    if number is None or not low <= number <= high:
        above = f"from {low} to {high}" if high < 2**62 else f"of at least {low}"
        raise ValidateError(f"a whole number {above}")
    return number


def _count(value: str) -> int | None:
    """A number of which 0, or nothing at all, means the default."""
    return _integer(value) or None if value else None


def _mode(value: str) -> int:
    if value in ("", "1", "true"):
        return 0o666
    if len(value) != 3 or not set(value) <= set("01234567"):
        raise ValidateError("three octal digits, such as 660")
    return int(value, 8)


def _octal(value: str) -> int:
    if not 3 <= len(value) <= 4 or not set(value) <= set("01234567"):
        raise ValidateError("three or four octal digits, such as 022")
    return int(value, 8)


def _text(value: str) -> str:
    if not value:
        raise ValidateError("a value")
    return value


def _seconds(value: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", value) or not float(value):
        raise ValidateError("a number of seconds above 0, such as 0.5")
    return float(value)


def _variable(value: str) -> tuple[str, str]:
    name, equals, text = value.partition("=")
    if not name or not equals:
        raise ValidateError("NAME=VALUE")
    return name, text


def _choice(value: str, *choices: str) -> str:
    if value not in choices:
        raise ValidateError(f"one of: {', '.join(choices)}")
    return value


def _string(value: str) -> str:
    return value


def _position(value: str) -> int:
    """A number from 0, which is also what an option without a value means."""
    return 0 if value in ("", "true") else _integer(value)


def _mapping(value: str) -> MappingSource:
    plugin, _, rest = value.partition(":")
    script, _, function = rest.rpartition(":")
    if not script or not function:
        raise ValidateError("0:SCRIPT.py:FUNCTION or 0:MODULE:FUNCTION")
    if plugin != "0":
        raise ValidateError("0 before the first colon: mapping functions are in Python here")
    return MappingSource(script, function)


def _sign_check(value: str) -> SignCheck:
    digest, _, directory = value.partition(":")
    if digest.upper() not in DIGEST_NAMES or not directory:
        raise ValidateError(f"DIGEST:DIRECTORY, DIGEST one of {', '.join(DIGEST_NAMES)}")
    return SignCheck(digest.upper(), directory)


def _signing_key(value: str) -> SigningKey:
    try:
        return parse_signing(value)
    except SigningError as error:
        raise ValidateError(str(error).removeprefix("expected ")) from None


def _hook(value: str) -> str:
    try:
        parse_hook(value)
    except HookSyntaxError as error:
        raise ValidateError(str(error)) from None
    return value


def _touch_hook(value: str) -> str:
    try:
        parse_touch_hook(value)
    except HookSyntaxError as error:
        raise ValidateError(str(error)) from None
    return value


def _mount(value: str) -> str:
    path, _, application = value.partition("=")
    if not path.startswith("/") or not application:
        raise ValidateError(
            "/PATH=FILE or /PATH=MODULE[:CALLABLE]; hosts are the web server's and the router's"
        )
    return value


def _protocol(value: str) -> str:
    if value != "uwsgi":
        raise ValidateError("uwsgi, the only protocol of app workers; put nginx in front for HTTP")
    return value


def _peer(value: str) -> str:
    if value != "unix":
        try:
            ipaddress.ip_network(value)
        except ValueError as error:
            raise ValidateError(f"a network such as 10.0.0.0/8, or unix: {error}") from None
    return value


def _capabilities(value: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower().removeprefix("cap_") for name in value.split(","))
    for name in names:
        if name not in CAPABILITIES:
            raise ValidateError(f"names of capabilities (capabilities(7)), but there is no {name!r}")
    return names


_VALIDATOR = Validator(
    {
        "hook": _hook,
        "touch_hook": _touch_hook,
        "protocol": _protocol,
        "capabilities": _capabilities,
        "peer": _peer,
        "flag": _flag,
        "integer": _integer,
        "count": _count,
        "mode": _mode,
        "mount": _mount,
        "octal": _octal,
        "text": _text,
        "seconds": _seconds,
        "variable": _variable,
        "choice": _choice,
        "string": _string,
        "position": _position,
        "mapping": _mapping,
        "sign_check": _sign_check,
        "signing_key": _signing_key,
    }
)


def check(option: Option, value: str) -> Any:
    """Turn text into the option's value; None stands for its default.

    Raises ValueError whose text is what was expected.
    """
    try:
        return _VALIDATOR.check(option.kind, value)
    except ValidateError as error:
        raise ValueError(str(error)) from None
