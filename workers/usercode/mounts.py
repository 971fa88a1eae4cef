"""Several WSGI applications in one: each under a path of its own (uWSGI's ``mount``)."""

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Mounts"]

_Application = Callable[..., Any]


class Mounts:
    """Calls the application that a request is for.

    That is the one whose path SCRIPT_NAME says, or, where it is managed here, the one with the longest path
    that PATH_INFO begins with; that part goes over to SCRIPT_NAME then.
    """

    def __init__(
        self, applications: Mapping[str, _Application], default: _Application, manages: bool
    ) -> None:
        """applications are those by path; default is for all other requests."""
        self._applications = applications
        self._default = default
        self._manages = manages

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = self._find(environ["PATH_INFO"]) if self._manages else ""
        if path:
            environ["SCRIPT_NAME"], environ["PATH_INFO"] = path, environ["PATH_INFO"][len(path) :]
        application = self._applications.get(environ["SCRIPT_NAME"], self._default)
        return application(environ, start_response)

    def _find(self, path: str) -> str:
        """The longest path of an application that path is, or is below; empty when there is none."""
        while path and path not in self._applications:
            path = path.rpartition("/")[0]
        return path
