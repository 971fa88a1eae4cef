"""The other formats of configuration files: YAML, JSON and XML, to the same pairs as ini files."""

import codecs
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from xml.parsers import expat

from fastrouter.config.dialect.ini import read_ini
from fastrouter.config.dialect.pairs import ConfigError, Origin, Pair

__all__ = ["LOADERS", "format_of", "read_text"]

_Reader = Callable[[str, str, str], list[Pair]]


def read_text(path: str) -> str:
    """The text of a file. Raises OSError, and ValueError for a path or an encoding that cannot be used."""
    with open(path, "rb") as file:
        data = file.read()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:4]:
        raise ValueError("line 1: the file is in UTF-16; expected UTF-8, so save it in that")
    if data.startswith(codecs.BOM_UTF8):
        raise ValueError("line 1: the file begins with a byte order mark (BOM); save it as UTF-8 without one")
    return data.decode("utf-8", "surrogateescape").replace("\r\n", "\n")


def format_of(path: str) -> str:
    """The option that loads files whose names end like this one's; empty when there is none."""
    extension = path.rpartition(".")[2]
    return extension if extension in LOADERS and "." in path else ""


def _read_yaml(text: str, source: str, section: str) -> list[Pair]:
    """Raises ConfigError."""
    import yaml  # only who has such a file needs it

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        if _PLAIN.fullmatch(text):
            return _read_plain_yaml(text, source, section)
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(f"{Origin(source, line)}: no YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: no YAML: {error}") from None
    top = root.value if isinstance(root, yaml.MappingNode) else []
    pairs: list[Pair] = []
    names = [key.value for key, _ in top]
    if section not in names:
        raise _no_section(source, section, names)
    for key, content in top:
        if key.value != section:
            continue
        if not isinstance(content, yaml.MappingNode):
            raise ConfigError(
                f"{Origin(source, key.start_mark.line + 1)}: {section}: expected NAME: VALUE below"
            )
        for name, value in content.value:
            values = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for item in values:
                origin = Origin(source, item.start_mark.line + 1)
                if not isinstance(item, yaml.ScalarNode):
                    raise _nested(origin, name.value)
                empty = item.tag.endswith(":null") and item.value in ("", "~")
                pairs.append(Pair(str(name.value), "" if empty else item.value, origin))
    return pairs


_PLAIN = re.compile(
    r"(?:[ \t]*(?:#[^\n]*)?\n|\w[\w-]*:[ \t]*\n|[ \t]+[\w-]+[ \t]*:(?:[ \t][^\n]*)?(?:\n|\Z))*"
)
"""Sections, and names with values, a line each."""


def _read_plain_yaml(text: str, source: str, section: str) -> list[Pair]:
    """What is no YAML, but was written for a uWSGI without libyaml, which splits lines at their first colon.

    Values may have colons, percent signs and braces then, as formats of logs have. Raises ConfigError.
    """
    pairs: list[Pair] = []
    names: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        name, _, value = line.partition(":")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line[0].isspace():
            names.append(name)
        elif names and names[-1] == section:
            pairs.append(Pair(name.strip(), value.strip(), Origin(source, number)))
    if section not in names:
        raise _no_section(source, section, names)
    return pairs


def _read_json(text: str, source: str, section: str) -> list[Pair]:
    """Raises ConfigError."""
    try:
        root = json.loads(text, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{Origin(source, error.lineno)}: no JSON: {error.msg}") from None
    top = root if isinstance(root, _Object) else _Object()
    names = [name for name, _ in top]
    if section not in names:
        raise _no_section(source, section, names)
    pairs: list[Pair] = []
    for name, content in top:
        if name == section:
            if not isinstance(content, _Object):
                raise ConfigError(f'{source}: "{section}": expected an object')
            pairs += _pairs_of_object(content, text, source, section)
    return pairs


class _Object(list[tuple[str, Any]]):
    """A JSON object whose names may repeat."""


def _pairs_of_object(content: _Object, text: str, source: str, section: str) -> Iterator[Pair]:
    at = text.find(json.dumps(section))
    for name, value in content:
        # The names are there in this order, unless they are written with escapes.
        found = re.compile(re.escape(json.dumps(name, ensure_ascii=False)) + r"\s*:").search(
            text, max(at, 0) + 1
        )
        at = found.start() if found else at
        origin = Origin(source, text.count("\n", 0, at) + 1 if found else 0)
        for item in [value] if isinstance(value, _Object) or not isinstance(value, list) else value:
            if isinstance(item, list):
                raise _nested(origin, name)
            yield Pair(name, item if isinstance(item, str) else str(int(item or 0)), origin)


def _read_xml(text: str, source: str, section: str) -> list[Pair]:
    """``<uwsgi [id="SECTION"]><NAME>VALUE</NAME>...</uwsgi>``. Raises ConfigError."""
    reader = _Xml(source, section)
    try:
        reader.parser.Parse(text.encode("utf-8", "surrogateescape"), True)
    except expat.ExpatError as error:
        message = expat.ErrorString(error.code)
        raise ConfigError(f"{Origin(source, error.lineno)}: no XML: {message}") from None
    if not reader.found:
        raise _no_section(source, section, reader.sections)
    return reader.pairs


class _Xml:
    """Collects the elements of a section. Declarations of entities could be bombs, and are never needed."""

    def __init__(self, source: str, section: str) -> None:
        self.pairs: list[Pair] = []
        self.sections: list[str] = []
        self.found = False
        self._source, self._section = source, section
        self._is_in_section = False
        self._name = ""
        self._text: list[str] = []
        self._line = 0
        self.parser = expat.ParserCreate("utf-8")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text.append
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _doctype(self, *declaration: object) -> None:
        origin = Origin(self._source, self.parser.CurrentLineNumber)
        raise ConfigError(f"{origin}: a document type (DOCTYPE) is not read here; leave it out")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        line = self.parser.CurrentLineNumber
        if name == "uwsgi" and not self._is_in_section:
            self.sections.append(attributes.get("id", "uwsgi"))
            self._is_in_section = self.sections[-1] == self._section
            self.found |= self._is_in_section
        elif self._is_in_section and (self._name or attributes):
            raise _nested(Origin(self._source, line), self._name or name)
        else:
            self._name, self._line = name, line
        self._text.clear()

    def _end(self, name: str) -> None:
        if self._is_in_section and self._name:
            value = "".join(self._text).strip() or "1"
            self.pairs.append(Pair(name, value, Origin(self._source, self._line)))
        elif name == "uwsgi":
            self._is_in_section = False
        self._name = ""


def _nested(origin: Origin, name: str) -> ConfigError:
    return ConfigError(f"{origin}: {name}: expected a value, or several; nothing is nested in options")


def _no_section(source: str, section: str, found: list[str]) -> ConfigError:
    return ConfigError(
        f"{source}: expected a section {section}, found {', '.join(map(str, found)) or 'none'}"
    )


LOADERS: Mapping[str, _Reader] = {
    "ini": read_ini,
    **dict.fromkeys(("yaml", "yml"), _read_yaml),
    **dict.fromkeys(("json", "js"), _read_json),
    **dict.fromkeys(("xml", "xmlconfig"), _read_xml),
}
"""The options that load a file, which most formats' names are, and what reads it."""
