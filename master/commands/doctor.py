"""The command ``fastrouter-doctor``: what a configuration of uWSGI's means here, option by option."""

import os
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fastrouter.address import AddressError, Binding, Shared, Tcp, Unix, parse_binding
from fastrouter.config.dialect.formats import format_of
from fastrouter.config.dialect.pairs import ConfigError, Pair
from fastrouter.config.resolve import COMMANDS, Written, load, read, reason_to_refuse, why_unused
from fastrouter.config.uwsgi_options import uwsgi_options, verdict
from fastrouter.options import DoctorOptions, all_options
from fastrouter.options.declaration import check
from master.commands.tool import run_tool

__all__ = ["main"]

_WEB = ("http", "https", "http-socket", "https-socket")
"""Options that make uWSGI a web server itself."""


class Finding(NamedTuple):
    verdict: str
    """same, different, ignored or refused"""
    pair: Pair
    why: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when the configuration can be used, 1 when not, 2 for a wrong command line."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    command = _command_line(words)
    if command:
        return run_tool(DoctorOptions, [], lambda options, words: _examine(command))
    return run_tool(DoctorOptions, words, _doctor)


def _command_line(words: Sequence[str]) -> Sequence[str]:
    """The arguments of uWSGI, where its command line is given; empty where only files are."""
    first = os.path.basename(words[0]) if words else ""
    if first == "--" or (re.fullmatch(r"uwsgi([-_.].*)?|fastrouter-master", first) and not format_of(first)):
        return words[1:]
    own = ("-h", "--help", "--version")
    return words if any(word.startswith("-") and word not in own for word in words) else ()


def _doctor(options: DoctorOptions, files: Sequence[str]) -> int:
    if not files:
        raise ConfigError("expected a configuration file, or a command line of uWSGI's")
    return _examine(files)


def _examine(files: Sequence[str]) -> int:
    try:
        written = read(files, {})
    except ConfigError as error:
        for problem in error.problems:
            print(_labelled("problem", problem))
        return 1
    findings = [finding for pair in written.pairs if (finding := _finding(pair, written)) is not None]
    for finding in findings:
        print(_shown(finding))
    refused = sum(finding.verdict == "refused" for finding in findings)
    problems = [] if refused else list(_problems(files))
    for problem in problems:
        print(_labelled("problem", problem))
    print("\n" + _summary(findings, len(problems)))
    for line in _nginx(written.pairs):
        print(line)
    return 1 if refused or problems else 0


def _finding(pair: Pair, written: Written) -> Finding | None:
    """What to say about one line; nothing for what only serves others."""
    option = all_options().get(pair.name)
    if option is not None:
        try:
            check(option, pair.value)
        except ValueError as error:
            return Finding("refused", pair, f"expected {error}")
        return Finding("different" if option.differs else "same", pair, option.differs)
    if pair.name in COMMANDS or (pair.name in written.placeholders and pair.name not in uwsgi_options()):
        return None
    if why := reason_to_refuse(pair, written):
        return Finding("refused", pair, why)
    why = verdict(pair.name).reason if pair.name in uwsgi_options() else why_unused(pair)
    return Finding("ignored", pair, why)


def _shown(finding: Finding) -> str:
    pair = finding.pair
    line = f"{pair.name} = {pair.value}" if pair.value else pair.name
    origin = pair.origin._replace(source=os.path.basename(pair.origin.source))
    text = _labelled(finding.verdict, f"{line}  ({origin})")
    if finding.why:
        indent = " " * 15
        text += "\n" + textwrap.fill(finding.why, 100, initial_indent=indent, subsequent_indent=indent)
    return text


def _labelled(label: str, text: str) -> str:
    return f"{label:<11}{text}"


def _problems(files: Sequence[str]) -> Iterator[str]:
    """What only shows when everything is looked at together."""
    try:
        load(files, {})
    except ConfigError as error:
        yield from error.problems


def _summary(findings: Sequence[Finding], problems: int) -> str:
    counts = dict.fromkeys(("same", "different", "ignored", "refused"), 0)
    for finding in findings:
        counts[finding.verdict] += 1
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    if counts["refused"] or problems:
        return f"{said}: this configuration cannot be used as it stands"
    return f"{said}: fastrouter-master can run this configuration"


def _nginx(pairs: Sequence[Pair]) -> Iterator[str]:
    """What a web server in front is to be told."""
    shared = [pair.value for pair in pairs if pair.name in ("shared-socket", "undeferred-shared-socket")]
    servers = list(dict.fromkeys(_server(pair.value, shared) for pair in pairs if pair.name == "fastrouter"))
    listens = [_port(pair.value) for pair in pairs if pair.name in _WEB]
    if not any(servers):
        return
    yield "\n# nginx, in its http section:"
    yield "upstream fastrouter {"
    for server in filter(None, servers):
        yield f"    server {server};"
    yield "}"
    yield "server {"
    for listen in listens or ["80"]:
        yield f"    listen {listen};"
    yield "    location / {"
    yield "        include uwsgi_params;"
    yield "        # The key without a port, whatever the Host header says:"
    yield "        uwsgi_param UWSGI_FASTROUTER_KEY $host;"
    yield "        uwsgi_pass fastrouter;"
    yield "    }"
    yield "}"


def _server(address: str, shared: Sequence[str]) -> str:
    """An address as nginx writes it; empty for one that is not known."""
    try:
        binding: Binding = parse_binding(address)
        if isinstance(binding, Shared):
            binding = parse_binding(shared[binding.number])
    except (AddressError, IndexError):
        return ""
    if isinstance(binding, Unix) and not binding.abstract:
        path = f"unix:{os.path.abspath(binding.path)}"
        return f'"{path}"' if re.search(r"[\s;{}]", path) else path
    if isinstance(binding, Tcp):
        host = "127.0.0.1" if binding.host in ("", "0.0.0.0") or binding.is_pattern else binding.host
        host = "::1" if host == "::" else host
        return f"[{host}]:{binding.port}" if ":" in host else f"{host}:{binding.port}"
    return ""


def _port(address: str) -> str:
    """What nginx listens on in place of uWSGI's web server."""
    address = address.partition(",")[0]
    return address.removeprefix(":") if address.startswith(":") else address


if __name__ == "__main__":
    sys.exit(main())
