"""The three passes over all pairs: ``$(ENVIRONMENT)``, ``@(file)`` and ``%(placeholder)``, in this order."""

import re
from collections.abc import Mapping

from fastrouter.config.dialect.pairs import ConfigError, Pair, why_unreadable

__all__ = ["Expander"]

_ENVIRONMENT = re.compile(r"\$\(([^()]*?)\)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*:?")
_FILE = re.compile(r"@\(([^()]*?)\)")
_MAX_REPLACEMENTS = 1000
"""In one value; more can only come from a placeholder that leads back to itself."""

_PLACEHOLDER = re.compile(r"%\(([^()]*?)\)")


class Expander:
    """Replaces references; the placeholders' values are those of the pairs that it is made of."""

    def __init__(self, pairs: list[Pair], environment: Mapping[str, str]) -> None:
        self.used: set[str] = set()
        """Names that placeholders referred to."""
        self._environment = environment
        self._pairs = [
            _with_contents(pair._replace(value=self._with_environment(pair.value))) for pair in pairs
        ]
        self._values: dict[str, str] = {}
        for pair in self._pairs:
            self._values.setdefault(pair.name, pair.value)

    def expand_all(self) -> list[Pair]:
        """The pairs with all references replaced. Raises ConfigError for a file that cannot be read."""
        return [
            pair._replace(value=_placeholders(pair.value, self._values, self.used)) for pair in self._pairs
        ]

    def expand(self, text: str) -> str:
        """A text that is no pair of these, the name of a file for instance."""
        return _placeholders(self._with_environment(text), self._values, self.used)

    def _with_environment(self, text: str) -> str:
        return _ENVIRONMENT.sub(lambda match: _variable(match, self._environment), text)


def _variable(match: re.Match[str], environment: Mapping[str, str]) -> str:
    """A variable's value; ``NAME:-default`` and ``NAME-default`` as in uWSGI 2.1. An unset one stays."""
    name, dash, default = match[1].partition("-")
    if not _NAME.fullmatch(name):
        dash = ""  # a shell's $(command -option), in a command to run
    value = environment.get(match[1])
    if value is not None:
        return value
    if not dash:
        return match[0]
    value = environment.get(name.removesuffix(":"))
    return value if value or (value is not None and not name.endswith(":")) else default


def _with_contents(pair: Pair) -> Pair:
    def contents(match: re.Match[str]) -> str:
        try:
            with open(match[1], encoding="utf-8", errors="surrogateescape") as file:
                return file.read().removesuffix("\n")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{pair.origin}: {pair.name} = {match[0]}: {why_unreadable(error)}") from None

    return pair._replace(value=_FILE.sub(contents, pair.value))


def _placeholders(text: str, values: Mapping[str, str], used: set[str]) -> str:
    """Replace placeholders, also those that a replacement brings, but not one that it begins with."""
    at = replaced = 0
    while match := _PLACEHOLDER.search(text, at):
        value = _evaluate(match[1], values, used)
        if value is None:
            at = match.start() + 1
            continue
        text = text[: match.start()] + value + text[match.end() :]
        at = match.start() + 1
        replaced += 1
        if replaced > _MAX_REPLACEMENTS:
            raise ConfigError(f"%({match[1]}) refers to itself")
    return text


def _evaluate(expression: str, values: Mapping[str, str], used: set[str]) -> str | None:
    tokens = expression.split(" ")
    if len(tokens) == 1:
        if expression in values:
            used.add(expression)
        return values.get(expression)
    result = ""
    operator = ""
    for token in filter(None, tokens):
        if token in ("+", "-", "*", "/"):
            operator = token
        elif token in ("++", "--"):
            result = str(_number(result) + (1 if token == "++" else -1))
        else:
            used.add(token)
            value = token if token.isdigit() else values.get(token, "")
            result = _apply(operator, result, value)
            operator = ""
    return result


def _apply(operator: str, left: str, right: str) -> str:
    if not operator:
        return left + right
    a, b = _number(left), _number(right)
    match operator:
        case "+":
            return str(a + b)
        case "-":
            return str(a - b)
        case "*":
            return str(a * b)
    return str(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)) if b else "0"


def _number(text: str) -> int:
    match = re.match(r"\s*-?\d+", text)
    return int(match[0]) if match else 0
