"""Which run an id means, where it exists several times: the same for every plugin."""

from __future__ import annotations

from pathlib import Path

from tests.projecting import InProcess
from tests.stores import make_run

OTHERS = ["b/n/runs/x", "A/n/runs/x", "a/m/runs/x", "runs/x"]


def named(projector: InProcess, run_id: str) -> list[tuple[object, ...]]:
    projector.sweep()
    return projector.db.execute("SELECT key, listed FROM run_named WHERE run_id = ?", (run_id,)).fetchall()


def test_the_first_in_list_order_outside_the_recycle_bin_is_meant(tmp_path: Path):
    root = tmp_path / "root"
    for number, key in enumerate(OTHERS):
        make_run(root, key, meta={"created_at": 1_700_000_000 + number})
    make_run(root, "a/m/runs/y", meta={"created_at": 1_700_000_100})
    projector = InProcess(root, tmp_path / "state")
    try:
        for key in ["a/m/runs/x", "A/n/runs/x", "b/n/runs/x", "runs/x"]:
            assert named(projector, "x") == [(key, 1)]
            (root / key / ".deleted").write_text("{}")
        assert named(projector, "x") == [("a/m/runs/x", 0)]
        assert named(projector, "y") == [("a/m/runs/y", 1)]
        assert named(projector, "z") == []
    finally:
        projector.close()


def test_of_two_runs_of_one_name_the_newer_is_meant(tmp_path: Path):
    root = tmp_path / "root"
    for directory, created in (("one", 1_700_000_000), ("two", 1_700_000_009), ("three", 1_700_000_005)):
        make_run(root, f"{directory}/n/runs/x", meta={"project": "p", "created_at": created})
    projector = InProcess(root, tmp_path / "state")
    try:
        assert named(projector, "x") == [("two/n/runs/x", 1)]
    finally:
        projector.close()
