"""Which run directories came and went, as the projector is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from runicorn.projection.directories import RunDirectories


def _look(directories: RunDirectories) -> tuple[set[str], set[str]]:
    appeared: set[str] = set()
    vanished: set[str] = set()
    for came, went in directories.refresh():
        appeared.update(came)
        vanished.update(went)
    return appeared, vanished


def test_runs_that_come_and_go_are_told_once(tmp_path: Path) -> None:
    keys = {"runs/1", "p/n/runs/1", "p/n/runs/2", "q/m/runs/3"}
    for key in keys:
        (tmp_path / key).mkdir(parents=True)
    directories = RunDirectories(tmp_path)
    assert directories.run_count == 0
    assert _look(directories) == (keys, set())
    assert _look(directories) == (set(), set())
    assert set(directories.run_keys()) == keys
    assert directories.run_count == 4
    (tmp_path / "p/n/runs/3").mkdir()
    (tmp_path / "p/n/runs/1").rmdir()
    assert _look(directories) == ({"p/n/runs/3"}, {"p/n/runs/1"})
    (tmp_path / "q/m/runs/3").rmdir()
    (tmp_path / "q/m/runs").rmdir()
    (tmp_path / "q/m").rmdir()
    assert _look(directories) == (set(), {"q/m/runs/3"})
    assert set(directories.run_keys()) == {"runs/1", "p/n/runs/2", "p/n/runs/3"}
    assert directories.run_count == 3


def test_a_directory_without_runs_has_no_keys(tmp_path: Path) -> None:
    (tmp_path / "p/n/runs").mkdir(parents=True)
    directories = RunDirectories(tmp_path)
    assert _look(directories) == (set(), set())
    assert list(directories.run_keys()) == []
    assert directories.run_count == 0


def test_keys_are_looked_up_in_any_order(tmp_path: Path) -> None:
    for key in ("p/n/runs/1", "p/n/runs/22", "q/m/runs/1"):
        (tmp_path / key).mkdir(parents=True)
    directories = RunDirectories(tmp_path)
    _look(directories)
    asked = ["p/n/runs/1", "p/n/runs/2", "q/m/runs/1", "p/n/runs/22", "x/y/runs/1", "runs/1"]
    assert dict(directories.look_up(asked)) == dict(zip(asked, (True, False, True, True, False, False), strict=True))


def test_a_root_that_is_gone_is_no_news(tmp_path: Path) -> None:
    (tmp_path / "root/p/n/runs/1").mkdir(parents=True)
    directories = RunDirectories(tmp_path / "root")
    _look(directories)
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="No such file"):
        _look(directories)
    assert list(directories.run_keys()) == ["p/n/runs/1"]
