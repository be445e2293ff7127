from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import runicorn as rn
from tests.core.sdk.run_files import data_of, json_of, run_python

pytestmark = pytest.mark.usefixtures("_no_active_run")


@pytest.mark.parametrize(
    "call",
    [
        lambda: rn.log(a=1),
        lambda: rn.log_text("t"),
        lambda: rn.log_image("i", b"x"),
        lambda: rn.summary({"a": 1}),
        lambda: rn.set_primary_metric("a"),
        lambda: rn.finish(),
    ],
)
def test_without_init_each_function_says_so(call):
    with pytest.raises(RuntimeError, match=re.escape("runicorn.init() must be called before logging")):
        call()
    assert rn.get_active_run() is None


def test_the_functions_record_into_the_run_that_was_begun_last(root: Path):
    first = rn.init("p", root, None, "n", False)
    second = rn.init("p", root, None, "n", False)
    assert rn.get_active_run() is second
    rn.set_primary_metric("a", mode="min")
    rn.log({"a": 1}, step=5, stage="s", b=2)
    rn.log_text("t")
    rn.log_image("i", b"x", 3, "c", "gif", 50)
    rn.summary({"s": 1})
    rn.finish("done")
    rn.log(a=2)
    assert data_of(first.run_dir) == []
    assert json_of(first.run_dir / "status.json")["status"] == "running"
    assert [data["global_step"] for data in data_of(second.run_dir)] == [5, 6]
    assert data_of(second.run_dir, "image")[0]["step"] == 3
    assert json_of(second.run_dir / "summary.json") == {
        "best_metric_value": 1,
        "best_metric_name": "a",
        "best_metric_step": 5,
        "best_metric_mode": "min",
        "s": 1,
    }
    assert rn.get_active_run() is second
    first.log(late=1)
    assert data_of(first.run_dir)[0]["late"] == 1


def test_runs_that_are_never_finished_keep_no_descriptors(root: Path):
    rn.init("p", root, None, "n", False)
    rn.log(a=1)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        rn.init("p", root, None, "n", False)
        rn.log(a=1)
    # Fewer is fine: what earlier tests left behind may be collected meanwhile.
    assert len(os.listdir("/proc/self/fd")) <= before
    rn.finish()


def test_positional_order_is_that_of_0_4_0(root: Path):
    run = rn.init("p", root, "my id", "n", False)
    assert (run.project, run.storage_root, run.id, run.name) == ("p", root, "my id", "n")


def test_the_storage_root_is_found_without_argument(root: Path, monkeypatch):
    monkeypatch.setenv("RUNICORN_DIR", str(root))
    run = rn.init("p", None, None, "n", capture_env=False)
    assert run.storage_root == root


def test_an_unknown_mode_is_refused(root: Path):
    rn.init("p", root, capture_env=False)
    with pytest.raises(ValueError, match=r"^Mode must be 'max' or 'min', got 'best'$"):
        rn.set_primary_metric("a", "best")  # type: ignore[arg-type]  # as wrong as a caller can be, or rows of a known table


def test_a_training_script_as_a_user_writes_it(root: Path):
    code = """
import sys
import runicorn as rn
with rn.init("vision", name="resnet") as run:
    rn.set_primary_metric("acc")
    for epoch in range(3):
        rn.log({"loss": 1 / (epoch + 1), "acc": epoch / 3}, stage="train")
    rn.summary({"done": True})
"""
    done = run_python(code, RUNICORN_DIR=str(root))
    assert done.returncode == 0
    assert done.stdout == done.stderr == ""
    (run_dir,) = root.glob("vision/resnet/runs/*")
    assert json_of(run_dir / "status.json")["status"] == "finished"
    assert json_of(run_dir / "environment.json")["python_version"]
