"""Parameters of a training are events of the run, and nothing that they hold raises into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import runicorn as rn
from runicorn.sdk.run import Run
from tests.core.sdk.conftest import MakeRun


def configured(run: Run) -> list[Any]:
    lines = (run.run_dir / "events.jsonl").read_text().splitlines()
    return [event["data"] for event in map(json.loads, lines) if event["type"] == "run.configured"]


def test_config_is_recorded_at_once_and_more_is_added(make_run: MakeRun) -> None:
    run = make_run(config={"lr": 0.1, "layers": [64, 64], "name": None})
    run.configure({"lr": 0.2})
    assert configured(run) == [{"config": {"lr": 0.1, "layers": [64, 64], "name": None}}, {"config": {"lr": 0.2}}]


def test_without_config_nothing_is_recorded(make_run: MakeRun) -> None:
    run = make_run()
    run.configure(None)
    run.configure({})
    assert configured(run) == []


class Unusable:
    def __str__(self) -> str:
        raise RuntimeError

    def items(self) -> None:
        raise RuntimeError


@pytest.mark.parametrize(
    "config", [Unusable(), {"bad": Unusable(), "good": 1}, 5, [1], {Unusable(): 1}, {"nan": float("nan")}]
)
def test_odd_values_never_raise_and_hide_no_other(
    make_run: MakeRun, config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(config=config)
    kept = [] if not isinstance(config, dict) else [data["config"].keys() for data in configured(run)]
    assert kept in ([], [{"good"}], [{"nan"}])
    run.log(loss=1)


@pytest.mark.usefixtures("_no_active_run")
def test_the_module_configures_the_active_run(root: Path) -> None:
    with pytest.raises(RuntimeError, match="init"):
        rn.configure({"a": 1})
    run = rn.init("p", root, capture_env=False, config={"a": 1})
    rn.configure({"b": 2})
    rn.finish()
    assert configured(run) == [{"config": {"a": 1}}, {"config": {"b": 2}}]


def test_files_alone_hold_no_config(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNICORN_DISABLE_MODERN_STORAGE", "1")
    run = make_run(config={"a": 1})
    assert not (run.run_dir / "events.jsonl").exists()
