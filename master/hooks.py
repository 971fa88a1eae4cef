"""Commands that the configuration has run at certain points of the start, and at the end."""

import logging
import subprocess

from fastrouter.options import HookOptions

__all__ = ["HookError", "run_hooks"]

log = logging.getLogger("fastrouter")


class HookError(Exception):
    """A command failed; the message says which and how."""


def run_hooks(options: HookOptions, phase: str) -> None:
    """Run the commands of a phase, in order, each to its end. Raises HookError at the first that fails.

    hook-PHASE before exec-PHASE, by a shell (uWSGI 2.0.31 behaviour).
    """
    field = phase.replace("-", "_")
    commands = [text.removeprefix("exec:") for text in getattr(options, f"hook_{field}")]
    commands += getattr(options, f"exec_{field}", [])
    for command in commands:
        log.info('running "%s" (%s)...', command, phase)
        code = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, check=False).returncode
        if code:
            raise HookError(f'command "{command}" ({phase}) exited with non-zero code: {code}')
