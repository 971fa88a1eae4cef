"""Putting the pairs of all sources in the order in which they count.

As in uWSGI: the environment, then the command line with configuration files in the place where they are
named, then the bare file names, then whatever is inherited.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence

from fastrouter.config.commandline import Syntax, parse
from fastrouter.config.dialect.formats import LOADERS, format_of, read_text
from fastrouter.config.dialect.ini import read_ini
from fastrouter.config.dialect.logic import ENDS, Block, Seen, is_logic, open_block
from fastrouter.config.dialect.magic import Magic
from fastrouter.config.dialect.pairs import ConfigError, Origin, Pair, why_unreadable

__all__ = ["Collector", "collect"]

_MAX_DEPTH = 32
"""Files within files. uWSGI has no limit and ends in a stack overflow when a file includes itself."""

_PLACEHOLDER_SETTERS = frozenset({"set", "set-placeholder", "set-ph"})

# Variables that uWSGI passes to its own children; they are not options.
_NOT_OPTIONS = frozenset(
    {
        "UWSGI_RELOADS",
        "UWSGI_VASSALS_DIR",
        "UWSGI_EMPEROR_FD",
        "UWSGI_EMPEROR_FD_CONFIG",
        "UWSGI_EMPEROR_PROXY",
        "UWSGI_BROODLORD_NUM",
        "UWSGI_JAIL_PID",
        "UWSGI_ORIGINAL_PROC_NAME",
    }
)


# In uWSGI, %s in a file is the file's name, and a pattern has to say %%s; it is never meant there.
_PATTERN_LINE = re.compile(r"^[ \t]*[a-z]+-use-(?:pattern|base)[ \t]*=.*$", re.MULTILINE)


def _keep_key(line: re.Match[str]) -> str:
    return re.sub(r"(?<!%)%s", "%%s", line[0])


def collect(
    arguments: Sequence[str], environment: Mapping[str, str], syntax: Syntax, is_reload: bool
) -> "Collector":
    """Read all sources. Raises ConfigError."""
    collector = Collector(is_reload)
    for variable in environment:
        if variable.startswith("UWSGI_") and variable not in _NOT_OPTIONS:
            name = variable.removeprefix("UWSGI_").lower().replace("_", "-")
            collector.add(Pair(name, environment[variable], Origin("environment")))
    pairs, files = parse(arguments, syntax)
    for pair in pairs:
        collector.add(pair)
    for file in files:
        if not os.path.exists(file) and not os.path.exists(file.rpartition(":")[0]):
            raise ConfigError(f"command line: {file}: there is no such file")
        if not format_of(file.rpartition(":")[0] or file) and not format_of(file):
            expected = (
                "expected a configuration file whose name ends in .ini, .yaml, .yml, .json, .js or .xml"
            )
            raise ConfigError(f"command line: {file}: {expected}")
        collector.load(Pair("include", file, Origin("command line")))
    collector.end()
    return collector


class Collector:
    """The pairs so far, the files that they were read from, and the logic block that is open."""

    def __init__(self, is_reload: bool) -> None:
        self._is_reload = is_reload
        self.pairs: list[Pair] = []
        self.files: list[str] = []
        self.placeholders: set[str] = set()
        """Names that were set to be referred to, whether or not anything refers to them."""
        self._inherited: list[Pair] = []
        self._magic = Magic()
        self._block: Block | None = None
        self._depth = 0
        self._last_file = ""

    def add(self, pair: Pair) -> None:
        """Take the next pair, and follow it when it names another file or opens or closes a block."""
        if pair.name in ENDS:
            self._close_block(pair)
        elif self._block is not None:
            self._block.add(pair)
        elif is_logic(pair.name):
            self._block = open_block(pair, Seen(self.pairs, self._is_reload))
        elif pair.name in LOADERS or pair.name == "include":
            self.load(pair)
        elif pair.name in _PLACEHOLDER_SETTERS:
            self._set(pair)
        elif pair.name == "inherit":
            self._inherited.append(pair)
        else:
            self.pairs.append(pair)

    def take_inherited(self, expand: Callable[[str], str]) -> list[Pair]:
        """Read the files that were to be inherited, whose names expand makes good; returns their pairs."""
        before = len(self.pairs)
        while self._inherited:
            pair = self._inherited.pop(0)
            self.load(pair._replace(value=expand(pair.value)))
        self.end()
        return self.pairs[before:]

    def end(self) -> None:
        """No more pairs come. Raises ConfigError when a block is still open."""
        if self._block is not None:
            raise ConfigError(f"{self._block.start.origin}: {self._block.start.name} has no end")

    def load(self, pair: Pair) -> None:
        """Read the file that pair names: ``FILE``, ``FILE:SECTION`` or ``:SECTION`` of the file before.

        An option that is named for a format says that it is of that, otherwise the file's name does.
        """
        path, colon, section = pair.value.rpartition(":")
        if not colon:
            path, section = section, ""
        path = path or self._last_file
        if self._depth == _MAX_DEPTH:
            raise ConfigError(f"{pair.origin}: {pair.name} = {pair.value}: files include each other")
        try:
            text = read_text(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{pair.origin}: {pair.name} = {pair.value}: {why_unreadable(error)}") from None
        self._last_file = path
        if path not in self.files:
            self.files.append(path)
        text = _PATTERN_LINE.sub(_keep_key, text)
        text = self._magic.replace(text, path, section, main=pair.name in LOADERS)
        self._depth += 1
        reader = LOADERS.get(pair.name) or LOADERS.get(format_of(path)) or read_ini
        for inner in reader(text, path, section or "uwsgi"):
            self.add(inner)
        self._depth -= 1

    def _close_block(self, pair: Pair) -> None:
        if self._block is None:
            raise ConfigError(f"{pair.origin}: {pair.name}: there is no block to end")
        block, self._block = self._block, None
        for inner in block.pairs():
            self.add(inner)

    def _set(self, pair: Pair) -> None:
        name, equals, value = pair.value.partition("=")
        if not equals:
            raise ConfigError(f"{pair.origin}: {pair.name} = {pair.value}: expected NAME=VALUE")
        if pair.name != "set":
            self.placeholders.add(name)
        self.pairs.append(Pair(name, value, pair.origin))
