"""The command lines of the smaller commands: the options of one group each, and words."""

from collections.abc import Sequence
from typing import TypeVar

from fastrouter.config.commandline import Syntax, parse
from fastrouter.config.dialect.pairs import ConfigError
from fastrouter.options.declaration import NONE, Group, check, declared

__all__ = ["COMMANDS", "parse_tool"]

COMMANDS = {
    "help": "print this list and exit",
    "version": "print the version, and whether it is compiled, and exit",
}
"""What asks for something other than what the command is for."""

_G = TypeVar("_G", bound=Group)


def parse_tool(group: type[_G], words: Sequence[str]) -> tuple[_G, set[str], list[str]]:
    """The options, which of COMMANDS are asked for, and the other words. Raises ConfigError."""
    known = {option.name: option for option in declared(group)}
    letters = {option.short: name for name, option in known.items() if option.short}
    arguments = {name: option.argument for name, option in known.items()} | dict.fromkeys(COMMANDS, NONE)
    pairs, more = parse(words, Syntax(arguments, {"h": "help", **letters}, arguments))
    options = group()
    for pair in pairs:
        option = known.get(pair.name)
        if option is None:
            continue
        try:
            value = check(option, pair.value)
        except ValueError as error:
            raise ConfigError(f"--{pair.name} {pair.value}: expected {error}") from None
        if option.many:
            getattr(options, option.field).append(value)
        else:
            setattr(options, option.field, option.default if value is None else value)
    return options, {pair.name for pair in pairs} & set(COMMANDS), list(more)
