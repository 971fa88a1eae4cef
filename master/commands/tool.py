"""What the commands that look into things have in common: their command line, and how they fail."""

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from fastrouter.config.dialect.pairs import ConfigError
from fastrouter.config.tool import parse_tool
from fastrouter.options.declaration import Group
from fastrouter.output import printing
from fastrouter.reference.help import tool_help
from fastrouter.reference.version import version

__all__ = ["WRONG_USAGE", "run_tool"]

WRONG_USAGE = 2
"""Exit code for a command line that is wrong, and for what is not there to be looked into."""

_G = TypeVar("_G", bound=Group)


def run_tool(
    group: type[_G],
    arguments: Sequence[str] | None,
    work: Callable[[_G, Sequence[str]], int],
    failures: tuple[type[Exception], ...] = (),
) -> int:
    """Do work with the options and the other words of a command line. Returns the exit code.

    failures are the exceptions that are told in one line, beside ConfigError.
    """
    told: tuple[type[Exception], ...] = (ConfigError, *failures)
    try:
        options, commands, words = parse_tool(group, sys.argv[1:] if arguments is None else arguments)
        return printing(lambda: _answer(group, commands) if commands else work(options, words))
    except told as error:
        print(f"{group.USAGE.partition(' ')[0]}: {error}", file=sys.stderr)
        return WRONG_USAGE


def _answer(group: type[Group], commands: set[str]) -> int:
    print(tool_help(group) if "help" in commands else version())
    return 0
