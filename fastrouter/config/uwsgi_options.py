"""Options of uWSGI that are no options here: which of them cannot be passed over, and why the others can.

uwsgi_options.txt has their names, reasons.txt what is to be said of them, by their first words.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

__all__ = ["Verdict", "uwsgi_letters", "uwsgi_options", "verdict"]


class Verdict(NamedTuple):
    """What becomes of an option that is none here."""

    refused: bool
    """To pass it over would change what is served."""
    reason: str
    """What it belongs to, and what to use instead."""


@cache
def uwsgi_options() -> Mapping[str, str]:
    """All of them, and whether they take an argument."""
    return {
        name: heads[0]
        for heads, text in _blocks("uwsgi_options.txt")
        if heads != ["letters"]
        for name in text.split()
    }


@cache
def uwsgi_letters() -> Mapping[str, str]:
    """Options whose name of one letter uWSGI knows and no declaration here, by that letter."""
    (letters,) = (text for heads, text in _blocks("uwsgi_options.txt") if heads == ["letters"])
    return dict(pair.split(":") for pair in letters.split())


def verdict(name: str) -> Verdict:
    """On an option of uWSGI's: that of the longest beginning of its name that ends where a word does."""
    reasons = _reasons()
    for end in range(len(name), 0, -1):
        if (end == len(name) or name[end] == "-") and name[:end] in reasons:
            return reasons[name[:end]]
    raise KeyError(name)


@cache
def _reasons() -> Mapping[str, Verdict]:
    found = {}
    for heads, reason in _blocks("reasons.txt"):
        for head in heads:
            kind, *names = head.split()
            found.update(dict.fromkeys(names, Verdict(kind == "refused", reason)))
    return found


def _blocks(name: str) -> Iterator[tuple[list[str], str]]:
    """The blocks of a file: lines at the margin, and the indented text below them."""
    heads: list[str] = []
    body: list[str] = []
    for line in files("fastrouter.config").joinpath(name).read_text("utf-8").splitlines():
        if line.startswith(" "):
            body.append(line.strip())
        elif line and not line.startswith("#"):
            if body:
                yield heads, " ".join(body)
                heads, body = [], []
            heads.append(line)
    yield heads, " ".join(body)
