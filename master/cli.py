"""The command ``fastrouter-master``."""

import os
import sys
from collections.abc import Sequence

from fastrouter import __version__
from fastrouter.cache.definition import CacheError
from fastrouter.config.pairs import ConfigError
from fastrouter.config.report import check_report, help_text, ignored_line
from fastrouter.config.resolve import Configuration, load
from fastrouter.options import Options
from master.heritage import Heritage
from master.hooks import HookError
from master.program import run
from master.sockets import BindError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 after a normal stop, 1 for what keeps it from starting, 22 for a bad app."""
    heritage = Heritage.take_over(os.environ) or Heritage()
    if heritage.is_there and not heritage.rehearsal:
        return _run(heritage.read_options(), heritage)
    try:
        configuration = load(sys.argv[1:] if arguments is None else arguments, os.environ)
    except ConfigError as error:
        return _fail(*error.problems)
    if configuration.commands:
        return _answer(configuration)
    if not _has_work(configuration.options):
        return _fail("there is nothing to do: give a fastrouter address or an app socket, or see --help")
    if line := ignored_line(configuration):
        print(line, file=sys.stderr)
    return _run(configuration.options, heritage)


def _has_work(options: Options) -> bool:
    return options.router.is_there or options.app.is_served or bool(options.sockets.zergpool)


def _run(options: Options, heritage: Heritage) -> int:
    try:
        return run(options, heritage)
    except (BindError, CacheError, HookError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot start: {error}")


def _answer(configuration: Configuration) -> int:
    """Do what was asked for instead of running."""
    if "help" in configuration.commands:
        print(help_text())
    elif "version" in configuration.commands:
        print(__version__)
    else:
        print(check_report(configuration))
    return 0


def _fail(*problems: str) -> int:
    for problem in problems:
        print(f"fastrouter-master: {problem}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
