"""Compiles what runs for every request with mypyc, from the same sources, where there is a C compiler.

Without one, or with FASTROUTER_PURE set, the modules run as they stand; everything else is in pyproject.toml.
"""

import os
from glob import glob

from setuptools import Extension, setup

HOT = [
    "fastrouter/address.py",
    *sorted(glob("fastrouter/balance/[a-z]*.py")),
    "fastrouter/counters.py",
    *sorted(glob("fastrouter/forwarders/[a-z]*.py")),
    "fastrouter/framing.py",
    "fastrouter/health.py",
    "fastrouter/node.py",
    "fastrouter/pool.py",
    "fastrouter/request.py",
    "fastrouter/routes.py",
    "fastrouter/text.py",
    "workers/channels.py",
    "workers/dialling.py",
    "workers/fastrouter.py",
    "workers/gate.py",
    "workers/loop.py",
    "workers/passing.py",
    "workers/queue.py",
    "workers/relay.py",
    "workers/router.py",
    "workers/session.py",
]


def extensions() -> list[Extension]:
    if os.environ.get("FASTROUTER_PURE"):
        return []
    from mypyc.build import mypycify

    compiled: list[Extension] = mypycify(HOT, opt_level="2", group_name="fastrouter_hot")
    for extension in compiled:
        extension.optional = True
    return compiled


setup(ext_modules=extensions())
