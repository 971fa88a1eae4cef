"""Finding out whether a program could start that is about to replace a running one."""

import errno
import logging
import os
import sys
from dataclasses import replace

from fastrouter.cache.store import Cache, check_store
from fastrouter.options import Options
from master.control.fifo import check_fifo
from master.logs import make_sink
from master.reloading.handover import Handover
from master.system.privileges import could_become, drop_privileges
from workers.process import close_all_but_standard, die_with_parent
from workers.sinks import open_log
from workers.usercode.loading import LoadError, load_application
from workers.usercode.mapping import load_mapping
from workers.usercode.uwsgi_module import install_uwsgi_module

__all__ = ["PASSED", "dry_run"]

PASSED = 86
"""Exit code of a dry run that has come to its end. Code of the user's that ends it has another one."""


def dry_run(options: Options, handover: Handover, log_path: str) -> int:
    """See to the caches, logs and pipes, hand over the options, and load the user's code.

    To be called once everything is bound. Returns an exit code, and says what is wrong.
    Raises CacheError and OSError.
    """
    parent = os.getppid()
    die_with_parent(parent)
    for definition in options.cache.definitions():
        if definition.name not in handover.caches:
            check_store(definition)
    if not could_become(options.master.uid):
        raise PermissionError(errno.EPERM, f"only root can become {options.master.uid}; restart for that")
    handover.write_options(options)
    drop_privileges(options.master.uid, options.master.gid, options.master.add_gid)
    die_with_parent(parent)
    _check_files(options, handover, log_path)
    # What is open belongs to the program that runs: its sockets, its memory, its log.
    close_all_but_standard()
    code = _load_user_code(options)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or (PASSED if handover.is_sealed else 0))  # nothing that was closed is closed once more


def _load_user_code(options: Options) -> int:
    """Returns 0, or 1 when it cannot be loaded."""
    caches = {one.name: Cache(replace(one, store=""), 1) for one in options.cache.definitions()}
    install_uwsgi_module(caches, options.sockets.socket_timeout, 0)
    try:
        if options.app.is_served and options.app.is_there:
            load_application(options.app)
        for gateway in options.gateways:
            if gateway.use_code_string is not None:
                load_mapping(gateway.use_code_string, options.app)
    except LoadError as error:
        print(f"fastrouter-master: {error}", file=sys.stderr)
        return 1
    except (Exception, SystemExit):
        logging.exception("the application cannot be loaded")
        return 1
    return 0


def _check_files(options: Options, handover: Handover, log_path: str) -> None:
    """Raises OSError for what could not be opened. Files that are open already may do in place of others."""
    formers = {prefix: former.access_log for prefix, former in handover.gateways.items()}
    access_logs = [(gateway.log, formers.get(gateway.PREFIX, -1)) for gateway in options.gateways]
    for path, former in ((log_path, handover.log), *access_logs):
        try:
            if path:
                os.close(open_log(path))
        except PermissionError:
            if former < 0:
                raise
    if not log_path:
        make_sink(options.log, "", -1)
    for path in options.master.fifo:
        if os.path.abspath(path) in handover.fifos:
            continue
        try:
            check_fifo(path, may_be_read=bool(handover.fifos))
        except PermissionError:
            if not handover.fifos:
                raise
