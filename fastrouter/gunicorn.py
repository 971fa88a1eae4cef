"""A worker class of gunicorn that answers clients itself when the router passes them.

::

    gunicorn --protocol uwsgi --worker-class fastrouter.gunicorn.SyncWorker --bind unix:/run/app.sock app

The node is announced with ``fd_passing=1`` (``fastrouter-subscribe --fd-passing``), or the router is told by
``fastrouter-fd-passing`` that it takes clients. What comes from elsewhere is served as ever.
"""

import socket
from typing import Any

from gunicorn.workers import sync  # type: ignore[import-untyped]

from fastrouter.passing import take

__all__ = ["SyncWorker"]


class SyncWorker(sync.SyncWorker):  # type: ignore[misc]
    """gunicorn's, but for whom it answers."""

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:
        try:
            taken = take(client)
        except (OSError, EOFError) as error:
            self.log.debug("a connection ended: %s", error)
            client.close()
            return
        super().handle(listener, taken, addr)
