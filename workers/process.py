"""What every child does first: its title, its signals, its fate."""

import ctypes
import os
import resource
import signal
from contextlib import suppress

from setproctitle import setproctitle

from fastrouter.options import MasterOptions

__all__ = ["BOOT_FAILURE", "close_all_but_standard", "die_with_parent", "raise_descriptor_limit", "set_title"]

BOOT_FAILURE = 22
"""Exit code of a child that cannot do its work and would not the next time either (uWSGI's "no app" code)."""

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when the one that started it ends, however it ends.

    To be called after privileges are dropped, since that clears the setting (prctl(2)).
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(0)  # it ended before we asked


def set_title(title: str, options: MasterOptions, own: str = "") -> None:
    """Say in ps what this process is. own is the title that the configuration gives it, if any."""
    prefix = options.procname_prefix or (
        f"{options.procname_prefix_spaced} " if options.procname_prefix_spaced else ""
    )
    setproctitle(f"{prefix}{own or title}{options.procname_append}")


def close_all_but_standard() -> None:
    """Close every descriptor but standard input, output and error."""
    # Not os.closerange, which tries every number up to the limit where Python has no close_range(2).
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2:
            with suppress(OSError):  # that of the listing itself
                os.close(fd)


def raise_descriptor_limit() -> int:
    """Allow this process as many descriptors as it may have, and return that number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 1 << 20)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
