"""Opening files for writing where somebody else may have put something of that name first.

Root writes its log into a folder that the application user can write to, or into /tmp. A link there must not
have root append to another file, or truncate it, or give it away.
"""

import errno
import os
import stat

__all__ = ["open_entry", "open_to_write"]


def open_to_write(path: str, flags: int = 0, mode: int = 0o640) -> tuple[int, bool]:
    """A descriptor for a file, and whether it was made here.

    Where others can write to the folder, no link is followed, and only a regular file of one name is opened.
    Raises OSError.
    """
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    flags |= 0 if flags & (os.O_RDWR | os.O_PATH) else os.O_WRONLY
    try:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, mode), True
    except FileExistsError:
        pass
    if _is_others_folder(path):
        return _open_plain(path, flags), False
    try:
        return os.open(path, flags | os.O_CREAT, mode), False
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    # The folder is root's or our own, and so is the link: /dev/stdout, for instance.
    return os.open(path, (flags | os.O_CREAT) & ~os.O_NOFOLLOW, mode), False


def open_entry(path: str, kind: int) -> int:
    """A descriptor that names what is at path, for os.chown and os.chmod of ``/proc/self/fd/N``.

    kind is what it has to be (stat.S_IFSOCK, stat.S_IFIFO). Raises OSError.
    """
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    if stat.S_IFMT(os.fstat(fd).st_mode) != kind:
        os.close(fd)
        raise FileExistsError(errno.EEXIST, "somebody has put something else in its place", path)
    return fd


def _is_others_folder(path: str) -> bool:
    """Whether anybody but root and us can put something into the folder of a path."""
    about = os.stat(os.path.dirname(os.path.abspath(path)))
    return about.st_uid not in (0, os.geteuid()) or bool(about.st_mode & 0o022)


def _open_plain(path: str, flags: int) -> int:
    try:
        fd = os.open(path, flags & ~os.O_TRUNC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            why = "it is a link, and others can write to its folder"
            raise PermissionError(errno.EACCES, why, path) from None
        raise
    try:
        about = os.fstat(fd)
        is_safe = stat.S_ISREG(about.st_mode) and about.st_nlink <= 1
        if not is_safe and not (stat.S_ISFIFO(about.st_mode) and about.st_uid in (0, os.geteuid())):
            why = "it is no regular file of one name, and others can write to its folder"
            raise PermissionError(errno.EACCES, why, path)
        if flags & os.O_TRUNC:
            os.ftruncate(fd, 0)
    except OSError:
        os.close(fd)
        raise
    return fd
