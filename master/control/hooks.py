"""What the configuration has done at certain points of the start, when files are touched, and at the end."""

import errno
import logging
import os
import subprocess

from fastrouter.options import HookOptions
from fastrouter.options.hook import parse_hook

__all__ = ["HookError", "run_accepting_hooks", "run_hooks", "run_touch_hook"]

log = logging.getLogger("fastrouter")

_OPENED = {
    "write": os.O_CREAT | os.O_TRUNC,
    "writen": os.O_CREAT | os.O_TRUNC,
    "append": os.O_CREAT | os.O_APPEND,
    "appendn": os.O_CREAT | os.O_APPEND,
    "writefifo": os.O_NONBLOCK,
}
"""How the actions that write open their files."""


class HookError(Exception):
    """A hook failed; the message says which and how."""


def run_hooks(options: HookOptions, phase: str) -> None:
    """Run the hooks of a phase, in order, each to its end. Raises HookError at the first that fails.

    hook-PHASE before exec-PHASE, commands by a shell (uWSGI 2.0.31 behaviour).
    """
    field = phase.replace("-", "_")
    for hook in getattr(options, f"hook_{field}"):
        _run_hook(hook, phase)
    for command in getattr(options, f"exec_{field}", []):
        _run_hook(f"exec:{command}", phase)


def _run_hook(hook: str, phase: str) -> None:
    """Run one. Raises HookError."""
    action, target, text = parse_hook(hook)
    log.info('running "%s" (%s)...', target if action == "exec" else hook, phase)
    try:
        if action == "exec":
            _execute(target, phase)
        elif action in ("print", "log"):
            log.info("%s", target)
        elif action == "unlink":
            os.unlink(target)
        else:
            _write(action, target, text)
    except OSError as error:
        raise HookError(f'hook "{hook}" ({phase}) failed: {error.strerror}') from None


def run_accepting_hooks(options: HookOptions, index: int, is_first: bool) -> None:
    """Run those of app worker number index, which is about to accept. Raises HookError.

    is_first says that no worker has been ready in that place, since the program was started.
    """
    run_hooks(options, "accepting")
    if is_first:
        run_hooks(options, "accepting-once")
    if index == 0:
        run_hooks(options, "accepting1")
        if is_first:
            run_hooks(options, "accepting1-once")


def run_touch_hook(hook: str) -> None:
    """What is done while everything runs ends nothing when it fails."""
    try:
        _run_hook(hook, "touch")
    except HookError as error:
        log.error("%s", error)


def _execute(command: str, phase: str) -> None:
    code = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, check=False).returncode
    if code:
        raise HookError(f'command "{command}" ({phase}) exited with non-zero code: {code}')


def _write(action: str, path: str, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | _OPENED[action], 0o666)
    except OSError as error:
        if action == "writefifo" and error.errno == errno.ENXIO:
            log.info("nobody reads %s", path)  # no failure in uWSGI either: there is nobody to command
            return
        raise
    try:
        os.write(fd, text.encode("utf-8", "surrogateescape") + b"\n" * action.endswith("n"))
    finally:
        os.close(fd)
