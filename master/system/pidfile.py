"""The files that say that the program runs, and their removal at its end."""

import logging
import os

from fastrouter.files import open_to_write

__all__ = ["vacuum", "write_pidfile", "write_pidfile_again"]

log = logging.getLogger("fastrouter")


def write_pidfile(path: str) -> None:
    """Write our pid to a file; nothing without a path. Raises OSError."""
    if not path:
        return
    try:
        fd, _ = open_to_write(path, os.O_TRUNC, 0o644)
        with open(fd, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    except OSError as error:
        raise OSError(error.errno, f"cannot write the pid to {path}: {error.strerror}") from None
    log.info("pid written to %s", path)


def write_pidfile_again(path: str) -> None:
    """The same while the program runs: what goes wrong is logged."""
    try:
        write_pidfile(path)
    except OSError as error:
        log.error("%s", error.strerror)


def vacuum(paths: list[str]) -> None:
    """Remove files that were made here."""
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("vacuum: cannot remove %s: %s", path, error.strerror)
