"""Waking up: what happens to the watcher when the file system says something odd."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from runicorn.projection.watching import Watcher
from tests.serving import wait_until


def test_a_name_that_is_not_utf_8_does_not_end_the_watcher(tmp_path: Path) -> None:
    seen: set[str] = set()
    looked_at_everything = threading.Event()

    def look(paths: frozenset[str] | None) -> None:
        if paths is None:
            looked_at_everything.set()
        else:
            seen.update(paths)

    watcher = Watcher(look)
    watcher.watch(frozenset({str(tmp_path)}))
    watcher.start()
    try:
        assert looked_at_everything.wait(10)
        looked_at_everything.clear()
        with open(os.fsencode(tmp_path) + b"/\xff\xfe", "wb"):
            pass
        assert looked_at_everything.wait(10)  # what the notice was about is lost
        (tmp_path / "after").touch()
        wait_until(lambda: str(tmp_path / "after") in seen or looked_at_everything.is_set(), "a notice")
        assert watcher.is_alive()
    finally:
        watcher.stop()
        watcher.join(10)
