"""fastrouter: routes uwsgi requests to the nodes that announce themselves.

This package is the library: bytes in, values out. It neither forks, nor handles signals, nor runs an
event loop. The children that do are in ``workers``, the process that keeps them alive is in ``master``.

The words used everywhere:

node
    one address that serves requests
pool
    all nodes of one key
key
    the name that a request asks for and a node is announced under, e.g. ``foo.com``
session
    one client connection, from accept to close
announcement
    the datagram by which a node joins, refreshes or leaves a pool
forwarder
    the rule that turns a key into candidate nodes
router worker, subscription server, app worker, announcer, master
    the processes
"""

__version__ = "0.1.0"
