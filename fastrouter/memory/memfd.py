"""Memory that processes share by a descriptor (memfd_create(2)), sealed against what nobody may do to it.

A mapping of memory that somebody truncates kills whoever touches it (SIGBUS), and what one process writes
another one believes. Seals are the kernel's: not even the owner can take them off again (fcntl(2)).
"""

import fcntl
import os

__all__ = ["read_sealed", "seal", "sealed_copy", "shared_memory", "to_be_sealed"]

_SIZE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_WHOLE = _SIZE | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_FLAGS = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING


def shared_memory(name: str, size: int) -> int:
    """A descriptor for size bytes of zeros. They can be written, and their number never changes."""
    fd = os.memfd_create(name, _FLAGS)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SIZE | fcntl.F_SEAL_SEAL)
    return fd


def to_be_sealed(name: str) -> int:
    """A descriptor for empty memory, which somebody is to fill and to seal."""
    return os.memfd_create(name, _FLAGS)


def sealed_copy(name: str, data: bytes) -> int:
    """A descriptor for memory that has data, and never anything else."""
    fd = to_be_sealed(name)
    seal(fd, data)
    return fd


def seal(fd: int, data: bytes) -> None:
    """Write data into memory that was made to be sealed, and seal it. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _WHOLE)


def read_sealed(fd: int) -> bytes:
    """What was sealed. Raises ValueError for memory that is not sealed, or has nothing in it, and OSError."""
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _WHOLE != _WHOLE:
        raise ValueError("it is not sealed")
    size = os.fstat(fd).st_size
    if not size:
        raise ValueError("it is empty")
    return os.pread(fd, size, 0)
