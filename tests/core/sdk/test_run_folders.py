from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from runicorn.errors import InvalidName, StorageUnavailable
from runicorn.sdk import run_folders
from runicorn.sdk.run import Run
from tests.core.sdk.conftest import MakeRun
from tests.core.sdk.run_files import run_python, types_of

BAD = ["../x", "/abs", "a/b", "a\\b", ".x", "x" * 101, "a..b", "..", "a\nb", "a\x00", " ", "é" * 65, "\udc00", 5, b"x"]


@pytest.mark.parametrize("bad", [*BAD, "runs", "webui", "artifacts"], ids=repr)
def test_a_bad_project_is_refused_and_nothing_is_created(root: Path, bad):
    with pytest.raises(ValueError, match=r"^Invalid project name: "):
        Run(bad, root, capture_env=False)
    assert not root.exists()


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_a_bad_name_is_refused_and_nothing_is_created(root: Path, bad):
    with pytest.raises(ValueError, match=r"^Invalid experiment name: "):
        Run("p", root, name=bad, capture_env=False)
    assert not root.exists()


@pytest.mark.parametrize("bad", [*BAD, ""], ids=repr)
def test_a_bad_id_is_refused_and_nothing_is_created(root: Path, bad):
    with pytest.raises(ValueError, match=r"^Invalid run_id: ") as error:
        Run("p", root, bad, capture_env=False)
    assert isinstance(error.value, InvalidName)
    assert not root.exists()


def test_the_text_names_what_is_wrong(root: Path):
    with pytest.raises(ValueError, match=re.escape("Invalid project name: 'a/b'")):
        Run("a/b", root)
    with pytest.raises(ValueError, match=re.escape(r"Invalid project name: 'a\n\x1b'")):
        Run("a\n\x1b", root)


@pytest.mark.parametrize("empty", ["", None])
def test_empty_names_mean_default(make_run: MakeRun, empty):
    run = make_run(project=empty, name=empty)
    assert (run.project, run.name) == ("default", "default")


@pytest.mark.parametrize("name", ["with space", "日本語", "a.b", "runs", "x" * 100, "a'b\"c"])
def test_anything_else_is_a_name(make_run: MakeRun, name: str):
    run = make_run(name, project=None, name=name)
    assert run.run_dir.is_dir()
    assert (run.id, run.name) == (name, name)


def test_an_id_in_the_recycle_bin_is_refused(make_run: MakeRun):
    run = make_run("mine")
    run.finish()
    (run.run_dir / ".deleted").write_text("{}")
    before = types_of(run.run_dir)
    with pytest.raises(ValueError, match=r"^Invalid run_id: 'mine' is in the recycle bin$"):
        make_run("mine")
    assert types_of(run.run_dir) == before


@pytest.mark.parametrize("place", ["q/bin/runs/mine", "runs/mine"])
def test_an_id_in_the_recycle_bin_is_refused_whatever_its_project_and_name_are(root: Path, place: str):
    (root / place / ".deleted").mkdir(parents=True)
    with pytest.raises(ValueError, match=rf"^Invalid run_id: 'mine' is in the recycle bin \({place}\)$"):
        Run("p", root, "mine", capture_env=False)
    assert not (root / "p").exists()


def test_an_id_that_another_run_has_is_warned_about_and_one_that_is_resumed_is_not(root: Path, make_run, caplog):
    make_run("mine", project="q", name="other").finish()
    assert not caplog.records
    make_run("mine").finish()
    assert [record.message for record in caplog.records] == [
        "q/other/runs/mine has the id 'mine', too: one of the two is meant by it"
    ]
    caplog.clear()
    assert make_run("mine").run_dir == root / "p/default/runs/mine"
    assert not caplog.records


@pytest.mark.parametrize(
    "place", [".mirrors/s/tree/p/n/runs/mine", "artifacts/model/runs/mine", ".runicorn/x/runs/mine"]
)
def test_directories_that_are_no_runs_here_have_no_id(root: Path, make_run: MakeRun, caplog, place: str):
    (root / place / ".deleted").mkdir(parents=True)
    make_run("mine")
    assert not caplog.records


