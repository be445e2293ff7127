"""The writer of vectors: one run that cannot be described keeps no other from its vector."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from runicorn.plugin import open_store
from runicorn_query.similar import writer
from runicorn_query.similar.run_vector import RunFacts, RunVector, run_vector
from runicorn_query.similar.vector_file import open_to_read
from runicorn_query.similar.writer import VectorWriter
from tests.stores import make_run, metrics_event


def run_with(root: Path, name: str, config: dict[str, object]) -> None:
    created = {"run_id": name, "project": "p", "name": "n", "created_at": 1.0, "hostname": "elsewhere"}
    lines = [
        json.dumps({"ts": 1.0, "type": "run.created", "data": created}) + "\n",
        json.dumps({"ts": 1.0, "type": "run.configured", "data": {"config": config}}) + "\n",
        *(metrics_event(ts=2.0 + step, global_step=step, loss=1.0 / (step + 1)) for step in range(5)),
        json.dumps({"ts": 9.0, "type": "run.finished", "data": {"status": "finished", "ended_at": 9.0}}) + "\n",
    ]
    make_run(root, f"p/n/runs/{name}", events="".join(lines))


def described(state: Path) -> set[str]:
    db = open_to_read(state)
    try:
        return {str(key).rpartition("/")[2] for (key,) in db.execute("SELECT key FROM run")}
    finally:
        db.close()


def test_a_setting_that_is_flat_and_nested_has_a_vector_like_any_other(tmp_path: Path) -> None:
    root, state = tmp_path / "root", tmp_path / "state"
    run_with(root, "both", {"opt.lr": 0.1, "opt": {"lr": "auto"}})
    run_with(root, "plain", {"opt": {"lr": 0.1}})
    with open_store(root, state) as store:
        vectors = VectorWriter(store.log, store.state_dir, store.model("runs"))
        vectors.sweep()
        vectors.close()
    assert described(state) == {"both", "plain"}


def test_a_run_that_cannot_be_described_is_named_once_and_the_others_have_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails_for_one(log: object, facts: RunFacts) -> RunVector:
        if facts.key.endswith("/bad"):
            raise ValueError("not foreseen")
        return run_vector(log, facts)  # type: ignore[arg-type]  # as wrong as a caller can be, or rows of a known table

    root, state = tmp_path / "root", tmp_path / "state"
    for name in ("bad", "good"):
        run_with(root, name, {"lr": 0.1})
    monkeypatch.setattr(writer, "run_vector", fails_for_one)
    with open_store(root, state) as store, caplog.at_level(logging.ERROR, "runicorn.query"):
        vectors = VectorWriter(store.log, store.state_dir, store.model("runs"))
        vectors.sweep()
        vectors.sweep()
        vectors.close()
    assert described(state) == {"good"}
    assert [record.args for record in caplog.records] == [("p/n/runs/bad",)]
