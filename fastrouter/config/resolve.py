"""From pairs to typed options: every name known, every value of its type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from fastrouter.config.collect import collect
from fastrouter.config.commandline import Syntax
from fastrouter.config.dialect.expand import Expander
from fastrouter.config.dialect.formats import LOADERS
from fastrouter.config.dialect.logic import ENDS, LOGIC
from fastrouter.config.dialect.pairs import ConfigError, Origin, Pair, comment_hint, is_misspelt, unknown
from fastrouter.config.effects import without_effect
from fastrouter.config.uwsgi_options import uwsgi_letters, uwsgi_options, verdict
from fastrouter.config.verify import verify
from fastrouter.options import Options, all_options
from fastrouter.options.declaration import NONE, OPTIONAL, REQUIRED, Option, check, declared

__all__ = ["COMMANDS", "Configuration", "Written", "load", "read", "reason_to_refuse", "syntax", "why_unused"]

COMMANDS = {
    "usage": "print common uses and exit",
    "help": "print this list and exit",
    "version": "print the version, and whether it is compiled, and exit",
    "check": "check the configuration, print it with the origin of each value, and exit",
}
"""What asks for something other than to run."""

_DIRECTIVES = {
    **dict.fromkeys(LOADERS, REQUIRED),
    **dict.fromkeys(("include", "inherit", "set", "set-placeholder", "set-ph"), REQUIRED),
    **dict.fromkeys(LOGIC, REQUIRED),
    **dict.fromkeys(ENDS, OPTIONAL),
    "if-reload": OPTIONAL,
    "if-not-reload": OPTIONAL,
}
"""What is followed while the configuration is read, and whether it takes an argument."""


@dataclass(slots=True)
class Configuration:
    """A checked configuration and where it came from."""

    options: Options
    origins: Mapping[str, Sequence[Origin]]
    """By option name, one for every occurrence that counts."""
    commands: frozenset[str] = frozenset()
    """Of COMMANDS."""
    ignored: Sequence[Pair] = field(default_factory=list)
    """Options of uWSGI that mean nothing here."""
    unused: Sequence[str] = ()
    """Names that are no options, and that nothing refers to: with place and the nearest option."""

    @property
    def warnings(self) -> list[str]:
        """Everything that is worth a look, and keeps nothing from running."""
        return [*self.unused, *without_effect(self.options)]


@cache
def syntax() -> Syntax:
    """The syntax of the command line, from everything that is declared."""
    options = all_options()
    arguments = dict(uwsgi_options()) | _DIRECTIVES | dict.fromkeys(COMMANDS, NONE)
    arguments |= {name: option.argument for name, option in options.items()}
    letters = {option.short: option.name for option in options.values() if option.short}
    return Syntax(arguments, {**uwsgi_letters(), "h": "usage", "S": "set", **letters}, _that_work())


def _that_work() -> frozenset[str]:
    """Names that somebody may have meant who misspelt one."""
    return frozenset({*all_options(), *_DIRECTIVES, *COMMANDS})


@dataclass(frozen=True, slots=True)
class Written:
    """What is written in files, on the command line and in the environment, expanded."""

    pairs: list[Pair]
    placeholders: set[str]
    """Names that something refers to, and that need not be options therefore."""
    files: list[str]

    @property
    def is_strict(self) -> bool:
        return any(pair.name == "strict" for pair in self.pairs)


def read(arguments: Sequence[str], environment: Mapping[str, str], is_reload: bool = False) -> Written:
    """Read and expand everything. is_reload is what ``if-reload`` asks for.

    Raises ConfigError for what cannot be read.
    """
    collector = collect(arguments, environment, syntax(), is_reload)
    expander = Expander(collector.pairs, environment)
    pairs = expander.expand_all() + collector.take_inherited(expander.expand)
    return Written(pairs, expander.used | collector.placeholders, collector.files)


def load(arguments: Sequence[str], environment: Mapping[str, str], is_reload: bool = False) -> Configuration:
    """Read, expand and check everything. Raises ConfigError with all problems found."""
    written = read(arguments, environment, is_reload)
    configuration = _resolve(written)
    configuration.options.files = written.files
    problems = verify(configuration.options, configuration.origins)
    if problems:
        raise ConfigError(*problems)
    return configuration


def _resolve(written: Written) -> Configuration:
    known = all_options()
    values: dict[str, list[Any]] = {}
    origins: dict[str, list[Origin]] = {}
    problems, ignored, unused, commands = [], [], [], set()
    for pair in written.pairs:
        option = known.get(pair.name)
        if option is not None:
            try:
                _take(option, pair, values, origins)
            except ValueError as error:
                said = f"expected {error}{comment_hint(pair.value)}"
                problems.append(f"{pair.origin}: {pair.name} = {pair.value}: {said}")
            else:
                if option.kind == "text" and not option.is_free and comment_hint(pair.value):
                    unused.append(f"{pair.origin}: {pair.name} = {pair.value}: {_COMMENT_TAKEN}")
        elif pair.name in COMMANDS:
            commands.add(pair.name)
        elif reason := reason_to_refuse(pair, written):
            problems.append(f"{pair.origin}: {pair.name}: {reason}")
        elif pair.name in uwsgi_options():
            ignored.append(pair)
        elif pair.name not in written.placeholders:
            unused.append(f"{pair.origin}: {pair.name}: {why_unused(pair)}")
    if problems:
        raise ConfigError(*problems)
    return Configuration(_fill(values), origins, frozenset(commands), ignored, unused)


_COMMENT_TAKEN = "what follows the blank is part of the value; a comment needs a line of its own"


def _take(option: Option, pair: Pair, values: dict[str, list[Any]], origins: dict[str, list[Origin]]) -> None:
    if option.kind == "flag" and comment_hint(pair.value):
        raise ValueError("true or false")
    value = check(option, pair.value)
    if value is None:
        value = option.default
    if not option.many:
        values[option.name], origins[option.name] = [], []
    values.setdefault(option.name, []).append(value)
    origins.setdefault(option.name, []).append(pair.origin)


def reason_to_refuse(pair: Pair, written: Written) -> str:
    """Why a name that is no option here cannot be passed over; empty when it can."""
    if pair.name in uwsgi_options():
        found = verdict(pair.name)
        return found.reason if found.refused else ""
    if (key := pair.name.partition(":")[0].rstrip()) != pair.name and key in syntax().arguments:
        return f"expected {key} = VALUE; there is no colon behind names in ini files"
    if pair.origin.source == "environment":
        return ""
    is_typo = pair.name not in written.placeholders and is_misspelt(pair.name, syntax().suggested)
    return unknown(pair.name, syntax().suggested) if is_typo or written.is_strict else ""


def why_unused(pair: Pair) -> str:
    """What to say about a name that is no option, and that nothing refers to."""
    said, _, near = unknown(pair.name, syntax().suggested).partition("; ")
    return "; ".join(filter(None, [f"{said}, and nothing refers to it", near]))


def _fill(values: dict[str, list[Any]]) -> Options:
    options = Options()
    for group in options.groups():
        for option in declared(type(group)):
            if option.name in values:
                found = values[option.name]
                setattr(group, option.field, found if option.many else found[-1])
    return options


def effective(configuration: Configuration) -> list[tuple[Option, Any, Origin | None]]:
    """Every option with each value that counts and its origin, None where it is the default."""
    rows: list[tuple[Option, Any, Origin | None]] = []
    for group in configuration.options.groups():
        for option in declared(type(group)):
            value = getattr(group, option.field)
            found = configuration.origins.get(option.name, ())
            if option.many:
                rows += [(option, item, origin) for item, origin in zip(value, found, strict=True)]
            else:
                rows.append((option, value, found[-1] if found else None))
    return rows
