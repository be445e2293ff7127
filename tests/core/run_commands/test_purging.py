"""Removing runs for good: all of a run or nothing, and never anything else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runicorn.errors import StorageUnavailable
from runicorn.events.decided import RunTagged
from runicorn.events.envelope import Payload
from runicorn.run_commands import purging
from runicorn.run_commands.purging import purge, remove_leftovers
from tests.core.run_commands.places import Place, kill_within, places
from tests.stores import make_run, write

A, B = "p/n/runs/a", "p/n/runs/b"


def test_the_space_is_free_and_nothing_is_left_of_the_run(place: Place) -> None:
    directory = make_run(place.root, A, events="x" * 1000)
    (directory / "media").mkdir()
    write(directory / "media" / "image.png", b"i" * 500)
    os.link(directory / "media" / "image.png", place.root / "pool")
    place.delete(A)
    before = sum(path.stat().st_size for path in directory.iterdir() if path.is_file())
    assert place.rows()[A]["listed"] == 0

    purged = place.purge(A)
    assert (purged.failures, purged.bytes_freed) == ({A: None}, before)
    assert not directory.exists()
    assert directory.parent.exists()
    assert os.listdir(place.root / ".runicorn" / "purging") == []
    assert (place.root / "pool").read_bytes() == b"i" * 500
    assert place.rows() == {}
    assert [event["type"] for event in place.events()] == ["run.deleted", "run.purged"]


def test_the_event_alone_takes_the_run_out_of_every_list(place: Place) -> None:
    make_run(place.root, A)
    place.rows()
    place.purge(A)
    assert place.rows(look=False) == {}


def test_the_entry_goes_with_the_run_and_others_stay(place: Place) -> None:
    make_run(place.root, A)
    entries = {"a": {"tags": ["x"]}, "b": {"tags": ["y"]}}
    write(place.root / ".experiments_metadata.json", json.dumps(entries))
    place.purge(A)
    assert json.loads((place.root / ".experiments_metadata.json").read_text()) == {"b": {"tags": ["y"]}}


def test_links_are_unlinked_and_never_followed(place: Place, tmp_path: Path) -> None:
    outside = make_run(tmp_path / "outside", "n/runs/x")
    write(outside / "precious", "data")
    directory = make_run(place.root, A)
    (directory / "link").symlink_to(outside)
    (place.root / B).symlink_to(outside)
    (place.root / "q").symlink_to(tmp_path / "outside")
    purged = place.purge(A, B, "q/n/runs/x", "p/n/runs/unknown")
    assert purged.failures == {
        A: None,
        B: None,
        "q/n/runs/x": "could not be removed",
        "p/n/runs/unknown": "run not found",
    }
    assert os.listdir(place.root / "p/n/runs") == []
    assert (outside / "precious").read_text() == "data"


def test_a_run_made_again_after_a_purge_is_a_new_one(place: Place) -> None:
    make_run(place.root, A)
    place.delete(A)
    place.purge(A)
    place.rows()
    make_run(place.root, A, status={"status": "running"})
    row = place.rows()[A]
    assert (row["listed"], row["deleted_at"], row["status"], row["tags"]) == (1, None, "running", "[]")


def test_what_a_killed_purge_has_left_is_removed_at_the_next_start(place: Place) -> None:
    left = place.root / ".runicorn" / "purging" / "0123"
    left.mkdir(parents=True)
    write(left / "events.jsonl", "x")
    remove_leftovers(place.root)
    assert os.listdir(left.parent) == []
    assert place.rows() == {}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_whose_purge_is_killed_is_gone_with_what_was_said_about_it(place: Place, when: str) -> None:
    directory = make_run(place.root, A)
    place.record(RunTagged(run=A, run_id="a", tags=["kept"]))
    assert place.rows()[A]["tags"] == '["kept"]'
    kill_within(place.root, "purge", when)

    assert not directory.exists()
    assert place.rows() == {}
    remove_leftovers(place.root)
    assert os.listdir(place.root / ".runicorn" / "purging") == []


def test_without_a_log_a_run_stays_as_it_is(place: Place, tmp_path: Path) -> None:
    directory = make_run(place.root, A, status={"status": "finished"})
    (place.root / B).symlink_to(make_run(tmp_path / "outside", "n/runs/x"))
    place.record(RunTagged(run=A, run_id="a", tags=["kept"]))
    before = place.rows()

    def full(*payloads: Payload) -> None:
        raise StorageUnavailable

    with pytest.raises(StorageUnavailable):
        purge(place.root, places((A, B)), full)
    assert os.listdir(directory) == ["status.json"]
    assert (place.root / B).is_symlink()
    assert place.rows() == before
    assert os.listdir(place.root / ".runicorn" / "purging") == []


def test_a_run_that_cannot_be_removed_while_the_disk_is_full_is_a_failure_of_its_own_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(make_run(place.root, A) / "immovable", "x")
    make_run(place.root, B)
    write(place.root / ".experiments_metadata.json", json.dumps({"a": {"tags": ["x"]}, "b": {"tags": ["y"]}}))
    place.rows()
    is_full = iter([False, True])
    remove_tree = purging._remove_tree

    def once(*payloads: Payload) -> None:
        if next(is_full):
            raise StorageUnavailable
        place.record(*payloads)

    def remove(path: Path) -> None:
        if (path / "immovable").exists():
            raise PermissionError
        remove_tree(path)

    monkeypatch.setattr(purging, "_remove_tree", remove)
    assert purge(place.root, places((A, B)), once).failures == {A: "could not be removed", B: None}
    assert json.loads((place.root / ".experiments_metadata.json").read_text()) == {"a": {"tags": ["x"]}}
    assert {key: row["listed"] for key, row in place.rows().items()} == {A: 0}
