"""Which directories are runs: the rules of the contract, one after the other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runicorn.events.discovery import RunDirectory, find_artifacts, find_runs, is_run_key, run_at, runs_in
from runicorn.projection import directories as directories_module
from runicorn.projection.directories import RootPresence, RunDirectories


def make(root: Path, *keys: str) -> None:
    for key in keys:
        (root / key).mkdir(parents=True)


def found(root: Path) -> set[str]:
    return {run.key for run in find_runs(root)}


def test_every_directory_in_its_place_is_a_run_even_an_empty_one(tmp_path):
    make(tmp_path, "vision/resnet/runs/20250114_153045_a1b2c3", "vision/resnet/runs/my own id", "runs/old")
    assert found(tmp_path) == {"vision/resnet/runs/20250114_153045_a1b2c3", "vision/resnet/runs/my own id", "runs/old"}


def test_unicode_spaces_and_odd_names_are_runs(tmp_path):
    keys = {"模型/名 前/runs/运行 1", "a.b/-c/runs/.hidden", "ünï/ç/runs/~", "x/y/runs/runs", "$p/%n/runs/'q\""}
    make(tmp_path, *keys)
    assert found(tmp_path) == keys


def test_foreign_trees_are_laid_out_like_a_root_and_their_runs_are_never_in_place(tmp_path):
    foreign = {
        ".mirrors/box_me-0123456789ab/tree/p/n/runs/one",
        ".mirrors/box_me-0123456789ab/tree/runs/legacy",
        ".mirrors/box_me-0123456789ab/attached/p/n/runs/two",
    }
    make(tmp_path, "p/n/runs/one", *foreign, ".mirrors/x/runs/y", ".mirrors/x/tree/.mirrors/z/tree/runs/deep")
    assert found(tmp_path) == {"p/n/runs/one"}
    assert {run.key for run in find_runs(tmp_path, foreign=True)} == {"p/n/runs/one", *foreign}
    for key in foreign:
        run = run_at(key)
        assert is_run_key(key)
        assert run.is_foreign
        assert run.is_read_only == ("attached" in key)
        assert (run.project, run.name) == ((None, None) if "legacy" in key else ("p", "n"))


@pytest.mark.parametrize(
    "key",
    [".mirrors/x/runs/y", ".mirrors/x/tree/y", ".mirrors/../tree/runs/y", ".mirrors/x/tree/p/n/runs/..", ".mirrors"],
)
def test_nothing_else_below_mirrors_is_a_run(key):
    assert not is_run_key(key)


@pytest.mark.parametrize("project", ["runs", "webui", ".runicorn", ".runicorn-staging"])
def test_reserved_top_level_names_are_never_projects(tmp_path, project):
    make(tmp_path, f"{project}/name/runs/one", "p/n/runs/one")
    assert "p/n/runs/one" in found(tmp_path)
    assert f"{project}/name/runs/one" not in found(tmp_path)
    assert not is_run_key(f"{project}/name/runs/one")


@pytest.mark.parametrize("project", ["artifacts", ".git", ".venv"])
def test_below_artifacts_and_dot_directories_only_meta_json_makes_a_run(tmp_path, project):
    make(tmp_path, f"{project}/name/runs/plain", f"{project}/name/runs/real")
    (tmp_path / project / "name" / "runs" / "real" / "meta.json").touch()
    assert found(tmp_path) == {f"{project}/name/runs/real"}


def test_links_to_projects_names_and_runs_are_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    root = tmp_path / "root"
    make(elsewhere, "run", "name/runs/two", "project/name/runs/three")
    make(root, "p/n/runs")
    (root / "p/n/runs/one").symlink_to(elsewhere / "run")
    (root / "p/linked").symlink_to(elsewhere / "name")
    (root / "q").symlink_to(elsewhere / "project")
    (root / "p/n/runs/dangling").symlink_to(elsewhere / "missing")
    (root / "p/n/runs/loop").symlink_to("loop")
    assert found(root) == {"p/n/runs/one", "p/linked/runs/two", "q/name/runs/three"}


def test_odd_entries_are_skipped_and_the_scan_goes_on(tmp_path, caplog):
    make(tmp_path, "p/good/runs/one", "p/odd", "q")
    (tmp_path / "p/odd/runs").write_text("a plain file")
    (tmp_path / "file").touch()
    (tmp_path / "q/name").touch()
    (tmp_path / "p/good/runs/file").touch()
    os.mkdir(os.fsencode(tmp_path) + b"/p/good/runs/\xff\xfe")
    assert found(tmp_path) == {"p/good/runs/one"}
    assert "its name is not UTF-8" in caplog.text


UNREADABLE = """
import os, sys, logging
from pathlib import Path
logging.basicConfig(stream=sys.stderr)
from runicorn.events.discovery import find_runs
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
print(*sorted(run.key for run in find_runs(Path(sys.argv[1]))), sep=",")
"""


def test_a_directory_without_permission_is_reported_and_hides_no_other(tmp_path):
    make(tmp_path, "closed/n/runs/one", "open/n/runs/two", "open/m/runs/three")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "open/m/runs").chmod(0)
    for parent in [tmp_path, *tmp_path.parents[:5]]:
        if parent.stat().st_uid == os.getuid() and "pytest" in str(parent):
            parent.chmod(0o755)
    try:
        result = subprocess.run(
            [sys.executable, "-c", UNREADABLE, str(tmp_path)], capture_output=True, text=True, check=False
        )
    finally:
        (tmp_path / "closed").chmod(0o755)
        (tmp_path / "open/m/runs").chmod(0o755)
    assert result.stdout == "open/n/runs/two\n", result.stderr
    assert result.stderr.count("unreadable directory") == 2


def test_a_missing_root_has_no_runs(tmp_path):
    assert found(tmp_path / "missing") == set()


@pytest.mark.parametrize("key", ["p/n/runs/one", "runs/old", "a b/ü/runs/.x"])
def test_a_key_names_its_run(key):
    assert is_run_key(key)
    parts = key.split("/")
    expected = RunDirectory(key, None, None, parts[-1]) if len(parts) == 2 else RunDirectory(key, *parts[:2], parts[-1])
    assert run_at(key) == expected


@pytest.mark.parametrize(
    "key", ["", "p", "p/n", "p/n/runs", "p/n/x/one", "../n/runs/one", "p//runs/one", "p/n/runs/..", "x/y"]
)
def test_other_paths_are_no_keys(key):
    assert not is_run_key(key)


def test_artifacts_are_directories_of_a_type_and_hidden_ones_do_not_count(tmp_path):
    make(tmp_path, "artifacts/model/net", "artifacts/dataset/脸", "artifacts/.dedup/xx", "artifacts/model/.tmp")
    (tmp_path / "artifacts/model/file").touch()
    assert set(find_artifacts(tmp_path)) == {"artifacts/model/net", "artifacts/dataset/脸"}


# ── remembering what was found ──────────────────────────────────────────────


def look(directories):
    """Keys of the runs that appeared and that vanished."""
    found = list(directories.refresh())
    return {key for appeared, _ in found for key in appeared}, {key for _, vanished in found for key in vanished}


def test_what_came_and_what_went_is_told_once(tmp_path):
    make(tmp_path, "p/n/runs/one", "runs/old", "empty/n/runs")
    directories = RunDirectories(tmp_path)
    assert directories.run_count == 0
    assert look(directories) == ({"p/n/runs/one", "runs/old"}, set())
    assert look(directories) == (set(), set())
    assert directories.run_count == 2
    make(tmp_path, "p/n/runs/two", "q/m/runs/three")
    shutil.rmtree(tmp_path / "runs")
    assert look(directories) == ({"p/n/runs/two", "q/m/runs/three"}, {"runs/old"})
    (tmp_path / "p/n/runs/one").rmdir()
    assert look(directories) == (set(), {"p/n/runs/one"})
    shutil.rmtree(tmp_path / "p")
    assert look(directories) == (set(), {"p/n/runs/two"})
    assert set(directories.run_keys()) == {"q/m/runs/three"}
    assert directories.run_count == 1


def test_keys_are_looked_up_in_any_order(tmp_path):
    make(tmp_path, "p/n/runs/1", "p/n/runs/22", "q/m/runs/1")
    directories = RunDirectories(tmp_path)
    look(directories)
    expected = {
        "p/n/runs/1": True, "p/n/runs/2": False, "q/m/runs/1": True, "p/n/runs/22": True, "x/y/runs/1": False,
    }  # fmt: skip
    assert dict(directories.look_up(expected)) == expected


def test_a_directory_made_again_under_its_name_is_counted(tmp_path):
    make(tmp_path, "p/n/runs/one")
    directories = RunDirectories(tmp_path)
    look(directories)
    assert directories.replaced == 0
    (tmp_path / "p/n/runs").rename(tmp_path / "p/n/aside")
    make(tmp_path, "p/n/runs/two")
    look(directories)
    assert directories.replaced == 1


@pytest.mark.parametrize("ahead_s", [-3600, 3600])
def test_a_directory_that_does_not_change_is_listed_once_whatever_its_time_says(tmp_path, monkeypatch, ahead_s):
    listed: list[str] = []
    monkeypatch.setattr(
        directories_module, "runs_in", lambda root, parent: [listed.append(parent.key), *runs_in(root, parent)][1:]
    )
    runs = tmp_path / "p" / "n" / "runs"
    (runs / "one").mkdir(parents=True)
    moment = time.time() + ahead_s
    for path in (tmp_path / "p", tmp_path / "p" / "n", runs, tmp_path):
        os.utime(path, (moment, moment))
    directories = RunDirectories(tmp_path)
    for _ in range(3):
        list(directories.refresh())
    assert listed.count("p/n/runs") == 1
    (runs / "two").mkdir()
    assert [key for appeared, _ in directories.refresh() for key in appeared] == ["p/n/runs/two"]


def test_a_root_that_is_gone_says_nothing_about_its_runs(tmp_path):
    root = tmp_path / "root"
    make(root, "p/n/runs/one")
    directories = RunDirectories(root)
    look(directories)
    root.rename(tmp_path / "aside")
    with pytest.raises(FileNotFoundError):
        look(directories)
    assert set(directories.run_keys()) == {"p/n/runs/one"}


def test_a_root_that_looks_unmounted_is_not_believed(tmp_path):
    root = tmp_path / "root"
    make(root, "p/n/runs/one", ".runicorn/log")
    presence = RootPresence(root, ())
    assert presence.is_there()
    shutil.rmtree(root / ".runicorn")
    assert not presence.is_there()
    make(root, ".runicorn")
    assert presence.is_there()


def test_an_empty_root_is_believed_only_while_nothing_was_known_in_it(tmp_path):
    assert RootPresence(tmp_path, ()).is_there()
    assert not RootPresence(tmp_path, {"p/n/runs/one"}).is_there()
    assert not RootPresence(tmp_path, {".runicorn/log/00000001"}).is_there()
    make(tmp_path, "p/n/runs/one")
    assert RootPresence(tmp_path, {"p/n/runs/one"}).is_there()
    assert not RootPresence(tmp_path, {".runicorn/log/00000001"}).is_there()
    assert not RootPresence(tmp_path / "missing", ()).is_there()


def test_a_name_that_is_no_text_is_warned_of_once_and_hides_no_other_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "p/n/runs/fine", os.fsdecode(b"p/n/runs/odd\xff"), os.fsdecode(b"odd\xff/n/runs/a"))
    for _ in range(3):
        assert found(tmp_path) == {"p/n/runs/fine"}
    assert len(caplog.records) == 2
    assert "its name is not UTF-8" in caplog.text
