"""What a cache is like, and how configurations say so: ``cache``, ``cache2``, ``add-cache-item``."""

from dataclasses import dataclass

from fastrouter.text import to_bytes
from fastrouter.wire.keyval import parse_keyval

__all__ = ["CacheError", "Definition", "parse_definition", "parse_item"]

_BLOCKSIZE = 65536
_MOST_ITEMS = 1 << 24


class CacheError(ValueError):
    """A definition or an item that cannot be understood; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One cache."""

    name: str
    items: int
    """Most keys."""
    blocksize: int = _BLOCKSIZE
    """Most bytes of a value."""
    keysize: int = 2048
    """Most bytes of a key."""
    expires: int = 0
    """Seconds that an item lives when it is stored without saying, 0 for ever. Not in uWSGI."""
    store: str = ""
    """A file that keeps the content over restarts."""
    store_delete: bool = False
    """Begin anew with a store that does not fit the definition."""
    lru: bool = False
    """When full, the item that was not used for longest goes; nothing expires."""
    no_expire: bool = False
    clear_on_full: bool = False
    ignore_full: bool = False
    """Do not log that it is full."""
    math_initial: int = 0
    """What inc, dec, mul and div begin with."""


_NUMBERS = {
    "items": "items",
    "max_items": "items",
    "maxitems": "items",
    "blocksize": "blocksize",
    "keysize": "keysize",
    "key_size": "keysize",
    "expires": "expires",
    "math_initial": "math_initial",
}

_FLAGS = {
    "lru": "lru",
    "purge_lru": "lru",
    "no_expire": "no_expire",
    "clear_on_full": "clear_on_full",
    "ignore_full": "ignore_full",
    "store_delete": "store_delete",
    "storedelete": "store_delete",
}

_WITHOUT_MEANING = frozenset(
    {"hash", "hashsize", "hash_size", "blocks", "lazy_expire", "lazy", "sweep_on_full", "lastmod"}
    | {"store_sync", "storesync"}
)
"""They tune what is done otherwise here: nothing is hashed, expired items are never seen, and make room."""


def parse_definition(text: str) -> Definition:
    """Read a value of ``cache2``. Raises CacheError."""
    fields: dict[str, object] = {}
    for name, value in parse_keyval(text).items():
        if name in _NUMBERS:
            if not value.isascii() or not value.isdecimal():
                raise CacheError(f"expected a whole number for {name}, not {value!r}")
            fields[_NUMBERS[name]] = int(value)
        elif name in _FLAGS:
            fields[_FLAGS[name]] = True
        elif name in ("name", "store"):
            fields[name] = value
        elif name not in _WITHOUT_MEANING:
            raise CacheError(f"there is no {name!r} in the caches of this program")
    definition = Definition(**{"name": "", "items": 0, **fields})  # type: ignore[arg-type]
    if not definition.name:
        raise CacheError("expected a name: name=NAME,items=N")
    if not 0 < definition.items <= _MOST_ITEMS:
        raise CacheError(f"expected items=N, from 1 to {_MOST_ITEMS}")
    if not 0 < definition.keysize < 65536:
        raise CacheError("expected a keysize from 1 to 65535")
    if not 0 < definition.blocksize < 1 << 31:
        raise CacheError("expected a blocksize of at least 1")
    return definition


def parse_item(text: str) -> tuple[str, bytes, bytes]:
    """Read a value of ``add-cache-item``, ``[CACHE ]KEY=VALUE``. Raises CacheError.

    Returns the name of the cache, empty for every one, the key and the value.
    """
    cache, blank, rest = text.partition(" ")
    if not blank:
        cache, rest = "", text
    key, equals, value = rest.partition("=")
    if not equals or not key or not value:
        raise CacheError("expected KEY=VALUE or CACHE KEY=VALUE")
    return cache, to_bytes(key), to_bytes(value)
