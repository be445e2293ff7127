"""What goes first when a cache is too large, and what never does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runicorn_remote.connector import Target
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.smart.cache import Cache, CacheBusy
from runicorn_remote.smart.cleanup import clean_up

RUN = "p/n/runs/one"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    cache = Cache.for_writing(RemoteSource(Target("box", 22, "me"), "/data"))
    yield cache
    cache.close()


def write(path: Path, size: int, used: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (used, 1.0))
    return path


def test_least_recently_used_files_go_first_and_metadata_never(cache: Cache) -> None:
    far = 4_000_000_000.0  # in the future: later than the change of every file
    meta = write(cache.experiments / RUN / "meta.json", 50_000, far)
    events = write(cache.experiments / RUN / "events.jsonl", 100_000, far + 1)
    old = write(cache.directory / "downloads/net/v1/w.bin", 100_000, far + 2)
    new = write(cache.directory / "downloads/net/v2/w.bin", 100_000, far + 3)
    cache.measure()
    cleaned = clean_up(cache, [], cache.totals.size_bytes - 150_000)
    assert (cleaned.files_removed, cleaned.bytes_freed) == (2, 200_000)
    assert [path.exists() for path in (meta, events, old, new)] == [True, False, False, True]
    assert clean_up(cache, [new.parent], 0).files_removed == 0
    assert clean_up(cache, [], 0).files_removed == 1
    assert meta.exists()


def test_one_process_writes_a_cache(cache: Cache) -> None:
    with pytest.raises(CacheBusy, match="Cache is in use by another process"):
        Cache.for_writing(RemoteSource(Target("box", 22, "me"), "/data"))
    other = Cache.for_writing(RemoteSource(Target("box", 2222, "me"), "/data"))
    assert other.directory != cache.directory
    other.close()


def test_a_damaged_index_is_begun_anew(cache: Cache) -> None:
    cache.close()
    (cache.directory / "index.db").write_bytes(b"nothing like a database" * 100)
    again = Cache.for_writing(RemoteSource(Target("box", 22, "me"), "/data"))
    assert again.files() == {}
    again.close()
