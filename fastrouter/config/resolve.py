"""From pairs to typed options: every name known, every value of its type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from fastrouter.config.collect import collect
from fastrouter.config.commandline import Syntax
from fastrouter.config.expand import Expander
from fastrouter.config.option import NONE, OPTIONAL, REQUIRED, Option, check, declared
from fastrouter.config.pairs import ConfigError, Origin, Pair, unknown
from fastrouter.config.verify import verify
from fastrouter.options import Options, all_options

__all__ = ["COMMANDS", "Configuration", "foreign_options", "load", "syntax"]

COMMANDS = {
    "help": "print this list and exit",
    "version": "print the version and exit",
    "check": "check the configuration, print it with the origin of each value, and exit",
}
"""What asks for something other than to run."""

_DIRECTIVES = {
    "ini": REQUIRED,
    "include": REQUIRED,
    "inherit": REQUIRED,
    "set": REQUIRED,
    "set-placeholder": REQUIRED,
    "set-ph": REQUIRED,
    "if-env": REQUIRED,
    "if-opt": REQUIRED,
    "if-exists": REQUIRED,
    "if-file": REQUIRED,
    "if-dir": REQUIRED,
    "for": REQUIRED,
    "for-glob": REQUIRED,
    "for-times": REQUIRED,
    "for-readline": REQUIRED,
    "endif": OPTIONAL,
    "endfor": OPTIONAL,
}

_UNSUPPORTED = {
    "fastrouter": "not supported by this version",
    "fastrouter-emperor-socket": "not supported, because there is no emperor here whom to ask for instances",
    "fastrouter-defer-connect-timeout": "not supported, because there is no emperor here to wait for",
    "subscription": "not supported by this version",
    "cache-udp-node": "not supported, because caches are not replicated by datagrams here",
    "cache-udp-server": "not supported, because caches are not replicated by datagrams here",
    "cache-sync": "not supported, because caches are not replicated here; cache-store outlives a restart",
    "load-file-in-cache-gzip": "not supported; give load-file-in-cache a compressed file",
    "http": "there is no HTTP router here; put nginx in front",
    "https": "there is no HTTPS router here; put nginx in front",
    "rawrouter": "there is no raw router here",
    "sslrouter": "there is no SSL router here",
    "forkptyrouter": "there is no pseudo-terminal router here",
    "forkptyurouter": "there is no pseudo-terminal router here",
    "tuntap": "there is no tun/tap router here",
    "emperor": "there is no emperor here; use systemd, supervisord or circus",
    "chroot": "not supported here; use RootDirectory= of systemd, or a container",
    "unshare": "not supported here; use systemd, or a container",
    "xml": "configurations are ini files here",
    "xmlconfig": "configurations are ini files here",
    "yaml": "configurations are ini files here",
    "yml": "configurations are ini files here",
    "json": "configurations are ini files here",
    "js": "configurations are ini files here",
    "config": "configurations are ini files here",
}
"""Options of uWSGI, by their first words, that cannot be passed over: something else would be served."""


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


@cache
def foreign_options() -> dict[str, str]:
    """Options of uWSGI that this program does not have, and whether they take an argument."""
    text = files("fastrouter.config").joinpath("foreign.txt").read_text("utf-8")
    return dict(line.split() for line in text.splitlines() if not line.startswith("#"))


@cache
def syntax() -> Syntax:
    """The syntax of the command line, from everything that is declared."""
    options = all_options()
    arguments = dict(foreign_options()) | _DIRECTIVES | dict.fromkeys(COMMANDS, NONE)
    arguments |= {name: option.argument for name, option in options.items()}
    letters = {option.short: option.name for option in options.values() if option.short}
    return Syntax(arguments, {"h": "help", "S": "set", **letters})


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Configuration:
    """Read, expand and check everything. Raises ConfigError with all problems found."""
    collector = collect(arguments, environment, syntax())
    expander = Expander(collector.pairs, environment)
    pairs = expander.expand_all() + collector.take_inherited(expander.expand)
    configuration = _resolve(pairs, expander.used | collector.placeholders)
    configuration.options.files = collector.files
    problems = verify(configuration.options, configuration.origins)
    if problems:
        raise ConfigError(*problems)
    return configuration


def _resolve(pairs: list[Pair], placeholders: set[str]) -> Configuration:
    known = all_options()
    values: dict[str, list[Any]] = {}
    origins: dict[str, list[Origin]] = {}
    problems, ignored, commands = [], [], set()
    strict = any(pair.name == "strict" for pair in pairs)
    for pair in pairs:
        option = known.get(pair.name)
        if option is not None:
            try:
                _take(option, pair, values, origins)
            except ValueError as error:
                problems.append(f"{pair.origin}: {pair.name} = {pair.value}: expected {error}")
        elif pair.name in COMMANDS:
            commands.add(pair.name)
        elif reason := _reason_to_refuse(pair, placeholders, strict):
            problems.append(f"{pair.origin}: {pair.name}: {reason}")
        elif pair.name in foreign_options() or pair.origin.source == "environment":
            ignored.append(pair)
    if problems:
        raise ConfigError(*problems)
    return Configuration(_fill(values), origins, frozenset(commands), ignored)


def _take(option: Option, pair: Pair, values: dict[str, list[Any]], origins: dict[str, list[Origin]]) -> None:
    value = check(option, pair.value)
    if value is None:
        value = option.default
    if not option.many:
        values[option.name], origins[option.name] = [], []
    values.setdefault(option.name, []).append(value)
    origins.setdefault(option.name, []).append(pair.origin)


def _reason_to_refuse(pair: Pair, placeholders: set[str], strict: bool) -> str:
    """Why a name that is no option here cannot be passed over; empty when it can."""
    if pair.name in foreign_options():
        for end in range(len(pair.name), 0, -1):
            if (end == len(pair.name) or pair.name[end] == "-") and pair.name[:end] in _UNSUPPORTED:
                return _UNSUPPORTED[pair.name[:end]]
        return ""
    if pair.origin.source == "environment" or (pair.name in placeholders and not strict):
        return ""
    return unknown(pair.name, syntax().arguments)


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
