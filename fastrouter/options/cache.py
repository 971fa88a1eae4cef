"""The options of the caches."""

from dataclasses import dataclass

from fastrouter.cache.definition import Definition, parse_definition
from fastrouter.options.declaration import Group, many, one

__all__ = ["CacheOptions"]


@dataclass(slots=True)
class CacheOptions(Group):
    """Caches"""

    cache: int = one(
        "integer(0, 16777216)",
        0,
        "create a cache named default with N items",
        metavar="N",
        differs="has room for N items, not N - 1",
    )
    cache2: list[str] = many(
        "text",
        "create a cache: name=NAME,items=N[,blocksize=BYTES][,expires=SECONDS]...",
        metavar="KEYVAL",
        differs=(
            "hash, hashsize, blocks, lazy_expire, sweep_on_full, lastmod and store_sync mean nothing "
            "here; bitmap, udp, nodes and sync are errors"
        ),
    )
    blocksize: int = one(
        "count",
        65536,
        "longest value in the default cache, in bytes",
        name="cache-blocksize",
        metavar="BYTES",
    )
    store: str = one(
        "text", "", "keep the default cache in FILE over restarts", name="cache-store", metavar="FILE"
    )
    no_expire: bool = one("flag", False, "never expire items of the default cache", name="cache-no-expire")
    add_item: list[str] = many(
        "text",
        "store an item, in every cache if none is named",
        name="add-cache-item",
        metavar="[CACHE ]KEY=VALUE",
    )
    load_file: list[str] = many(
        "text",
        "store a file's content under its path",
        name="load-file-in-cache",
        metavar="[CACHE ]FILE",
    )

    allow: list[str] = many(
        "peer",
        "obey cache commands from NETWORK (or unix: over UNIX sockets) on the application's own sockets",
        name="cache-allow",
        metavar="NETWORK-OR-unix",
    )

    def definitions(self) -> list[Definition]:
        """Of all caches, in the order in which they are made. Raises CacheError."""
        first = []
        if self.cache:
            first = [
                Definition("default", self.cache, self.blocksize, store=self.store, no_expire=self.no_expire)
            ]
        return first + [parse_definition(text) for text in self.cache2]
