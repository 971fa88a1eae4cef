"""Compiles what runs for every request with mypyc, from the same sources, where there is a C compiler.

Without one, or with FASTROUTER_PURE set, the modules run as they stand; everything else is in pyproject.toml.
"""

import os
from contextlib import suppress
from glob import glob
from textwrap import shorten

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

_NOT_COMPILED = """
%s
fastrouter is NOT compiled: %s
It works, but a request costs more. What is missing is a C compiler, or Python.h: on Debian, gcc, libc6-dev
and python3-dev. FASTROUTER_PURE=1 leaves the compilation out without this message.
%s"""

HOT = [
    "fastrouter/address.py",
    "fastrouter/memory/outcomes.py",
    *sorted(glob("fastrouter/routing/**/[a-z]*.py", recursive=True)),
    "fastrouter/text.py",
    "fastrouter/wire/framing.py",
    "fastrouter/wire/request.py",
    "fastrouter/wire/traits.py",
    "workers/gateways/fastrouter.py",
    "workers/gateways/raw.py",
    "workers/loop.py",
    "workers/routing/acceptor.py",
    "workers/routing/dialling.py",
    "workers/routing/duplex.py",
    "workers/routing/engine.py",
    "workers/routing/exchange.py",
    "workers/routing/handoff.py",
    "workers/routing/kept.py",
    "workers/routing/nodes.py",
    "workers/routing/relay.py",
    "workers/routing/router.py",
    "workers/routing/session.py",
    "workers/routing/waiting.py",
]


class BuildAll(build_ext):
    """Compiles all of them or none, and says so: a part does not work with the sources of the rest."""

    def run(self) -> None:
        try:
            super().run()
        except (BaseError, CCompilerError) as error:
            for extension in self.extensions:
                with suppress(FileNotFoundError):
                    os.unlink(self.get_ext_fullpath(extension.name))
            self.extensions = []
            print(_NOT_COMPILED % ("*" * 80, shorten(str(error), 100), "*" * 80), flush=True)


def extensions() -> list[Extension]:
    if os.environ.get("FASTROUTER_PURE"):
        return []
    from mypyc.build import mypycify

    compiled: list[Extension] = mypycify(HOT, opt_level="2", group_name="fastrouter_hot")
    return compiled


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildAll})
