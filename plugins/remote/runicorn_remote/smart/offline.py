"""The cache that is shown where there is no connection: the one that was synced last."""

from __future__ import annotations

import contextlib

from runicorn_remote.smart.cache import Cache, caches_directory


def newest_cache() -> Cache | None:
    """The cache that was synced last, to be read; None if there is none."""
    cache = _newest()
    if cache is not None:
        cache.open_to_read()
    return cache


def has_cache() -> bool:
    """Whether there is a cache that `newest_cache` would open. Reads a small file of each."""
    return _newest() is not None


def _newest() -> Cache | None:
    found: list[Cache] = []
    with contextlib.suppress(OSError):
        found = [Cache(path) for path in caches_directory().iterdir() if (path / "source.json").is_file()]
    synced = [(cache.last_sync, cache) for cache in found if cache.last_sync is not None]
    return max(synced, key=lambda pair: pair[0])[1] if synced else None
