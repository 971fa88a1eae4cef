"""The command line in uWSGI's spellings.

``--opt value``, ``--opt=value``, unambiguous abbreviations, and the one-letter options, alone or in a row.
An optional argument needs the ``=``. What has no dash in front is a configuration file.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fastrouter.config.dialect.pairs import ConfigError, Origin, Pair, unknown
from fastrouter.options.declaration import NONE, OPTIONAL, REQUIRED

__all__ = ["COMMAND_LINE", "Syntax", "parse"]

COMMAND_LINE = Origin("command line")


@dataclass(frozen=True, slots=True)
class Syntax:
    """What the parser has to know: which options take an argument, and the one-letter names."""

    arguments: Mapping[str, str]
    """REQUIRED, OPTIONAL or NONE by option name."""
    letters: Mapping[str, str]
    """Option names by letter."""
    suggested: Collection[str]
    """Names that may have been meant by one that is wrong."""


def parse(arguments: Sequence[str], syntax: Syntax) -> tuple[list[Pair], list[str]]:
    """Split a command line in options and configuration files. Raises ConfigError."""
    pairs: list[Pair] = []
    files: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            files += rest
            break
        if word.startswith("--"):
            pairs.append(_long(word[2:], rest, syntax))
        elif word.startswith("-") and len(word) > 1:
            pairs += _letters(word[1:], rest, syntax)
        else:
            files.append(word)
    return pairs, files


def _long(word: str, rest: list[str], syntax: Syntax) -> Pair:
    typed, equals, value = word.partition("=")
    name = _complete(typed, syntax)
    takes = syntax.arguments[name]
    if equals:
        if takes == NONE:
            raise ConfigError(f"command line: --{name} takes no argument, but {value!r} follows it")
        return Pair(name, value, COMMAND_LINE)
    return Pair(name, _argument(f"--{name}", rest) if takes == REQUIRED else "", COMMAND_LINE)


def _letters(word: str, rest: list[str], syntax: Syntax) -> list[Pair]:
    pairs = []
    while word:
        letter, word = word[0], word[1:]
        name = syntax.letters.get(letter)
        if name is None:
            raise ConfigError(f"command line: unknown option -{letter}")
        takes = syntax.arguments[name]
        value = ""
        if takes in (REQUIRED, OPTIONAL):
            value, word = word, ""
            if not value and takes == REQUIRED:
                value = _argument(f"-{letter}", rest)
        pairs.append(Pair(name, value, COMMAND_LINE))
    return pairs


def _argument(option: str, rest: list[str]) -> str:
    if not rest:
        raise ConfigError(f"command line: {option} needs an argument")
    return rest.pop(0)


def _complete(typed: str, syntax: Syntax) -> str:
    """The one option that typed names or abbreviates; the name as typed when there is none."""
    if typed in syntax.arguments:
        return typed
    names = sorted(name for name in syntax.arguments if name.startswith(typed))
    if len(names) == 1:
        return names[0]
    if names:
        raise ConfigError(f"command line: --{typed} is ambiguous: --{', --'.join(names[:6])}")
    raise ConfigError(f"{COMMAND_LINE}: --{typed}: {unknown(typed, syntax.suggested)}")
