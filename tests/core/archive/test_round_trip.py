"""Exporting and importing: what was exported comes back, byte for byte, with what the store said about it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runicorn.archive import (
    ArchiveFormat,
    Limits,
    choose_runs,
    export_runs,
    import_archive,
    remove_stale_staging,
    staging_directory,
)
from runicorn.archive.exporting import NotReadable
from runicorn.archive.moving import exchange
from runicorn.errors import StorageUnavailable
from runicorn.events.log import FileLog
from runicorn.events.store import StoreStream
from runicorn.files import file_lock
from runicorn.sdk.experiments import ExperimentManager
from tests.archives import tar_of, tree
from tests.stores import make_run, metrics_event

FORMATS: tuple[ArchiveFormat, ...] = get_args(ArchiveFormat)


def exported(root: Path, kind: ArchiveFormat = "tar.gz") -> io.BytesIO:
    buffer = io.BytesIO()
    export_runs(root, root / ".runicorn/state", choose_runs(root), buffer, kind)
    return buffer


def imported(root: Path, archive: io.BytesIO, *, overwrite: bool = False):
    with staging_directory(root) as staging:
        return import_archive(root, root / ".runicorn/state", archive, staging, limits=Limits(), overwrite=overwrite)


def recorded(root: Path) -> list[tuple[float, str, dict]]:
    lines = "".join(path.read_text() for path in sorted((root / ".runicorn/log").glob("*.jsonl"))).splitlines()
    return [(event["ts"], event["type"], event["data"]) for event in map(json.loads, lines)]


def record(root: Path, *events: tuple[float | None, str, dict]) -> None:
    StoreStream(FileLog(root, root / ".runicorn/state")).append_raw(events)


file_names = st.text(st.characters(exclude_categories=["C"], exclude_characters="/\\"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and not name.endswith(".lock") and len(name.encode()) < 200
)


@settings(max_examples=40)
@given(st.dictionaries(file_names, st.binary(max_size=3000), max_size=5), st.sampled_from(FORMATS))
def test_every_format_gives_back_every_byte(files: dict[str, bytes], kind: ArchiveFormat) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "from"
        for key in ("p/n/runs/a", "runs/legacy"):
            (root / key / "media/inner").mkdir(parents=True)
            for name, content in files.items():
                (root / key / name).write_bytes(content)
                (root / key / "media/inner" / name).write_bytes(content)
        expected = tree(root)
        done = imported(Path(directory) / "to", exported(root, kind))
        assert tree(Path(directory) / "to") == expected
        assert (done.files, done.skipped_files, done.skipped_runs) == (4 * len(files), 0, [])


@pytest.mark.parametrize("kind", ["tar.gz", "tar.zst"])
def test_times_of_files_and_directories_come_back(kind: ArchiveFormat, tmp_path: Path) -> None:
    run = make_run(tmp_path / "from", "p/n/runs/a", meta={})
    os.utime(run / "meta.json", (1_000_000.25, 1_000_000.25))
    os.utime(run, (900_000.5, 900_000.5))
    imported(tmp_path / "to", exported(tmp_path / "from", kind))
    assert (tmp_path / "to/p/n/runs/a").stat().st_mtime == 900_000.5
    assert (tmp_path / "to/p/n/runs/a/meta.json").stat().st_mtime == 1_000_000.25


def test_links_and_locks_are_left_out_and_nothing_is_read_through_a_link(tmp_path: Path) -> None:
    run = make_run(tmp_path / "from", "p/n/runs/a", meta={})
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("secret")
    (run / "dir").symlink_to(tmp_path / "secret")
    (run / "file").symlink_to(tmp_path / "secret/key")
    (run / "events.jsonl.lock").touch()
    os.mkfifo(run / "pipe")
    assert b"secret" not in exported(tmp_path / "from", "zip").getvalue()
    imported(tmp_path / "to", exported(tmp_path / "from"))
    assert [path.name for path in (tmp_path / "to/p/n/runs/a").iterdir()] == ["meta.json"]


def test_a_run_that_is_itself_a_link_is_exported_as_what_it_shows(tmp_path: Path) -> None:
    run = make_run(tmp_path / "elsewhere", "real", meta={"a": 1})
    (tmp_path / "from/p/n/runs").mkdir(parents=True)
    (tmp_path / "from/p/n/runs/a").symlink_to(run)
    imported(tmp_path / "to", exported(tmp_path / "from"))
    assert (tmp_path / "to/p/n/runs/a/meta.json").read_bytes() == (run / "meta.json").read_bytes()
    assert not (tmp_path / "to/p/n/runs/a").is_symlink()


def test_filters_combine_and_legacy_runs_have_neither_project_nor_name(tmp_path: Path) -> None:
    for key, meta in (
        ("p/n/runs/a", {}),
        ("p/m/runs/b", {"name": "n"}),
        ("q/n/runs/c", {}),
        ("runs/d", {"project": "p", "name": "n"}),
    ):
        make_run(tmp_path, key, meta=meta)
    (tmp_path / "p/n/runs/a/.deleted").write_text("{}")

    def chosen(**filters) -> list[str]:
        return [run.run_id for run in choose_runs(tmp_path, **filters)]

    assert chosen() == ["b", "a", "c", "d"]
    assert chosen(project="p") == ["b", "a"]
    assert chosen(name="n") == ["b", "a", "c"]
    assert chosen(project="p", name="n", run_ids=["a", "d"]) == ["a"]
    assert chosen(run_ids=["d", "c"]) == ["c", "d"]
    assert chosen(project="x") == []


def test_store_events_of_any_type_come_along_as_of_when_they_happened(tmp_path: Path) -> None:
    make_run(tmp_path / "from", "p/n/runs/a")
    make_run(tmp_path / "from", "p/n/runs/b")
    about_a = [
        (5.0, "run.tagged", {"run": "p/n/runs/a", "tags": ["x"]}),
        (6.0, "strange.type", {"run": "p/n/runs/a", "huge": 10**30, "text": "\ufffd"}),
        (4.0, "run.observed", {"run": "p/n/runs/a", "file": "x"}),
    ]
    record(tmp_path / "from", *about_a, (7.0, "run.tagged", {"run": "p/n/runs/gone"}), (8.0, "odd", {"run": 5}))
    done = imported(tmp_path / "to", exported(tmp_path / "from"))
    events = recorded(tmp_path / "to")
    assert events[:3] == about_a
    assert [(kind, data["run"]) for _, kind, data in events[3:]] == [
        ("run.imported", "p/n/runs/a"),
        ("run.imported", "p/n/runs/b"),
    ]
    assert done.stream is not None
    assert done.stream.kind == "store"


def test_what_a_store_recorded_about_an_earlier_run_does_not_outlive_the_import(tmp_path: Path) -> None:
    make_run(tmp_path / "from", "p/n/runs/a", status={"status": "failed"})
    record(tmp_path / "from", (5.0, "run.tagged", {"run": "p/n/runs/a"}), (6.0, "run.observed", {"run": "p/n/runs/a"}))
    os.utime(tmp_path / "from/p/n/runs/a/status.json", (1000, 1000))
    (tmp_path / "to").mkdir()
    record(tmp_path / "to", (50.0, "run.purged", {"run": "p/n/runs/a"}))
    imported(tmp_path / "to", exported(tmp_path / "from"))
    times = {kind: ts for ts, kind, _ in recorded(tmp_path / "to")}
    assert set(times) == {"run.purged", "run.tagged", "run.imported"}
    assert times["run.tagged"] > 1e9
    assert (tmp_path / "to/p/n/runs/a/status.json").stat().st_mtime > 1e9


def test_what_people_said_about_runs_comes_back_into_the_file(tmp_path: Path) -> None:
    for run_id in ("a", "b", "damaged", "taken"):
        make_run(tmp_path / "from", f"p/n/runs/{run_id}")
    manager = ExperimentManager(tmp_path / "from")
    assert manager.tag_experiment("a", ["x", "ü"])
    assert manager.pin_experiment("b")
    path = tmp_path / "from/.experiments_metadata.json"
    entries = json.loads(path.read_text())
    entries["damaged"] = {"tags": 5}
    entries["gone"] = entries["a"]
    entries["taken"] = {**entries["a"], "id": "taken"}
    path.write_text(json.dumps(entries))
    (tmp_path / "to").mkdir()
    (tmp_path / "to/.experiments_metadata.json").write_text(json.dumps({"taken": {"mine": 1}}))

    imported(tmp_path / "to", exported(tmp_path / "from"))
    restored = json.loads((tmp_path / "to/.experiments_metadata.json").read_text())
    assert restored == {"a": entries["a"], "b": entries["b"], "taken": {"mine": 1}}
    observed = [data for _, kind, data in recorded(tmp_path / "to") if kind == "run.observed"]
    by_run = {data["run_id"]: data for data in observed if data["file"] == ".experiments_metadata.json"}
    assert by_run["a"]["content"]["tags"] == ["x", "ü"]
    assert "gone" not in by_run


def test_an_archive_that_was_packed_again_with_dots_is_the_same(tmp_path: Path) -> None:
    files = {
        "./p/n/runs/a/f": b"x",
        "./runicorn.jsonl": b'{"ts":1,"type":"archive.created","data":{}}\n'
        b'{"ts":2.5,"type":"run.tagged","data":{"run":"p/n/runs/a"}}\n',
    }
    done = imported(tmp_path / "to", io.BytesIO(tar_of(files)))
    assert (done.files, done.skipped_files) == (1, 0)
    assert recorded(tmp_path / "to")[0] == (2.5, "run.tagged", {"run": "p/n/runs/a"})


def test_importing_twice_records_nothing_the_second_time(tmp_path: Path) -> None:
    make_run(tmp_path / "from", "p/n/runs/a", events=metrics_event(a=1))
    archive = exported(tmp_path / "from")
    imported(tmp_path / "to", archive)
    before = recorded(tmp_path / "to")
    done = imported(tmp_path / "to", archive)
    assert (done.runs, done.skipped_runs, done.stream) == ([], ["a"], None)
    assert recorded(tmp_path / "to") == before


def test_only_a_run_at_the_same_place_is_replaced(tmp_path: Path) -> None:
    make_run(tmp_path / "from", "p/n/runs/a", meta={"new": 1})
    make_run(tmp_path / "from", "p/n/runs/b", meta={"new": 1})
    make_run(tmp_path / "to", "p/n/runs/a", meta={"old": 1})
    make_run(tmp_path / "to", "q/n/runs/b", meta={"old": 1})
    done = imported(tmp_path / "to", exported(tmp_path / "from"), overwrite=True)
    assert (done.runs, done.replaced, done.skipped_runs) == ([], ["p/n/runs/a"], ["b"])
    assert json.loads((tmp_path / "to/p/n/runs/a/meta.json").read_text()) == {"new": 1}
    assert json.loads((tmp_path / "to/q/n/runs/b/meta.json").read_text()) == {"old": 1}


def test_a_run_that_is_a_link_is_never_replaced(tmp_path: Path) -> None:
    make_run(tmp_path / "from", "p/n/runs/a", meta={"new": 1})
    target = make_run(tmp_path, "target", meta={"old": 1})
    (tmp_path / "to/p/n/runs").mkdir(parents=True)
    (tmp_path / "to/p/n/runs/a").symlink_to(target)
    assert imported(tmp_path / "to", exported(tmp_path / "from"), overwrite=True).skipped_runs == ["a"]
    assert json.loads((target / "meta.json").read_text()) == {"old": 1}


def test_a_trial_writes_nothing_and_says_the_same(tmp_path: Path) -> None:
    make_run(tmp_path / "from", "p/n/runs/a", meta={})
    make_run(tmp_path / "from", "p/n/runs/b", meta={})
    make_run(tmp_path / "to", "p/n/runs/b", meta={})
    archive = exported(tmp_path / "from")
    trial = import_archive(tmp_path / "to", tmp_path / "state", archive, None, limits=Limits())
    assert not (tmp_path / "to/.runicorn").exists()
    done = imported(tmp_path / "to", archive)
    assert (trial.files, trial.runs, trial.skipped_runs) == (done.files, done.runs, done.skipped_runs)


def test_a_move_that_fails_takes_the_others_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run_id in ("a", "b"):
        make_run(tmp_path / "from", f"p/n/runs/{run_id}", meta={"new": 1})
    make_run(tmp_path / "to", "p/n/runs/a", meta={"old": 1})
    archive = exported(tmp_path / "from")
    rename = os.rename

    def failing(source, target):
        if os.fspath(target).endswith("to/p/n/runs/b"):
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    before = tree(tmp_path / "to")
    with pytest.raises(StorageUnavailable):
        imported(tmp_path / "to", archive, overwrite=True)
    assert tree(tmp_path / "to") == before


def test_a_file_that_shrinks_while_it_is_read_is_no_export(tmp_path: Path) -> None:
    run = make_run(tmp_path, "p/n/runs/a")
    (run / "big").write_bytes(os.urandom(4 << 20))
    with open(run / "big", "r+b") as file:

        class Shrinking(io.BytesIO):
            def write(self, data) -> int:
                if self.tell() > 1 << 20:
                    file.truncate(10)
                return super().write(data)

        with pytest.raises(NotReadable, match="p/n/runs/a/big"):
            export_runs(tmp_path, tmp_path / "state", choose_runs(tmp_path), Shrinking(), "zip")


def test_two_directories_change_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path, "one", meta={"a": 1})
    make_run(tmp_path, "other", meta={"b": 1})
    exchange(tmp_path / "one", tmp_path / "other", tmp_path / "aside/p/one")
    assert "b" in (tmp_path / "one/meta.json").read_text()
    monkeypatch.setattr("runicorn.archive.moving._exchanged_at_once", lambda one, other: False)
    exchange(tmp_path / "one", tmp_path / "other", tmp_path / "aside/p/one")
    assert "a" in (tmp_path / "one/meta.json").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["aside", "one", "other"]
    assert list((tmp_path / "aside/p").iterdir()) == []


OVERWRITE = """
import os, sys
from pathlib import Path
from runicorn.archive import Limits, import_archive, moving, staging_directory

