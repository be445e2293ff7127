"""The list of runs and the recycle bin: complements of each other, whatever is done to runs and by whom."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.run_commands.places import Place
from tests.projecting import InProcess
from tests.stores import make_run

KEYS = ["p/n/runs/a", "q/n/runs/a", "p/n/runs/b", "runs/c"]

actions = st.sampled_from(
    [
        *("make", "make", "delete", "delete", "restore", "purge"),
        *("0.4.0 deletes", "0.4.0 restores", "removed by hand", "look", "restart"),
    ]
)
steps = st.lists(st.tuples(actions, st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True)), max_size=15)


class Model:
    """Which runs there are, and whether each is in the bin; obviously right."""

    def __init__(self) -> None:
        self.deleted: dict[str, bool] = {}

    def change(self, action: str, key: str) -> bool | None:
        """Whether a command about the run succeeds; None where no command is meant."""
        exists, deleted = key in self.deleted, self.deleted.get(key, False)
        match action:
            case "make" if not exists:
                self.deleted[key] = False
            case "delete":
                if exists:
                    self.deleted[key] = True
                return exists and not deleted
            case "restore":
                if exists:
                    self.deleted[key] = False
                return deleted
            case "purge":
                self.deleted.pop(key, None)
                return exists
            case "0.4.0 deletes" if exists:
                self.deleted[key] = True
            case "0.4.0 restores" if exists:
                self.deleted[key] = False
            case "removed by hand":
                self.deleted.pop(key, None)
            case _:
                pass
        return None


def act(place: Place, action: str, keys: list[str]) -> dict[str, bool] | None:
    """Do it to the files; whether a command succeeded, by key."""
    if action in ("delete", "restore"):
        failures = getattr(place, action)(*keys)
        return {key: failure is None for key, failure in failures.items()}
    if action == "purge":
        return {key: failure is None for key, failure in place.purge(*keys).failures.items()}
    for key in keys:
        directory = place.root / key
        if action == "make" and not directory.exists():
            make_run(place.root, key, status={"status": "finished"})
        elif action == "0.4.0 deletes" and directory.exists() and not (directory / ".deleted").exists():
            (directory / ".deleted").write_text(json.dumps({"deleted_at": time.time(), "reason": "0.4.0"}))
        elif action == "0.4.0 restores" and directory.exists():
            (directory / ".deleted").unlink(missing_ok=True)
        elif action == "removed by hand":
            shutil.rmtree(directory, ignore_errors=True)
    return None


def shown(rows: dict[str, dict[str, Any]]) -> dict[str, bool]:
    return {key: not row["listed"] for key, row in rows.items()}


@pytest.mark.slow(4)
@settings(max_examples=60)
@given(steps)
def test_list_and_bin_are_complements_after_any_sequence_and_after_a_replay(steps: list[tuple[str, list[str]]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        place, model = Place(Path(directory)), Model()
        for action, keys in steps:
            if action == "restart":
                place.projector.close()
                place.projector = InProcess(place.root, place.log.state_dir)
            expected = {key: model.change(action, key) for key in keys}
            done = act(place, action, keys)
            if done is not None:
                assert done == expected
            else:
                place.rows()  # others are seen when somebody looks; between two looks there may be anything
            trace = (steps, action, keys)
            if action in ("delete", "restore", "purge"):
                assert shown(place.rows(look=False)) == model.deleted, trace
        assert shown(place.rows()) == model.deleted
        assert {key for key in KEYS if (place.root / key).exists()} == model.deleted.keys()
        before = place.rows()
        place.projector.close()

        replayed = InProcess(place.root, Path(directory) / "elsewhere")
        place.projector = replayed
        assert place.rows() == before
        replayed.close()
        assert (
            os.listdir(place.root / ".runicorn" / "purging") == []
            if (place.root / ".runicorn/purging").exists()
            else True
        )
