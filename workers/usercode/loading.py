"""Loading the user's code: an application, or a script.

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
from collections.abc import Callable, Sequence
from typing import Any

from fastrouter.options import AppOptions
from fastrouter.options.app import is_file
from fastrouter.place import current_directory
from workers.usercode.mounts import Mounts

__all__ = ["LoadError", "load_application", "load_file", "load_script", "prepare_imports"]

log = logging.getLogger("fastrouter.app")

_OURS = ("workers", "master")


class LoadError(Exception):
    """The application cannot be loaded; the message says what was looked for."""


def load_application(options: AppOptions) -> Callable[..., Any]:
    """Import what is configured and return the WSGI callable. Raises LoadError.

    What the user's code itself raises while it is imported passes through.
    """
    if not options.is_there:
        log.warning("there is no application; every request is answered with an error")
    application = _no_application
    if options.wsgi_file or options.module:
        module, _, name = options.module.partition(":")
        application = _callable(load_script(options), name or options.callable, options.wsgi_file or module)
    if not options.mount:
        return application
    prepare_imports(options)
    mounted = {"": application} | {
        path: _load_mounted(text, options.callable) for path, text in options.mounts.items()
    }
    default = _no_application if options.no_default_app else application
    return Mounts(mounted, default, options.manage_script_name)


def _load_mounted(text: str, name: str) -> Callable[..., Any]:
    if is_file(text):
        return _callable(load_file(text), name, text)
    module, _, own = text.partition(":")
    return _callable(importlib.import_module(module), own or name, module)


def _callable(loaded: Any, name: str, where: str) -> Callable[..., Any]:
    application = getattr(loaded, name, None)
    if application is None:
        raise LoadError(f"there is no {name!r} in {where}")
    if not callable(application):
        raise LoadError(f"{name!r} in {where} is not callable")
    return application  # type: ignore[no-any-return]


def load_script(options: AppOptions) -> Any:
    """Import the configured module or file and return it. What its code raises passes through."""
    prepare_imports(options)
    if options.wsgi_file:
        return load_file(options.wsgi_file)
    return importlib.import_module(options.module.partition(":")[0])


def _no_application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """What uWSGI does without one."""
    log.error("--- no application found ---")
    start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
    return [b"Internal Server Error"]


def prepare_imports(options: AppOptions) -> None:
    """Let user code find what is its own: once, before the first of it is loaded."""
    paths = [*map(os.path.abspath, options.pythonpath), current_directory()]
    if sys.path[: len(paths)] == paths:
        return
    for name in list(sys.modules):
        if name.partition(".")[0] in _OURS:
            del sys.modules[name]
    for directory in glob.glob(os.path.join(options.virtualenv, "lib/python*/site-packages")):
        site.addsitedir(directory)
    sys.path[:0] = paths
    _load_from_sources_only(paths)
    importlib.invalidate_caches()


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Loads what is in a file now, and leaves nothing beside it.

    Compiled code that was kept is told by the second of the source's last change, and by its size: an edit of
    the same size within the same second, as by rsync and in images, would not be seen.
    """

    def path_stats(self, path: Any) -> Any:
        raise OSError("no compiled code is looked for")  # nor written then (importlib.abc.SourceLoader)


def _load_from_sources_only(paths: Sequence[str]) -> None:
    """The same for all modules in these directories and below, but for installed packages."""
    loaders = (
        (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
        (_SourceLoader, importlib.machinery.SOURCE_SUFFIXES),
        (importlib.machinery.SourcelessFileLoader, importlib.machinery.BYTECODE_SUFFIXES),
    )

    def hook(path: str) -> importlib.machinery.FileFinder:
        is_theirs = any(path == own or path.startswith(f"{own}{os.sep}") for own in paths)
        if not is_theirs or "site-packages" in path or not os.path.isdir(path):
            raise ImportError
        return importlib.machinery.FileFinder(path, *loaders)

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()


def load_file(path: str) -> Any:
    """Import a file whatever its extension, ``.wsgi`` for instance; anew if it was imported before."""
    name = "wsgi_file_" + "".join(char if char.isalnum() else "_" for char in path)
    loader = _SourceLoader(name, os.path.abspath(path))
    spec = importlib.util.spec_from_loader(name, loader)
    if spec is None:
        raise LoadError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module
