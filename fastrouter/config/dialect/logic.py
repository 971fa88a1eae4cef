"""The ``for`` and ``if`` blocks of a configuration.

Conditions are looked at while the file is read, so they see only what comes before them. Blocks do not nest.
"""

import glob
import os
import platform
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from fastrouter.config.dialect.pairs import ConfigError, Pair, why_unreadable

__all__ = ["ENDS", "LOGIC", "Block", "Seen", "is_logic", "open_block"]

ENDS = frozenset({"end", "endfor", "end-for", "endif", "end-if"})

_LOOPS = frozenset({"for", "for-glob", "for-times", "for-readline"})
_ALIASES = {
    "ifenv": "if-env",
    "ifexists": "if-exists",
    "ifdir": "if-dir",
    "if-directory": "if-dir",
    "ifplugin": "if-plugin",
}


class Seen(NamedTuple):
    """What conditions may look at, beside the machine."""

    pairs: list[Pair]
    """Those that come before."""
    is_reload: bool
    """The program is to be replaced by itself."""


class Block:
    """Collects the pairs between a beginning and an end. items is what ``%(_)`` stands for, once each."""

    def __init__(self, start: Pair, items: list[str | None]) -> None:
        self.start = start
        self._items = items
        self._pairs: list[Pair] = []

    def add(self, pair: Pair) -> None:
        """Raises ConfigError for a block in the block."""
        if is_logic(pair.name):
            raise ConfigError(
                f"{pair.origin}: {pair.name}: blocks do not nest, "
                f"and {self.start.name} of {self.start.origin} is open"
            )
        self._pairs.append(pair)

    def pairs(self) -> Iterable[Pair]:
        """The pairs that the block stands for: the first pair for all items, then the second, as in uWSGI."""
        for pair in self._pairs:
            for item in self._items:
                yield pair if item is None else pair._replace(value=pair.value.replace("%(_)", item))


def is_logic(name: str) -> bool:
    return name in LOGIC


def open_block(pair: Pair, seen: Seen) -> Block:
    """Begin the block that pair opens. Raises ConfigError."""
    if pair.name in _LOOPS:
        return Block(pair, list(_items(pair)))
    condition = _condition(pair.name)
    assert condition is not None
    test, wanted = condition
    holds, item = test(pair.value, seen)
    return Block(pair, [item if wanted else None] if holds is wanted else [])


def _items(pair: Pair) -> Iterable[str]:
    match pair.name:
        case "for":
            return pair.value.split()
        case "for-glob":
            return sorted(glob.glob(pair.value))
        case "for-times":
            if not pair.value.isdecimal():
                raise ConfigError(f"{pair.origin}: for-times = {pair.value}: expected a whole number")
            return map(str, range(1, int(pair.value) + 1))
    try:
        with open(pair.value, encoding="utf-8", errors="surrogateescape") as file:
            return [line.rstrip("\r\n") for line in file]
    except (OSError, ValueError) as error:
        raise ConfigError(f"{pair.origin}: for-readline = {pair.value}: {why_unreadable(error)}") from None


_Test = Callable[[str, Seen], tuple[bool, str]]


def _condition(name: str) -> tuple[_Test, bool] | None:
    """The test behind ``if-NAME`` or ``if-not-NAME``, and what it has to say for the block to count."""
    name = _ALIASES.get(name, name)
    if name.startswith("if-not-"):
        wanted, kind = False, name.removeprefix("if-not-")
    elif name.startswith("if-"):
        wanted, kind = True, name.removeprefix("if-")
    else:
        return None
    test = _TESTS.get(kind)
    return (test, wanted) if test else None


def _env(value: str, seen: Seen) -> tuple[bool, str]:
    name, equals, wanted = value.partition("=")
    found = os.environ.get(name)
    return (found is not None and (not equals or found == wanted)), found or ""


def _opt(value: str, seen: Seen) -> tuple[bool, str]:
    name, equals, wanted = value.partition("=")
    values = [pair.value for pair in seen.pairs if pair.name == name.strip()]
    holds = any(not equals or found == wanted.strip() for found in values)
    return holds, (wanted.strip() if equals else values[0]) if holds else ""


def _hostname_match(value: str, seen: Seen) -> tuple[bool, str]:
    try:
        return re.search(value, platform.node()) is not None, platform.node()
    except re.error as error:
        raise ConfigError(f"if-hostname-match = {value}: {error}") from None


_TESTS: dict[str, _Test] = {
    "env": _env,
    "opt": _opt,
    "exists": lambda value, seen: (os.path.exists(value), value),
    "file": lambda value, seen: (os.path.isfile(value), value),
    "dir": lambda value, seen: (os.path.isdir(value), value),
    # There are no plugins: what uWSGI has them for is built in, and named here so that old files go on.
    "plugin": lambda value, seen: (value in ("fastrouter", "corerouter", "python", "python3"), value),
    "reload": lambda value, seen: (seen.is_reload, value),
    "hostname": lambda value, seen: (platform.node() == value, value),
    "hostname-match": _hostname_match,
}

LOGIC = _LOOPS | _ALIASES.keys() | {f"if-{negation}{kind}" for kind in _TESTS for negation in ("", "not-")}
"""The names of everything that opens a block."""
