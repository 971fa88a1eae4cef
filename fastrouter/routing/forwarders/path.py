"""Forwarders that make a node's address of the key itself: ``fastrouter-use-base`` and ``-use-pattern``."""

import os
import re
from collections.abc import Iterator

from fastrouter.routing.forwarders.adhoc import AdhocNodes, UnlistedForwarder
from fastrouter.routing.node import Node
from fastrouter.text import to_text

__all__ = ["PathForwarder", "base_template", "pattern_template"]

_PATTERN = re.compile(r"%(.)", re.DOTALL)


def base_template(base: str) -> list[str]:
    """What stands before and after the key.

    uWSGI puts nothing in between, and neither does this, but for what the documentation shows: a directory
    without the slash at its end, and a pattern.
    """
    if "%s" in base:
        return pattern_template(base)
    if not base.endswith("/") and os.path.isdir(base):
        base += "/"
    return [base, ""]


def pattern_template(pattern: str) -> list[str]:
    """The parts of a pattern between its keys: ``%s`` is the key, ``%%`` a percent sign, as in uWSGI."""
    parts = [""]
    at = 0
    for match in _PATTERN.finditer(pattern):
        parts[-1] += pattern[at : match.start()]
        at = match.end()
        if match[1] == "s":
            parts.append("")
        elif match[1] in "%(":
            parts[-1] += "%" if match[1] == "%" else "%("
    parts[-1] += pattern[at:]
    return parts


class PathForwarder(UnlistedForwarder):
    """Puts the key in the gaps of a template.

    The key comes from the network. In a path it may name one thing and nothing else: keys with a slash, and
    the names of the directory itself and of its parent, have no node.
    """

    def __init__(self, template: list[str], nodes: AdhocNodes) -> None:
        self._template = template
        self._nodes = nodes

    def candidates(self, key: bytes, remote: bytes) -> Iterator[Node]:
        if self.knows(key):
            text = to_text(key).join(self._template)
            # What is no address may be the name of a socket with a colon in it.
            node = self._nodes.get(text) or self._nodes.get(f"./{text}")
            if node is not None:
                yield node

    def knows(self, key: bytes) -> bool:
        return b"/" not in key and key not in (b".", b"..")
