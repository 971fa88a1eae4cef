"""The script process: runs the user's code beside a router that has no application to serve.

uWSGI loads ``file = script.py`` in its master, where it typically fills a cache. Here it has a process of its
own, which goes on for the sake of any threads that the script has started.
"""

import logging
import os
import signal
from collections.abc import Callable

from workers.context import Context
from workers.process import BOOT_FAILURE
from workers.usercode.loading import LoadError, load_script
from workers.usercode.uwsgi_module import install_uwsgi_module

__all__ = ["run_script"]

log = logging.getLogger("fastrouter")


def run_script(context: Context, index: int, ready: Callable[[], None]) -> int:
    """Run the script, and stay until told to stop. Returns the exit code."""
    options = context.options.app
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: os._exit(0))
    install_uwsgi_module(context.caches, context.options.sockets.socket_timeout)
    try:
        load_script(options)
    except LoadError as error:
        log.error("cannot run the script: %s", error)
        return BOOT_FAILURE
    except (Exception, SystemExit):
        log.exception("%s failed", options.wsgi_file or options.module)
        return BOOT_FAILURE
    ready()
    while True:
        signal.pause()
