from __future__ import annotations

import errno
import json
import multiprocessing
import shutil
import threading
from pathlib import Path

import pytest

from runicorn.files import file_lock
from runicorn.sdk import side_file
from runicorn.sdk.side_file import ABSENT, SideFile
from runicorn.sdk.warn_once import Warnings
from tests.core.sdk.run_files import json_of
from tests.core.sdk.test_appender import file_size_limit
from tests.serving import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    return directory / "summary.json"


def side_file_at(path: Path) -> SideFile:
    return SideFile(str(path), path.parent.exists, Warnings())


def test_keys_are_merged_into_what_another_writer_left(path: Path):
    path.write_text('{"theirs": NaN, "both": 1}')
    side_file_at(path).merge({"both": 2, "ours": "é"})
    assert json_of(path)["both"] == 2
    assert list(json_of(path)) == ["theirs", "both", "ours"]
    assert "é" in path.read_text()


def test_absent_removes_a_key_and_none_is_a_value(path: Path):
    side_file_at(path).merge({"a": 1, "b": 2})
    side_file_at(path).merge({"a": ABSENT, "b": None})
    assert json_of(path) == {"b": None}


def test_replacing_forgets_what_was_there(path: Path):
    side_file_at(path).merge({"a": 1})
    side_file_at(path).merge({"b": 1}, replace=True)
    assert json_of(path) == {"b": 1}


@pytest.mark.parametrize("content", ["", "[1]", "{", "\x00"])
def test_a_damaged_file_is_put_aside_and_begun_anew(path: Path, content: str):
    path.write_text(content)
    side_file_at(path).merge({"a": 1})
    assert json_of(path) == {"a": 1}
    aside = path.with_name("summary.json.corrupt")
    assert (aside.read_text() if aside.exists() else "") == content


def test_a_file_that_cannot_be_read_for_a_moment_loses_no_key(path: Path, monkeypatch: pytest.MonkeyPatch):
    path.write_text('{"theirs": 1}')
    file = side_file_at(path)
    with monkeypatch.context() as failing:

        def stale(path: str) -> None:
            raise OSError(errno.ESTALE, "Stale file handle")

        failing.setattr(side_file, "open_to_read", stale)
        file.merge({"ours": 1})
        assert json_of(path) == {"theirs": 1}
    file.flush()
    assert json_of(path) == {"theirs": 1, "ours": 1}


def test_the_event_comes_first_and_under_the_lock(path: Path):
    seen: list[object] = []

    def append_event() -> None:
        seen.append(path.exists())
        with pytest.raises(TimeoutError), file_lock(f"{path}.lock", timeout_s=0):
            pass

    side_file_at(path).merge({"a": 1}, append_event=append_event)
    assert seen == [False]
    assert json_of(path) == {"a": 1}


def test_what_cannot_be_written_is_merged_and_tried_again(path: Path, caplog):
    file = side_file_at(path)
    with file_size_limit(0):
        file.merge({"a": 1, "b": 1})
        file.merge({"b": 2})
        assert not path.exists()
    wait_until(path.exists, "the retry in the background")
    assert json_of(path) == {"a": 1, "b": 2}
    assert caplog.text.count("WARNING") == 1
    assert list(path.parent.glob("*.tmp")) == []


def test_nothing_is_made_where_the_run_was_removed(path: Path):
    file = side_file_at(path)
    shutil.rmtree(path.parent)
    file.merge({"a": 1})
    file.flush()
    assert not path.parent.exists()


def test_a_lock_that_nobody_releases_delays_a_change_only_for_a_while(path: Path, monkeypatch):
    monkeypatch.setattr(side_file, "_LOCK_TIMEOUT_S", 0.05)
    with file_lock(f"{path}.lock"):
        side_file_at(path).merge({"a": 1})
    assert json_of(path) == {"a": 1}


def test_a_change_within_a_change_of_the_same_thread_is_kept(path: Path):
    """As by a signal handler."""
    file = side_file_at(path)
    order: list[str] = []
    file.merge({"outer": 1}, append_event=lambda: file.merge({"inner": 2}, append_event=lambda: order.append("event")))
    assert json_of(path) == {"outer": 1, "inner": 2}
    assert order == ["event"]


def _count_up(path: Path, name: str) -> None:
    file = side_file_at(path)

    def work(thread: int) -> None:
        for number in range(20):
            file.merge({f"{name}.{thread}": number, f"{name}.{thread}.{number}": 1})

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_processes_and_threads_lose_no_change(path: Path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_count_up, args=(path, name)) for name in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = json.loads(path.read_text())
    assert len(found) == 2 * 2 * 21
    assert all(found[f"{name}.{thread}"] == 19 for name in "ab" for thread in range(2))
