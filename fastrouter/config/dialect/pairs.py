"""The (name, value, origin) pairs that configurations are made of before they are checked."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

__all__ = ["ConfigError", "Origin", "Pair", "comment_hint", "is_misspelt", "unknown", "why_unreadable"]

_COMMENT = re.compile(r"\s[;#]")


class Origin(NamedTuple):
    """Where a pair was written."""

    source: str
    """A file's name, ``command line`` or ``environment``."""
    line: int = 0
    """From 1; 0 where there are no lines."""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


class Pair(NamedTuple):
    name: str
    value: str
    origin: Origin


class ConfigError(Exception):
    """The configuration cannot be used. The messages say where, which option, and what was expected."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def comment_hint(value: str) -> str:
    """What to add to a complaint about a value that may have a comment in it."""
    return "; a comment needs a line of its own" if _COMMENT.search(value) else ""


def why_unreadable(error: OSError | ValueError) -> str:
    """In words; a path with a NUL byte is no OSError."""
    return (error.strerror or "") if isinstance(error, OSError) else str(error)


def is_misspelt(name: str, names: Iterable[str]) -> bool:
    """Whether a name is one of names but for a letter or two, rather than one that somebody has made up."""
    return len(name) >= _LEAST and bool(get_close_matches(name, names, n=1, cutoff=0.85))


_LEAST = 6
"""Letters; of a shorter name, one letter makes another word."""


def unknown(name: str, names: Iterable[str]) -> str:
    """What to say about a name that is not one of names: that, and the nearest one that is."""
    near = get_close_matches(name, names, n=1, cutoff=0.7)
    return f"there is no such option; did you mean {near[0]}?" if near else "there is no such option"
