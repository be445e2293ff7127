"""When a sync is due, whatever somebody does to the clock of this machine; and what asking for a cache costs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.smart.adapter import Adapter
from runicorn_remote.smart.cache import Cache
from runicorn_remote.smart.offline import has_cache, newest_cache
from tests.plugins.remote.mirroring import connect_to, target_of, write_run
from tests.serving import wait_until
from tests.sshd import Sshd

_HOUR_S = 3600.0


def test_a_clock_that_is_set_back_puts_no_sync_off(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "there")
    connection = connect_to(sshd)
    source = RemoteSource(target_of(sshd), str(tmp_path / "there"))
    adapter = Adapter(
        connection, source, auto_sync=True, interval_minutes=5, after_sync=lambda _: None, tell=lambda _: None
    )
    adapter.start(sync_now=True)
    try:
        wait_until(lambda: adapter.stats().sync_count == 1)
        real = time.time
        with monkeypatch.context() as patched:
            patched.setattr("runicorn_remote.smart.adapter.time.time", lambda: real() - _HOUR_S)
            assert adapter.next_sync_at is not None
            assert adapter.next_sync_at - time.time() <= 5 * 60
    finally:
        adapter.stop()
        connection.close()


def test_whether_there_is_a_cache_is_known_without_opening_it(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_cache()
    cache = Cache.for_writing(RemoteSource(target_of(sshd), str(tmp_path)))
    assert not has_cache()  # never synced
    cache.note_sync()
    cache.close()

    def measure(self: Cache) -> None:
        raise AssertionError("every file of the cache would be looked at")

    with monkeypatch.context() as patched:
        patched.setattr(Cache, "measure", measure)
        assert has_cache()
    newest = newest_cache()
    assert newest is not None
    assert newest.directory == cache.directory
    newest.close()
