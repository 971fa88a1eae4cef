"""Manual pages (man(7)) and completion for bash, from the declarations of the options."""

import re

from fastrouter import __version__
from fastrouter.config.resolve import COMMANDS, syntax
from fastrouter.config.tool import COMMANDS as TOOL_COMMANDS
from fastrouter.options import GROUPS, TOOLS
from fastrouter.options.declaration import NONE, OPTIONAL, Group, Option, declared

__all__ = ["completion", "manuals"]

_MASTER = "fastrouter-master"

_EXIT = {
    "fastrouter-master": (
        ("0", "a normal stop"),
        ("1", "a configuration that cannot be used, an address that cannot be bound, a command that failed"),
        ("22", "an application that cannot be loaded"),
    ),
    "fastrouter-subscribe": (
        ("N", "the program's own exit code, or 128 and the signal that ended it"),
        ("2", "a wrong command line"),
    ),
    "fastrouter-top": (
        ("0", "a normal end"),
        ("2", "no router to be seen, or a wrong command line"),
    ),
    "fastrouter-explain": (
        ("0", "the request would be sent to a node"),
        ("1", "it would not"),
        ("2", "no router to be seen, or a wrong command line"),
    ),
    "fastrouter-doctor": (
        ("0", "the configuration can be used"),
        ("1", "it cannot"),
        ("2", "a wrong command line"),
    ),
    "fastrouter-request": (
        ("0", "there was a reply"),
        ("1", "there was none"),
        ("2", "a wrong command line"),
    ),
}

_SIGNALS = (
    ("TERM", "stop: no more announcements, then requests under way are finished"),
    ("INT, QUIT", "stop at once; the application is still unsubscribed"),
    ("HUP", "load the program anew: its configuration, its code, the application"),
    ("TTIN, TTOU", "one router worker more, one less, until the next HUP"),
    ("TSTP", "pause: accept nothing, and announce nothing; the next one resumes"),
    ("USR1", "write the statistics of every router and process to the log"),
)


def manuals() -> dict[str, str]:
    """The pages, by the names of their files."""
    pages = {f"{_MASTER}.8": _master()}
    for group in TOOLS:
        pages[f"{_name(group)}.1"] = _tool(group)
    return pages


def completion() -> str:
    """For bash."""
    words = {_MASTER: [*syntax().arguments]}
    words |= {_name(group): [option.name for option in declared(group)] for group in TOOLS}
    ours = {option.name for group in GROUPS for option in declared(group)}
    words[_MASTER] = [name for name in words[_MASTER] if name in ours or name in COMMANDS]
    lines = [
        "# Completion for bash; made from the declarations by scripts/reference.",
        "_fastrouter() {",
        '    local word=${COMP_WORDS[COMP_CWORD]} options=""',
        "    case ${COMP_WORDS[0]##*/} in",
    ]
    for command, names in words.items():
        options = " ".join(f"--{name}" for name in dict.fromkeys([*names, *TOOL_COMMANDS]))
        lines.append(f'    {command}) options="{options}" ;;')
    lines += [
        "    esac",
        '    if [[ $word == -* ]]; then COMPREPLY=($(compgen -W "$options" -- "$word"));',
        '    else COMPREPLY=($(compgen -f -- "$word")); fi',
        "}",
        f"complete -o filenames -F _fastrouter {' '.join(words)}",
    ]
    return "\n".join(lines) + "\n"


def _master() -> str:
    lines = [
        *_head(_MASTER, 8, "a router that application instances announce themselves to"),
        ".SH SYNOPSIS",
        f".B {_MASTER}",
        "[OPTION...] [FILE.ini[:SECTION]...]",
        ".SH DESCRIPTION",
        "Routes requests of the uwsgi protocol to the instances that announce themselves for their keys.",
        "Options are written the same in ini files, without the dashes: name = value.",
    ]
    for group in GROUPS:
        lines += [f".SH {_text(str(group.__doc__).upper())}", *_options(group)]
    lines += [".SH COMMANDS"]
    for name, text in COMMANDS.items():
        lines += _entry(f"\\-\\-{name}", text)
    lines += [".SH SIGNALS"]
    for name, text in _SIGNALS:
        lines += _entry(name, text)
    return "\n".join([*lines, *_exit_codes(_MASTER), *_see_also(_MASTER)]) + "\n"


def _tool(group: type[Group]) -> str:
    name = _name(group)
    lines = [
        *_head(name, 1, str(group.__doc__).lower()),
        ".SH SYNOPSIS",
        f".B {name}",
        _text(group.USAGE.partition(" ")[2]),
        ".SH DESCRIPTION",
        _text(group.PURPOSE),
        ".SH OPTIONS",
        *_options(group),
    ]
    for command, text in TOOL_COMMANDS.items():
        lines += _entry(f"\\-\\-{command}", text)
    return "\n".join([*lines, *_exit_codes(name), *_see_also(name)]) + "\n"


def _head(name: str, section: int, purpose: str) -> list[str]:
    return [
        '.\\" Made from the declarations by scripts/reference; do not edit.',
        f'.TH {name.upper()} {section} "" "fastrouter {__version__}"',
        ".SH NAME",
        f"{_text(name)} \\- {_text(purpose)}",
    ]


def _options(group: type[Group]) -> list[str]:
    lines = []
    for option in declared(group):
        lines += _entry(_spelling(option), option.help + _notes(option))
    return lines


def _spelling(option: Option) -> str:
    short = f"\\-{option.short}, " if option.short else ""
    metavar = option.metavar or "VALUE"
    argument = {NONE: "", OPTIONAL: f"[=\\fI{_text(metavar)}\\fR]"}.get(
        option.argument, f" \\fI{_text(metavar)}\\fR"
    )
    return f"{short}\\-\\-{_text(option.name)}{argument}"


def _notes(option: Option) -> str:
    text = ""
    if option.many:
        text += "; repeatable"
    elif option.default not in ("", None, False, ()):
        text += f"; default {option.default}"
    if option.aliases:
        text += f"; also {', '.join(option.aliases)}"
    if option.differs:
        text += f". Unlike uWSGI's: {option.differs}"
    return text


def _entry(term: str, text: str) -> list[str]:
    return [".TP", f".B {term}", _text(text)]


def _exit_codes(name: str) -> list[str]:
    lines = [".SH EXIT STATUS"]
    for code, meaning in _EXIT[name]:
        lines += _entry(code, meaning)
    return lines


def _see_also(name: str) -> list[str]:
    others = [(_MASTER, 8), *((_name(group), 1) for group in TOOLS)]
    said = ", ".join(f"{_text(other)}({section})" for other, section in others if other != name)
    return [".SH SEE ALSO", said]


def _name(group: type[Group]) -> str:
    return group.USAGE.partition(" ")[0]


def _text(text: str) -> str:
    """Text as roff has it: nothing in it is a request or an escape."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text)
