"""Making the caches, and storing in them what the configuration says."""

import logging
from collections.abc import Mapping

from fastrouter.cache.definition import Definition, parse_item
from fastrouter.cache.store import Cache
from fastrouter.options import Options
from fastrouter.subscriptions.replays import MARK_SIZE, NAME_SIZE
from fastrouter.text import to_bytes
from workers.context import Context, Gateway

__all__ = ["fill_caches", "make_caches", "make_signed_times", "signed_times_name"]

log = logging.getLogger("fastrouter")

_TIMES = 65536

_SIGNED_TIMES = "times of signed announcements"


def make_caches(context: Context, former: Mapping[str, int]) -> dict[str, Cache]:
    """All caches, by name; former are the descriptors of those of the program before a reload.

    Raises CacheError and OSError when a store cannot be used.
    """
    readers = sum(gateway.workers for gateway in context.gateways)
    return {
        definition.name: Cache(definition, readers, former.get(definition.name, -1), locks=context.locks)
        for definition in context.options.cache.definitions()
    }


def signed_times_name(gateway: Gateway) -> str:
    """What a gateway's times of signed announcements are called among the caches that are handed over."""
    return _SIGNED_TIMES if gateway.prefix == "fastrouter" else f"{_SIGNED_TIMES} to {gateway.prefix}"


def make_signed_times(gateway: Gateway, former: Mapping[str, int]) -> Cache | None:
    """Where a subscription server keeps the times of signed announcements, for its successor too."""
    options = gateway.context.options
    if options.subscription.sign_check is None:
        return None
    name = signed_times_name(gateway)
    # Of nodes that have left, too; always the same, since a store of another size is begun anew.
    items = max(_TIMES, 4 * options.subscription.max_nodes)
    # Beside the table, so that nothing which was heard before a restart is obeyed after it.
    store = f"{path}.times" if (path := gateway.saved_table) else ""
    definition = Definition(
        name,
        items,
        blocksize=MARK_SIZE,
        keysize=NAME_SIZE,
        store=store,
        store_delete=True,
        ignore_full=True,  # the oldest make room (replays.py)
    )
    return Cache(definition, 0, former.get(name, -1))


def fill_caches(caches: Mapping[str, Cache], options: Options) -> None:
    """Store what add-cache-item and load-file-in-cache name. What is there already, from a store, stays."""
    for text in options.cache.add_item:
        name, key, value = parse_item(text)
        _store(caches, name, key, value)
    for text in options.cache.load_file:
        name, blank, path = text.partition(" ")
        if not blank:
            name, path = "", text
        try:
            with open(path, "rb") as file:
                value = file.read()
        except OSError as error:
            log.error("[cache-error] cannot read %s: %s", path, error.strerror)
            continue
        _store(caches, name, to_bytes(path), value)


def _store(caches: Mapping[str, Cache], name: str, key: bytes, value: bytes) -> None:
    text = key.decode("utf-8", "replace")
    for cache in [caches[name]] if name else caches.values():
        if cache.set(key, value):
            log.info('[cache] stored "%s" in "%s"', text, cache.name)
        elif cache.peek(key) is None:
            log.error('[cache-error] unable to store "%s" in "%s"', text, cache.name)
