"""Printing to whoever may stop reading, as ``head`` does."""

import os
import signal
import sys
from collections.abc import Callable

__all__ = ["printing"]


def printing(work: Callable[[], int]) -> int:
    """The exit code that work returns, or that of SIGPIPE when nobody reads what it prints."""
    try:
        code = work()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The interpreter would complain when it flushes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
