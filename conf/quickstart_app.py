"""The smallest WSGI application that shows what it was asked."""

import os


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    host = environ.get("HTTP_HOST", "somebody")
    return [f"Hello {host}, this is process {os.getpid()} answering {environ['REQUEST_URI']}\n".encode()]
