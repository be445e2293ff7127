"""Into the recycle bin and out of it: event and marker say the same, whatever happens in between."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from runicorn.errors import StorageUnavailable
from runicorn.events.envelope import Payload
from runicorn.run_commands.marker import Deletion, prepare
from runicorn.run_commands.recycling import put_into_bin, take_out
from tests.core.run_commands.places import Place, kill_within, places
from tests.stores import make_run

A, B, LEGACY = "p/n/runs/a", "p/n/runs/b", "runs/c"


def marker_of(root: Path, key: str) -> dict[str, object]:
    return json.loads((root / key / ".deleted").read_text())


def test_event_marker_and_read_model_say_the_same(place: Place) -> None:
    make_run(place.root, A, status={"status": "running"})
    make_run(place.root, LEGACY)
    before = time.time()
    assert place.delete(A, LEGACY, reason="old") == {A: None, LEGACY: None}

    events = list(place.events())
    assert [(event["type"], event["run"], event["run_id"]) for event in events] == [
        ("run.deleted", A, "a"),
        ("run.deleted", LEGACY, "c"),
    ]
    for event, status in zip(events, ["running", "unknown"], strict=True):
        marker = marker_of(place.root, event["run"])
        assert marker == {"deleted_at": event["deleted_at"], "reason": "old", "original_status": status}
        assert before <= event["deleted_at"] <= event["ts"]
    rows = place.rows()
    assert [(rows[key]["listed"], rows[key]["delete_reason"]) for key in (A, LEGACY)] == [(0, "old")] * 2
    assert rows[A]["original_status"] == "running"
    assert [name for name in os.listdir(place.root / A) if name != ".deleted"] == ["status.json"]


def test_a_restored_run_is_as_before(place: Place) -> None:
    directory = make_run(place.root, A, status={"status": "failed"}, meta={"created_at": 5.0})
    listed = place.rows()
    files = sorted(os.listdir(directory))
    place.delete(A)
    assert place.rows() != listed
    assert place.restore(A) == {A: None}
    assert place.rows() == listed
    assert sorted(os.listdir(directory)) == files


def test_what_is_in_the_bin_or_not_there_is_not_deleted_again(place: Place) -> None:
    make_run(place.root, A)
    assert place.delete(A, B) == {A: None, B: "run not found"}
    marker = marker_of(place.root, A)
    assert place.delete(A) == {A: "run not found"}
    assert marker_of(place.root, A) == marker
    assert len(list(place.events())) == 1


def test_what_is_not_in_the_bin_is_not_restored(place: Place) -> None:
    make_run(place.root, A)
    assert place.restore(A, B) == {A: "run not deleted", B: "run not found"}
    assert list(place.events()) == []


@pytest.mark.parametrize("marker", ["", "[]", "{", '{"deleted_at": "x"}'])
def test_an_odd_marker_of_others_is_a_marker(place: Place, marker: str) -> None:
    make_run(place.root, A)
    (place.root / A / ".deleted").write_text(marker)
    assert place.rows()[A]["listed"] == 0
    assert place.restore(A) == {A: None}
    assert place.rows()[A]["listed"] == 1


def test_a_directory_in_the_place_of_the_marker_is_removed(place: Place) -> None:
    (make_run(place.root, A) / ".deleted" / "sub").mkdir(parents=True)
    assert place.rows()[A]["listed"] == 0
    assert place.restore(A) == {A: None}
    assert place.rows()[A]["listed"] == 1


def test_nothing_is_written_through_links(place: Place, tmp_path: Path) -> None:
    outside = make_run(tmp_path / "outside", "n/runs/x")
    (place.root / "p/n/runs").mkdir(parents=True)
    (place.root / A).symlink_to(outside)
    (place.root / "q").symlink_to(tmp_path / "outside")
    assert place.delete(A, "q/n/runs/x") == {A: "run directory is a link", "q/n/runs/x": "run directory is a link"}
    assert list(outside.iterdir()) == []
    (outside / ".deleted").write_text("{}")
    assert place.restore(A) == {A: "could not remove marker"}
    assert list(place.events()) == []
    assert os.listdir(outside) == [".deleted"]


def test_commands_and_0_4_0_agree_by_time(place: Place) -> None:
    directory = make_run(place.root, A)
    place.delete(A)
    assert place.rows()[A]["listed"] == 0
    (directory / ".deleted").unlink()  # as 0.4.0 restores
    assert place.rows()[A]["listed"] == 1
    (directory / ".deleted").write_text(json.dumps({"deleted_at": time.time(), "reason": "0.4.0"}))
    assert place.rows()[A]["delete_reason"] == "0.4.0"
    place.restore(A)
    assert place.rows()[A]["listed"] == 1
    place.delete(A)
    assert place.rows()[A]["delete_reason"] == "user_deleted"


def test_a_run_looked_at_between_event_and_marker_stays_deleted(place: Place) -> None:
    directory = make_run(place.root, A, status={"status": "running"})
    place.rows()

    def look(*payloads: Payload) -> None:
        place.record(*payloads)
        (directory / "status.json").write_text('{"status": "finished"}')
        assert place.rows()[A]["listed"] == 0

    put_into_bin(place.root, places((A,)), look, reason="r")
    row = place.rows()[A]
    assert (row["listed"], row["status"], row["deleted_at"]) == (0, "finished", marker_of(place.root, A)["deleted_at"])
    assert [event["type"] for event in place.events()] == ["run.deleted"]


def test_a_command_killed_before_the_marker_is_in_place_is_carried_out_by_the_log(place: Place) -> None:
    directory = make_run(place.root, A)
    deletion = Deletion.now(directory, "r")
    prepare(directory, deletion)
    put_into_bin(place.root, places((A,)), place.record, reason="r")
    (directory / ".deleted").unlink()
    leftover = prepare(directory, Deletion.stored(directory) or deletion)
    assert os.path.exists(leftover)
    assert place.restore(A) == {A: None}
    assert place.rows()[A]["listed"] == 1
    assert os.listdir(directory) == []


def test_without_a_log_nothing_changes(place: Place) -> None:
    directory = make_run(place.root, A)

    def full(*payloads: Payload) -> None:
        raise StorageUnavailable

    with pytest.raises(StorageUnavailable):
        put_into_bin(place.root, places((A,)), full, reason="r")
    assert os.listdir(directory) == []


def test_a_marker_that_cannot_be_put_in_place_is_taken_back(place: Place) -> None:
    directory = make_run(place.root, A)

    def meanwhile(*payloads: Payload) -> None:
        place.record(*payloads)
        for path in directory.iterdir():
            path.unlink()

    assert put_into_bin(place.root, places((A,)), meanwhile, reason="r") == {A: "could not write marker"}
    assert [event["type"] for event in place.events()] == ["run.deleted", "run.restored"]
    assert place.rows()[A]["listed"] == 1


def test_a_marker_that_cannot_be_put_in_place_while_the_disk_is_full_is_a_failure_of_its_run_alone(
    place: Place,
) -> None:
    directories = [make_run(place.root, key) for key in (A, B)]
    is_full = iter([False, True])

    def once(*payloads: Payload) -> None:
        if next(is_full):
            raise StorageUnavailable
        place.record(*payloads)
        for path in directories[0].iterdir():
            path.unlink()

    assert put_into_bin(place.root, places((A, B)), once, reason="r") == {A: "could not write marker", B: None}
    rows = place.rows()
    assert (rows[A]["listed"], rows[B]["listed"]) == (1, 0)


def test_several_commands_at_once_delete_each_run_once(place: Place) -> None:
    keys = [f"p/n/runs/{number}" for number in range(40)]
    for key in keys:
        make_run(place.root, key)
    successes: list[str] = []

    def delete() -> None:
        successes.extend(key for key, why in place.delete(*keys).items() if why is None)

    threads = [threading.Thread(target=delete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(successes) == sorted(keys)
    assert sorted(event["run"] for event in place.events()) == sorted(keys)


@pytest.mark.parametrize(("when", "is_listed"), [("before", 0), ("after", 1)])
def test_a_restore_that_is_killed_has_happened_if_the_log_says_so(place: Place, when: str, is_listed: int) -> None:
    directory = make_run(place.root, A)
    place.delete(A)
    assert place.rows()[A]["listed"] == 0
    kill_within(place.root, "take_out", when)

    assert not (directory / ".deleted").exists()
    assert place.rows()[A]["listed"] == is_listed
    if not is_listed:
        assert place.restore(A) == {A: None}
    assert place.delete(A) == {A: None}
    assert place.rows()[A]["listed"] == 0
    assert os.listdir(directory) == [".deleted"]
    assert place.restore(A) == {A: None}
    assert place.rows()[A]["listed"] == 1
    assert os.listdir(directory) == []


def test_without_a_log_a_run_stays_in_the_bin(place: Place) -> None:
    directory = make_run(place.root, A)
    place.delete(A)
    marker = marker_of(place.root, A)

    def full(*payloads: Payload) -> None:
        assert place.rows()[A]["listed"] == 0
        raise StorageUnavailable

    with pytest.raises(StorageUnavailable):
        take_out(place.root, places((A,)), full)
    assert os.listdir(directory) == [".deleted"]
    assert marker_of(place.root, A) == marker
    assert place.rows()[A]["listed"] == 0
