"""Compiles what runs for every request with mypyc, from the same sources, where there is a C compiler.

Without one, or with FASTROUTER_PURE set, the modules run as they stand; everything else is in pyproject.toml.
"""

import os

from setuptools import Extension, setup

HOT = [
    "fastrouter/address.py",
    "fastrouter/balance/wrr.py",
    "fastrouter/forwarders/fallback.py",
    "fastrouter/forwarders/path.py",
    "fastrouter/forwarders/static.py",
    "fastrouter/forwarders/subscription.py",
    "fastrouter/node.py",
    "fastrouter/request.py",
    "fastrouter/routes.py",
    "workers/fastrouter.py",
    "workers/gate.py",
    "workers/loop.py",
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
