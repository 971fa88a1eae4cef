"""What is printed of options: the help, the reference in docs/, the outcome of --check."""

import textwrap
from typing import Any

from fastrouter.config.resolve import COMMANDS, Configuration, effective
from fastrouter.config.tool import COMMANDS as TOOL_COMMANDS
from fastrouter.config.uwsgi_options import verdict
from fastrouter.options import GROUPS, TOOLS
from fastrouter.options.declaration import NONE, OPTIONAL, Group, Option, declared

__all__ = ["check_report", "help_text", "ignored_line", "reference", "tool_help", "usage_text"]


_USAGE = "usage: fastrouter-master [OPTION...] [FILE[:SECTION]...]"

_EXAMPLES = (
    (
        "A router for instances that announce themselves, behind a web server:",
        "--fastrouter 127.0.0.1:3031 --fastrouter-subscription-server 127.0.0.1:7000",
    ),
    (
        "An application that announces itself to it:",
        "--socket 127.0.0.1:0 --wsgi-file app.py --subscribe-to 127.0.0.1:7000:www.example.com",
    ),
    (
        "A router to fixed nodes:",
        "--fastrouter :3031 --fastrouter-to 10.0.0.7:8000 --fastrouter-to 10.0.0.8:8000",
    ),
    (
        "The same as a file says, with statistics for fastrouter-top:",
        "--ini router.ini --fastrouter-stats /run/stats",
    ),
    ("What a configuration means, and what is wrong with it:", "--check --ini router.ini"),
)


def usage_text() -> str:
    """The text of -h."""
    lines = [_USAGE, ""]
    for purpose, arguments in _EXAMPLES:
        lines += [purpose, f"    fastrouter-master {arguments}"]
    return "\n".join(
        [
            *lines,
            "",
            "Options are written the same in ini files, without the dashes: name = value.",
            "Every option: fastrouter-master --help, or docs/options.md. Other commands, each with --help:",
            "    fastrouter-subscribe  announces a program that does not announce itself",
            "    fastrouter-request    sends one request",
            "    fastrouter-top        shows what a router does",
            "    fastrouter-explain    says where a request would go",
            "    fastrouter-doctor     says what a configuration of uWSGI's means here",
        ]
    )


def help_text() -> str:
    """The text of --help."""
    lines = [
        _USAGE,
        "",
        "Options are written the same in ini files, without the dashes: name = value.",
    ]
    for group in GROUPS:
        lines += ["", *_group_help(group)]
    lines += ["", "Commands:"]
    for name, text in COMMANDS.items():
        lines += _help_lines("-h, --usage" if name == "usage" else f"    --{name}", text)
    return "\n".join(lines)


def tool_help(group: type[Group]) -> str:
    """The text of --help of a command with options of its own."""
    return "\n".join(
        [
            f"usage: {group.USAGE}",
            "",
            *textwrap.wrap(group.PURPOSE, 100),
            "",
            *_group_help(group),
            *_help_lines("-h, --help", TOOL_COMMANDS["help"]),
            *_help_lines("    --version", TOOL_COMMANDS["version"]),
        ]
    )


def _group_help(group: type[Group]) -> list[str]:
    lines = [f"{group.__doc__}:"]
    for option in declared(group):
        lines += _help_lines(_spelling(option), _explained(option))
    return lines


def _help_lines(spelling: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(text, 60)
    if len(spelling) < 40:
        return [f"  {spelling:<40}{wrapped[0]}", *(f"{'':<42}{line}" for line in wrapped[1:])]
    return [f"  {spelling}", *(f"{'':<42}{line}" for line in wrapped)]


def _spelling(option: Option) -> str:
    short = f"-{option.short}, " if option.short else "    "
    return f"{short}--{option.name}{_metavar(option)}"


def _metavar(option: Option) -> str:
    if option.argument == NONE:
        return ""
    name = option.metavar or "VALUE"
    return f"[={name}]" if option.argument == OPTIONAL else f" {name}"


def _explained(option: Option) -> str:
    notes = []
    if option.many:
        notes.append("repeatable")
    elif option.default not in ("", None, False):
        notes.append(f"default {option.default}")
    if option.aliases:
        notes.append(f"also {', '.join(option.aliases)}")
    return f"{option.help} ({'; '.join(notes)})" if notes else option.help


def reference() -> str:
    """The option reference, as Markdown."""
    lines = [
        "# Options",
        "",
        "Made from the declarations by `scripts/reference`; do not edit.",
        "",
        "In a file: `name = value`, in the section `[uwsgi]`. On the command line: `--name value` or",
        "`--name=value`. A value of 0 means the default where the default is not 0 itself.",
    ]
    for group in GROUPS:
        lines += ["", f"## {group.__doc__}", "", *_table(group)]
    for group in TOOLS:
        name, _, _ = group.USAGE.partition(" ")
        lines += ["", f"## The command `{name}`", "", f"    {group.USAGE}", "", group.PURPOSE]
        if list(declared(group)):
            lines += ["", *_table(group)]
    return "\n".join(lines) + "\n"


def _table(group: type[Group]) -> list[str]:
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for option in declared(group):
        names = ", ".join(f"`{name}`" for name in (option.name, *option.aliases))
        short = f", `-{option.short}`" if option.short else ""
        lines.append(f"| {names}{short} | {_default(option)} | {_cell(option)} |")
    return lines


def _default(option: Option) -> str:
    if option.many or option.default in ("", None):
        return ""
    return _shown(option.default)


def _cell(option: Option) -> str:
    text = option.help + (" (repeatable)" if option.many else "")
    if option.differs:
        text += f". *Unlike uWSGI's:* {option.differs}"
    return text.replace("|", "\\|")


def check_report(configuration: Configuration) -> str:
    """The effective configuration: every value with the place that it came from, the defaults behind."""
    set_rows, default_rows = [], []
    for option, value, origin in effective(configuration):
        if origin is not None:
            set_rows.append((f"{option.name} = {_written(option, value)}", str(origin)))
        elif not option.many and value not in ("", None, False):
            default_rows.append((f"{option.name} = {_written(option, value)}", "default"))
    rows = set_rows + default_rows
    width = max((len(text) for text, _ in rows), default=0)
    lines = ["[uwsgi]", *(f"{text:<{width}}  ; {origin}" for text, origin in rows)]
    if configuration.ignored:
        lines += ["", "; these options of uWSGI mean nothing here:"]
        lines += [
            f"; {pair.name} ({pair.origin}): {verdict(pair.name).reason}" for pair in configuration.ignored
        ]
    if configuration.warnings:
        lines += ["", *(f"; warning: {warning}" for warning in configuration.warnings)]
    return "\n".join([*lines, "; the configuration is good"])


def ignored_line(configuration: Configuration) -> str:
    """One line on the options of uWSGI that mean nothing here; empty when there are none."""
    names = [f"{pair.name} ({pair.origin})" for pair in configuration.ignored]
    return f"these options of uWSGI mean nothing here (--check says why): {', '.join(names)}" if names else ""


def _written(option: Option, value: Any) -> str:
    if option.kind in ("mode", "octal") and isinstance(value, int):
        return f"{value:03o}"
    return _shown(value)


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
