"""Taking commands on runs back, and what is not taken back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runicorn.experiment_file import ExperimentMetadata
from runicorn.history.entries import FieldChange
from runicorn.history.subject import ChangedSince
from runicorn.run_commands.on_store import RunIsReadOnly
from runicorn.run_commands.undoing import NotTakenBack, take_back_decision
from tests.core.run_commands.places import Place, places
from tests.stores import make_run

KEY = "p/n/runs/a"


def take_back(place: Place, *changes: FieldChange, key: str = KEY) -> None:
    known = ExperimentMetadata(key.rpartition("/")[2], "p", "n", updated_at=0.0)
    take_back_decision(place.root, places((key,))[0], known, changes, place.record)


def marker(place: Place) -> dict[str, Any]:
    return json.loads((place.root / KEY / ".deleted").read_text())


def test_a_restored_run_is_back_in_the_bin_with_the_marker_that_it_had(place: Place) -> None:
    make_run(place.root, KEY, status={"status": "failed"})
    place.delete(KEY, reason="old")
    before = marker(place)
    place.restore(KEY)
    take_back(place, FieldChange("deleted", before, None))
    assert marker(place) == before
    *_, deleted = place.events()
    assert (deleted["type"], deleted["deleted_at"], deleted["reason"]) == ("run.deleted", before["deleted_at"], "old")


def test_a_run_that_was_deleted_again_stays_deleted(place: Place) -> None:
    make_run(place.root, KEY)
    place.delete(KEY)
    first = marker(place)
    place.restore(KEY)
    place.delete(KEY, reason="again")
    events = list(place.events())
    with pytest.raises(ChangedSince, match="deleted is no longer as the command left it"):
        take_back(place, FieldChange("deleted", None, first))
    assert marker(place)["reason"] == "again"
    assert list(place.events()) == events


def test_of_several_fields_none_is_set_if_one_was_changed_since(place: Place) -> None:
    make_run(place.root, KEY)
    changes = (FieldChange("tags", ["a"], []), FieldChange("description", None, "theirs"))
    with pytest.raises(ChangedSince, match="description"):
        take_back(place, *changes)
    assert list(place.events()) == []
    assert not (place.root / ".experiments_metadata.json").exists()


def test_what_cannot_be_done_is_said(place: Place) -> None:
    (place.root / "elsewhere").mkdir()
    (place.root / "p/n/runs").mkdir(parents=True)
    (place.root / KEY).symlink_to(place.root / "elsewhere")
    with pytest.raises(NotTakenBack, match="run directory is a link"):
        take_back(place, FieldChange("deleted", {"deleted_at": 5.0, "reason": "old", "original_status": "x"}, None))
    assert list(place.events()) == []


def test_a_run_of_a_server_is_left_alone(place: Place) -> None:
    with pytest.raises(RunIsReadOnly):
        take_back(place, FieldChange("tags", [], ["a"]), key=".mirrors/s/attached/p/n/runs/a")
