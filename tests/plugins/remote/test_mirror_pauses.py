"""What a mirror does while it cannot go on: growing pauses, one event for each change of state, and a lag that is true."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runicorn_remote.events import MirrorChanged, MirrorStarted, MirrorStopped
from runicorn_remote.mirror.pauses import Pauses
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.mirror.task import MirrorTask
from tests.plugins.remote.mirroring import RUN, connect_to, mirrored, mirroring, target_of, wait_for_scans, write_run
from tests.serving import wait_until
from tests.sshd import Sshd


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that tasks want to make; they are a twentieth as long."""
    wanted: list[float] = []
    next_s = Pauses.next_s

    def shorter(self: Pauses) -> float:
        wanted.append(next_s(self))
        return wanted[-1] / 20

    monkeypatch.setattr(Pauses, "next_s", shorter)
    return wanted


@contextmanager
def told(sshd: Sshd, there: Path, here: Path) -> Iterator[tuple[MirrorTask, list[object]]]:
    """A task, and what it tells the log about itself."""
    events: list[object] = []

    def record(*payloads: object) -> None:
        events.extend(one for one in payloads if isinstance(one, MirrorStarted | MirrorChanged | MirrorStopped))

    here.mkdir()
    connection = connect_to(sshd)
    source = RemoteSource(target_of(sshd), str(there))
    task = MirrorTask(connection, connection.connection_id, source, here, 0.5, record)
    task.start()
    try:
        yield task, events
    finally:
        task.stop()
        connection.close()


def states(events: list[object]) -> list[str]:
    return [event.state for event in events if isinstance(event, MirrorChanged)]


def is_doubling(pauses: list[float]) -> bool:
    return all(0.8 * 2**number <= pause <= 1.2 * 2**number for number, pause in enumerate(pauses))


def test_pauses_double_up_to_a_minute_and_begin_anew() -> None:
    pauses = Pauses()
    wanted = [pauses.next_s() for _ in range(10)]
    assert is_doubling(wanted[:6])
    assert all(48 <= pause <= 72 for pause in wanted[6:])
    pauses.reset()
    assert is_doubling([pauses.next_s()])


def test_a_file_without_room_is_told_once_and_tried_with_growing_pauses(
    sshd: Sshd, tmp_path: Path, pauses: list[float]
) -> None:
    there = tmp_path / "there"
    large = write_run(there, status="running") / "large.bin"
    large.touch()
    os.truncate(large, shutil.disk_usage(there).free + (1 << 40))  # a hole, which takes no room there
    with told(sshd, there, tmp_path / "here") as (task, events):
        wait_until(lambda: len(pauses) >= 5, f"{task.report()}", timeout_s=60)
        assert is_doubling(pauses[:5])
        assert states(events) in (["syncing", "reconnecting"], ["syncing", "watching", "reconnecting"])
        assert "No space left" in task.report().last_error
        assert task.report().waiting_files == 1
        before = states(events)
        large.write_bytes(b"it fits")
        wait_until(lambda: task.report().state == "watching", f"{task.report()}", timeout_s=60)
        assert mirrored(tmp_path / "here") == mirrored(there)
        assert task.report().last_error == ""
        large.unlink()
    assert states(events) == [*before, "watching"]
    assert [type(event) for event in (events[0], events[-1])] == [MirrorStarted, MirrorStopped]


def test_a_lost_server_is_told_once_and_a_good_scan_makes_the_pauses_short_again(
    sshd: Sshd, tmp_path: Path, pauses: list[float]
) -> None:
    write_run(tmp_path / "there", status="running")
    with told(sshd, tmp_path / "there", tmp_path / "here") as (task, events):
        wait_for_scans(task)
        for rounds in (1, 2):
            pauses.clear()
            sshd.kill()
            wait_until(lambda: len(pauses) >= 4, f"{task.report()}", timeout_s=60)
            assert is_doubling(pauses[:4])
            sshd.start()
            wait_until(lambda: task.report().state == "watching", f"{task.report()}", timeout_s=60)
            assert states(events) == ["syncing", "watching", *["reconnecting", "watching"] * rounds]


def test_a_root_that_is_gone_is_told_once(sshd: Sshd, tmp_path: Path, pauses: list[float]) -> None:
    there = tmp_path / "there"
    write_run(there)
    with told(sshd, there, tmp_path / "here") as (task, events):
        wait_for_scans(task)
        there.rename(tmp_path / "moved")
        wait_until(lambda: len(pauses) >= 4, f"{task.report()}", timeout_s=60)
        assert is_doubling(pauses[:4])
        assert states(events) == ["syncing", "watching", "reconnecting"]
        assert "Remote path not found" in task.report().last_error
        assert (tmp_path / "here" / RUN / "meta.json").exists()


@pytest.mark.slow(2)
def test_the_lag_is_small_while_runs_are_followed_and_grows_while_they_are_not(sshd: Sshd, tmp_path: Path) -> None:
    write_run(tmp_path / "there", status="running")
    with mirroring(sshd, tmp_path / "there", tmp_path / "here") as task:
        assert task.report().lag_s is None
        wait_until(lambda: task.report().state == "watching")
        wait_for_scans(task)
        first = task.report().lag_s
        assert first is not None
        assert (task.report().waiting_files, task.report().waiting_bytes) == (0, 0)
        sshd.kill()
        wait_until(lambda: (task.report().lag_s or 0) > first + 3, f"{task.report()}")
        behind = task.report().lag_s
        assert behind is not None
        sshd.start()
        wait_until(lambda: (task.report().lag_s or behind) < behind, f"{task.report()}", timeout_s=60)


@pytest.mark.slow(2)
def test_what_is_waiting_is_counted_until_it_is_here(sshd: Sshd, tmp_path: Path) -> None:
    large = write_run(tmp_path / "there", status="running") / "large.bin"
    large.touch()
    os.truncate(large, 300 << 20)
    with mirroring(sshd, tmp_path / "there", tmp_path / "here") as task:
        wait_until(lambda: task.report().waiting_bytes >= 300 << 20, f"{task.report()}")
        wait_until(lambda: task.report().state == "watching", f"{task.report()}")
        here = tmp_path / "here" / RUN / "large.bin"
        wait_until(lambda: here.exists() and here.stat().st_size == 300 << 20, "the file", timeout_s=120)
        wait_until(lambda: task.report().waiting_files == 0, f"{task.report()}")
        assert task.report().waiting_bytes == 0
