"""Finding out whether a program could start that is about to replace a running one."""

import errno
import logging
import os
import sys
from dataclasses import replace

from fastrouter.cache.store import Cache, check_store
from fastrouter.options import Options
from master.fifo import check_fifo
from master.heritage import Heritage
from master.logs import make_sink
from master.privileges import could_become, drop_privileges
from workers.mapping import load_mapping
from workers.process import die_with_parent
from workers.sinks import open_log
from workers.usercode import LoadError, load_application
from workers.uwsgimodule import install_uwsgi_module

__all__ = ["rehearse"]


def rehearse(options: Options, heritage: Heritage, log_path: str) -> int:
    """See to the caches, logs and pipes, and load the user's code, once everything is bound.

    Returns an exit code, and says what is wrong; hands over the options when nothing is.
    Raises CacheError and OSError.
    """
    parent = os.getppid()
    die_with_parent(parent)
    for definition in options.cache.definitions():
        if definition.name not in heritage.caches:
            check_store(definition)
    if not could_become(options.master.uid):
        raise PermissionError(errno.EPERM, f"only root can become {options.master.uid}; restart for that")
    drop_privileges(options.master.uid, options.master.gid, options.master.add_gid)
    die_with_parent(parent)
    _check_files(options, heritage, log_path)
    caches = {one.name: Cache(replace(one, store=""), 1) for one in options.cache.definitions()}
    install_uwsgi_module(caches, options.sockets.socket_timeout, 0)
    try:
        if options.app.is_served and (options.app.wsgi_file or options.app.module):
            load_application(options.app)
        if options.router.use_code_string is not None:
            load_mapping(options.router.use_code_string, options.app)
    except LoadError as error:
        print(f"fastrouter-master: {error}", file=sys.stderr)
        return 1
    except (Exception, SystemExit):
        logging.exception("the application cannot be loaded")
        return 1
    heritage.write_options(options)
    return 0


def _check_files(options: Options, heritage: Heritage, log_path: str) -> None:
    """Raises OSError for what could not be opened. Files that are open already may do in place of others."""
    for path, former in ((log_path, heritage.log), (options.router.log, heritage.access_log)):
        try:
            if path:
                os.close(open_log(path))
        except PermissionError:
            if former < 0:
                raise
    if not log_path:
        make_sink(options.log, "", -1)
    for path in options.master.fifo:
        if os.path.abspath(path) not in heritage.fifos:
            check_fifo(path)
