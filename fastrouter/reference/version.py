"""What this installation is, in one line, for --version."""

from fastrouter import __version__
from fastrouter.routing import pool

__all__ = ["version"]


def version() -> str:
    """The version, and whether the path of a request is compiled here (setup.py)."""
    kind = "pure Python" if str(pool.__file__).endswith(".py") else "compiled"
    return f"fastrouter {__version__} ({kind})"
