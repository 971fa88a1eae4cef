"""Loading the mapping function that ``fastrouter-use-code-string`` names."""

import importlib
import sys
from collections.abc import Callable

from fastrouter.options import AppOptions, MappingSource
from fastrouter.text import to_text
from workers.usercode.loading import LoadError, load_file, prepare_imports

__all__ = ["MappingKey", "load_mapping"]


class MappingKey(str):
    """The key as a mapping function gets it: text, as documented.

    uWSGI 2.0.31 passes bytes on Python 3, so it also passes for those: it equals them, is found where they
    are (the hashes of ASCII text and of its bytes are the same), and can be decoded.
    """

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return super().__eq__(to_text(other) if isinstance(other, bytes) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self)


def load_mapping(source: MappingSource, options: AppOptions) -> Callable[[bytes], object]:
    """Run the script, again if it was run before, and return its function.

    Raises LoadError when there is none; what the script itself raises passes through.
    """
    prepare_imports(options)
    if source.is_file:
        loaded = load_file(source.script)
    elif source.script in sys.modules:
        loaded = importlib.reload(sys.modules[source.script])
    else:
        loaded = importlib.import_module(source.script)
    function = getattr(loaded, source.function, None)
    if not callable(function):
        raise LoadError(f"there is no function {source.function!r} in {source.script}")
    return lambda key: function(MappingKey(to_text(key)))
