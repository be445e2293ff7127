"""What was observed while somebody keeps the lock of the store stream: nobody waits for it, and it is not lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from runicorn.events.store import StoreStream
from runicorn.files import file_lock
from runicorn.projection.recording import ObservedEvents
from tests.projecting import InProcess
from tests.serving import wait_until
from tests.stores import make_run

KEYS = [f"p/n/runs/{number}" for number in range(3)]


def test_what_cannot_be_recorded_now_is_recorded_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "root"
    for key in KEYS:
        make_run(root, key, meta={"created_at": 1.0})
    (root / ".runicorn" / "log").mkdir(parents=True)
    projector = InProcess(root, tmp_path / "state")
    attempts: list[None] = []
    real = StoreStream.append_at

    def append_at(self, events):
        attempts.append(None)
        return real(self, events)

    def listed() -> int:
        projector.sweep()
        return len(projector.db.execute("SELECT key FROM run").fetchall())

    monkeypatch.setattr(StoreStream, "append_at", append_at)
    monkeypatch.setattr("runicorn.projection.recording._PAUSE_S", 1000.0)
    with file_lock(root / ".runicorn" / "log" / "lock"):
        for _ in range(3):
            assert listed() == 0
    assert len(attempts) == 1  # it rests, instead of waiting again for each run
    assert "Another process holds the lock" in caplog.text

    recorded = projector.observer._recorded
    assert isinstance(recorded, ObservedEvents)
    recorded._rests_until = 0.0
    wait_until(lambda: listed() == len(KEYS), "the runs")