moving._exchanged_at_once = lambda one, other: False
rename = os.rename

def stopping(source, target):
    if "aside" not in os.fspath(target) and os.fspath(target).endswith("to/p/n/runs/a"):
        {how}
    rename(source, target)

os.rename = stopping
root = Path(sys.argv[1])
with staging_directory(root) as staging, open(sys.argv[2], "rb") as archive:
    import_archive(root, root / ".runicorn/state", archive, staging, limits=Limits(), overwrite=True)
"""


@pytest.mark.parametrize(
    ("how", "status"),
    [("os._exit(9)", 9), ("os.rename = rename; raise KeyboardInterrupt", -2), ("raise OSError(5, 'dying')", 1)],
)
def test_a_run_is_never_lost_where_directories_change_places_in_steps(how: str, status: int, tmp_path: Path) -> None:
    make_run(tmp_path / "from", "p/n/runs/a", meta={"new": 1})
    old = make_run(tmp_path / "to", "p/n/runs/a", meta={"old": 1})
    (tmp_path / "archive").write_bytes(exported(tmp_path / "from").getvalue())
    command = [sys.executable, "-c", OVERWRITE.format(how=how), str(tmp_path / "to"), str(tmp_path / "archive")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    remove_stale_staging(tmp_path / "to")
    assert json.loads((old / "meta.json").read_text()) == {"old": 1}
    assert [path.name for path in (tmp_path / "to/.runicorn/staging").iterdir() if path.is_dir()] == []


def test_only_staging_directories_that_nobody_holds_are_removed(tmp_path: Path) -> None:
    with staging_directory(tmp_path) as held:
        left = held.parent / "1-left"
        left.mkdir()
        (left / "big").write_bytes(b"x")
        remove_stale_staging(tmp_path)
        assert held.is_dir()
        assert not left.exists()
    assert not held.exists()
    with file_lock(held.parent / "lock", timeout_s=0):
        pass


def test_an_import_ends_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "from", "p/n/runs/a").joinpath("big").write_bytes(os.urandom(40 << 20))
    archive = exported(tmp_path / "from", "tar.zst")
    free = iter([1 << 30, 1 << 30, 1 << 20])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=next(free)))
    with pytest.raises(StorageUnavailable, match="Storage unavailable"):
        imported(tmp_path / "to", archive)
    assert tree(tmp_path / "to") == {}
    assert [path for path in (tmp_path / "to/.runicorn/staging").iterdir() if path.is_dir()] == []


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNICORN_IMPORT_MEMBERS", "5")
    monkeypatch.setenv("RUNICORN_IMPORT_UNPACKED_BYTES", "-1")
    assert Limits.configured() == Limits(members=5)
