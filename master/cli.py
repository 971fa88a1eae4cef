"""The command ``fastrouter-master``."""

import logging
import os
import sys
from collections.abc import Sequence
from functools import partial

from fastrouter.cache.definition import CacheError
from fastrouter.config.dialect.pairs import ConfigError
from fastrouter.config.resolve import Configuration, load
from fastrouter.options import Options
from fastrouter.output import printing
from fastrouter.reference.help import check_report, help_text, ignored_line, usage_text
from fastrouter.reference.version import version
from fastrouter.text import in_words
from master.control.hooks import HookError
from master.program import run
from master.reloading.former_program import run_again, who_is_who
from master.reloading.handover import Handover, HandoverError
from master.sockets import BindError

__all__ = ["main"]

log = logging.getLogger("fastrouter")

_KNOWN = (BindError, CacheError, HookError, HandoverError)
"""What may be wrong with a start, beside OSError: the message says what."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 after a normal stop, 1 for what keeps it from starting, 22 for a bad app."""
    handover = Handover.take_over(os.environ) or Handover()
    if handover.is_there and not handover.dry_run:
        return _take_the_place(handover)
    try:
        words = sys.argv[1:] if arguments is None else arguments
        configuration = load(words, os.environ, is_reload=handover.dry_run)
    except ConfigError as error:
        return _fail(*error.problems)
    if configuration.commands:
        return printing(partial(_answer, configuration))
    if not _has_work(configuration.options):
        return _fail("there is nothing to do: give a fastrouter address or an app socket, or see --help")
    if line := ignored_line(configuration):
        print(line, file=sys.stderr)
    for warning in configuration.unused:  # the others are in the log
        print(f"warning: {warning}", file=sys.stderr)
    return _run(configuration.options, handover)


def _take_the_place(handover: Handover) -> int:
    """Go on where the program before a reload has stopped. If that fails, that program runs again."""
    environment, started_in, who_was_who = dict(os.environ), os.getcwd(), who_is_who(handover)
    try:
        return run(handover.read_options(), handover)
    except Exception as error:
        if not handover.fallback:
            raise
        known = isinstance(error, _KNOWN)
        log.error("cannot go on after the reload: %s", error, exc_info=None if known else error)
        log.error("going back to the program from before the reload")
        os.chdir(started_in)
        run_again(handover, who_was_who, environment)


def _has_work(options: Options) -> bool:
    routes = any(gateway.is_there for gateway in options.gateways)
    return routes or options.app.is_served or bool(options.sockets.zergpool)


def _run(options: Options, handover: Handover) -> int:
    try:
        return run(options, handover)
    except _KNOWN as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot start: {in_words(error)}")


def _answer(configuration: Configuration) -> int:
    """Do what was asked for instead of running."""
    if "help" in configuration.commands:
        print(help_text())
    elif "usage" in configuration.commands:
        print(usage_text())
    elif "version" in configuration.commands:
        print(version())
    else:
        print(check_report(configuration))
    return 0


def _fail(*problems: str) -> int:
    for problem in problems:
        print(f"fastrouter-master: {problem}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
