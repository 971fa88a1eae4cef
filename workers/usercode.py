"""Loading the user's code: the WSGI application.

Our own packages ``workers`` and ``master`` must not stand in the way of a user's of the same name. Before any
user code is loaded they are taken out of the import system; the modules themselves go on working, since
nothing here imports anything of ours afterwards.
"""

import glob
import importlib
import importlib.machinery
import importlib.util
import logging
import os
import site
import sys
from collections.abc import Callable
from typing import Any

from fastrouter.options import AppOptions

__all__ = ["LoadError", "load_application"]

log = logging.getLogger("fastrouter.app")

_OURS = ("workers", "master")


class LoadError(Exception):
    """The application cannot be loaded; the message says what was looked for."""


def load_application(options: AppOptions) -> Callable[..., Any]:
    """Import the configured module or file and return its WSGI callable. Raises LoadError.

    What the user's code itself raises while it is imported passes through.
    """
    if not options.wsgi_file and not options.module:
        log.warning("there is no application; every request is answered with an error")
        return _no_application
    _prepare_imports(options)
    module, _, name = options.module.partition(":")
    if options.wsgi_file:
        loaded = _load_file(options.wsgi_file)
    else:
        loaded = importlib.import_module(module)
    name = name or options.callable
    application = getattr(loaded, name, None)
    where = options.wsgi_file or module
    if application is None:
        raise LoadError(f"there is no {name!r} in {where}")
    if not callable(application):
        raise LoadError(f"{name!r} in {where} is not callable")
    return application  # type: ignore[no-any-return]


def _no_application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """What uWSGI does without one."""
    log.error("--- no application found ---")
    start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
    return [b"Internal Server Error"]


def _prepare_imports(options: AppOptions) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] in _OURS:
            del sys.modules[name]
    for directory in glob.glob(os.path.join(options.virtualenv, "lib/python*/site-packages")):
        site.addsitedir(directory)
    paths = [os.path.abspath(path) for path in options.pythonpath]
    sys.path[:0] = [*paths, os.getcwd()]
    importlib.invalidate_caches()


def _load_file(path: str) -> Any:
    """Import a file whatever its extension, ``.wsgi`` for instance."""
    name = "wsgi_file_" + "".join(char if char.isalnum() else "_" for char in path)
    loader = importlib.machinery.SourceFileLoader(name, os.path.abspath(path))
    spec = importlib.util.spec_from_loader(name, loader)
    if spec is None:
        raise LoadError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module
