"""Capabilities: what a process may although it is not root's any more (capabilities(7))."""

import ctypes
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fastrouter.options.capabilities import CAPABILITIES

__all__ = ["forbid_new", "keep", "kept_over_exec", "let_go_of_exec", "survive_setuid"]

_VERSION_3 = 0x20080522
_HEADER = struct.Struct("=Ii")
_SETS = struct.Struct("=6I")
"""Effective, permitted and inheritable, the lower halves first."""

_PR_SET_KEEPCAPS = 8
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 2, 4

_libc = ctypes.CDLL(None, use_errno=True)


def survive_setuid() -> None:
    """Have the permitted ones survive the change to another user. Raises OSError."""
    _prctl(_PR_SET_KEEPCAPS, 1)


def keep(names: Sequence[str]) -> None:
    """Have these and no others. Raises OSError."""
    wanted = sum(1 << CAPABILITIES.index(name) for name in names)
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    header, sets = _HEADER.pack(_VERSION_3, 0), _SETS.pack(low, low, low, high, high, high)
    _check(_libc.capset(header, sets))


def forbid_new() -> None:
    """No program that is started from here gets any by itself (no_new_privs). Raises OSError."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


@contextmanager
def kept_over_exec(names: Sequence[str]) -> Iterator[None]:
    """What is started meanwhile has them, too. Raises OSError."""
    for name in names:
        _prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, CAPABILITIES.index(name))
    try:
        yield
    finally:
        if names:
            let_go_of_exec()


def let_go_of_exec() -> None:
    """What is started from now on has none."""
    _prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)


def _prctl(operation: int, first: int, second: int = 0) -> None:
    _check(_libc.prctl(operation, ctypes.c_ulong(first), ctypes.c_ulong(second), 0, 0))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
