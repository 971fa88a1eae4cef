"""What a hook of the configuration does: ``ACTION:ARGUMENT``, with the names of uWSGI 2.0.31."""

__all__ = ["ACTIONS", "HookSyntaxError", "parse_hook", "parse_touch_hook"]

ACTIONS = {
    "exec": "COMMAND",
    "print": "TEXT",
    "log": "TEXT",
    "unlink": "FILE",
    "write": "FILE TEXT",
    "writen": "FILE TEXT",
    "append": "FILE TEXT",
    "appendn": "FILE TEXT",
    "writefifo": "FIFO TEXT",
}
"""What each wants to be told."""


class HookSyntaxError(ValueError):
    """The text is no hook; the message says what was expected."""


def parse_hook(text: str) -> tuple[str, str, str]:
    """The action, its file or whole argument, and the text that goes there. Raises HookSyntaxError."""
    action, colon, argument = text.partition(":")
    wanted = ACTIONS.get(action)
    if wanted is None or not colon:
        raise HookSyntaxError(f"ACTION:ARGUMENT, ACTION one of {', '.join(ACTIONS)}")
    if " " not in wanted:
        if not argument and wanted != "TEXT":
            raise HookSyntaxError(f"{action}:{wanted}")
        return action, argument, ""
    file, blank, rest = argument.partition(" ")
    if not file or not blank:
        raise HookSyntaxError(f"{action}:{wanted}")
    return action, file, rest


def parse_touch_hook(text: str) -> tuple[str, str]:
    """The file that is looked at, and the hook. Raises HookSyntaxError."""
    file, _, hook = text.partition(" ")
    if not file or not hook:
        raise HookSyntaxError("FILE ACTION:ARGUMENT")
    parse_hook(hook)
    return file, hook