@pytest.mark.parametrize("link", ["p", "p/default", "p/default/runs", "p/default/runs/mine"])
def test_nothing_is_written_through_a_link_that_leaves_the_root(root: Path, tmp_path: Path, link: str):
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(outside)
    with pytest.raises(ValueError, match="outside of the storage root"):
        Run("p", root, "mine", capture_env=False)
    assert list(outside.iterdir()) == []


def test_the_root_itself_may_be_a_link(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    run = Run("p", tmp_path / "link", capture_env=False)
    run.finish()
    assert (tmp_path / "real" / "p" / "default" / "runs" / run.id / "meta.json").is_file()


def test_an_id_that_is_drawn_twice_is_drawn_again(make_run: MakeRun, monkeypatch):
    ids = iter(["20240101_000000_aaaaaa", "20240101_000000_aaaaaa", "20240101_000000_bbbbbb"])
    monkeypatch.setattr(run_folders, "new_run_id", lambda: next(ids))
    assert [make_run().id[-6:] for _ in range(2)] == ["aaaaaa", "bbbbbb"]


@pytest.mark.parametrize("obstacle", ["root", "root/p", "root/p/default/runs", "root/p/default/runs/mine"])
def test_where_no_run_can_be_made_the_error_is_clear_and_an_oserror(tmp_path: Path, obstacle: str):
    (tmp_path / obstacle).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / obstacle).write_text("a file")
    with pytest.raises(OSError, match=rf"^The run cannot be created in {re.escape(str(tmp_path / 'root'))}: ") as error:
        Run("p", tmp_path / "root", "mine", capture_env=False)
    assert isinstance(error.value, StorageUnavailable)
    assert "mine" not in str(error.value).removeprefix(f"The run cannot be created in {tmp_path}")
    assert error.value.__cause__ is not None


def test_a_disk_that_is_full_at_once_leaves_no_empty_run(root: Path):
    code = """
import resource, sys
import runicorn as rn
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
try:
    rn.init("p", sys.argv[1], capture_env=False)
except OSError as error:
    print(error)
"""
    done = run_python(code, root)
    assert done.stdout == f"The run cannot be created in {root}: File too large\n", done.stderr
    assert list(root.glob("p/default/runs/*")) == []


def test_a_run_that_cannot_be_begun_stays_if_another_process_has_joined_it(root: Path):
    code = """
import resource, subprocess, sys
import runicorn as rn
from runicorn.sdk import run

def also_joined(*arguments):
    folders = made(*arguments)
    other = "import sys, runicorn as rn; rn.init('p', sys.argv[1], 'shared', capture_env=False).log_text('mine')"
    subprocess.run([sys.executable, "-c", other, sys.argv[1]], check=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    return folders

made, run.make_run_directory = run.make_run_directory, also_joined
try:
    rn.init("p", sys.argv[1], "shared", capture_env=False)
except OSError as error:
    print(error)
"""
    done = run_python(code, root)
    assert done.stdout == f"The run cannot be created in {root}: File too large\n", done.stderr
    assert "mine" in (root / "p/default/runs/shared/logs.txt").read_text()
    assert '"run.created"' in (root / "p/default/runs/shared/events.jsonl").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user without rights, which only root can become")
def test_a_read_only_root_is_a_clear_error(tmp_path: Path):
    code = """
import os, sys
import runicorn as rn
rn.init
os.setuid(65534)
try:
    rn.init("p", sys.argv[1], capture_env=False)
except OSError as error:
    print(error)
"""
    (tmp_path / "root").mkdir(mode=0o555)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    done = run_python(code, tmp_path / "root")
    assert done.stdout == f"The run cannot be created in {tmp_path / 'root'}: Permission denied\n", done.stderr
