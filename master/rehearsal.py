"""Finding out whether a program could start that is about to replace a running one."""

import logging
import sys

from fastrouter.options import Options
from master.privileges import drop_privileges
from workers.mapping import load_mapping
from workers.usercode import LoadError, load_application
from workers.uwsgimodule import install_uwsgi_module

__all__ = ["rehearse"]


def rehearse(options: Options) -> int:
    """Load the user's code, once everything is bound. Returns an exit code, and says what is wrong."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    drop_privileges(options.master.uid, options.master.gid)
    install_uwsgi_module({}, options.sockets.socket_timeout, 0)
    try:
        if options.app.sockets and (options.app.wsgi_file or options.app.module):
            load_application(options.app)
        if options.router.use_code_string is not None:
            load_mapping(options.router.use_code_string, options.app)
    except LoadError as error:
        print(f"fastrouter-master: {error}", file=sys.stderr)
        return 1
    except (Exception, SystemExit):
        logging.exception("the application cannot be loaded")
        return 1
    return 0
