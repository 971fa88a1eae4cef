"""Reading uWSGI's ini dialect with ConfigObj.

The dialect is looser than ConfigObj's: names repeat, and their order counts; a bare name is a value; ``;``
comments as ``#`` does; quotes, commas and inline comment signs are ordinary characters; sections repeat.
So every line is rewritten to one that ConfigObj reads to the same effect: names and sections are replaced
by their line numbers, values are quoted.
"""

from configobj import ConfigObj
from configobj import ConfigObjError as _ConfigObjError

from fastrouter.config.dialect.pairs import ConfigError, Origin, Pair

__all__ = ["read_ini"]


def read_ini(text: str, source: str, section: str = "uwsgi") -> list[Pair]:
    """The pairs of one section, in order; of all of its parts, when it occurs more than once.

    Raises ConfigError when there is no such section.
    """
    lines = text.split("\n")
    names: dict[str, str] = {}
    rewritten = [_rewrite(number, line, names) for number, line in enumerate(lines, 1)]
    try:
        parsed = ConfigObj(rewritten, list_values=False, interpolation=False)
    except _ConfigObjError as error:
        raise ConfigError(f"{source}: {error}") from None
    pairs = []
    found = False
    for number in parsed.sections:
        if names[number] != section:
            continue
        found = True
        for line in parsed[number].scalars:
            pairs.append(Pair(names[line], parsed[number][line], Origin(source, int(line))))
    if not found:
        sections = ", ".join(f"[{names[number]}]" for number in parsed.sections) or "none"
        raise ConfigError(f"{source}: expected a section [{section}], found {sections}")
    return pairs


def _rewrite(number: int, line: str, names: dict[str, str]) -> str:
    """One line for ConfigObj. Takes down in names what its number stands for."""
    line = line.strip(" \t\r")
    if not line or line[0] in ";#":
        return ""
    if line[0] == "[":
        names[str(number)] = line[1:-1]
        return f"[{number}]"
    name, _, value = line.partition("=")
    names[str(number)] = name.rstrip(" \t")
    value = value.strip(" \t")
    if '"""' in value and "'''" in value:
        raise ConfigError(f"line {number}: a value with both kinds of triple quotes cannot be read")
    quote = "'''" if '"""' in value else '"""'
    return f"{number} = {quote}{value}{quote}"
