"""0.4.0's files as events: what they say, said once, however odd they are."""

from __future__ import annotations

import json
import os
import time

import pytest

from runicorn.events.envelope import decode_data, encode_event
from runicorn.events.log import FileLog
from runicorn.plugin import integer, number, text
from runicorn_runs.facts import Best, Meta, RunStatus, lenient_number
from tests.projecting import InProcess
from tests.run_rows import actual_rows, expected_rows
from tests.stores import make_run


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


@pytest.fixture
def projector(root, tmp_path):
    projector = InProcess(root, tmp_path / "state")
    yield projector
    projector.close()


def observed(root) -> list[dict[str, object]]:
    log = FileLog(root, root.parent / "state")
    return [decode_data(event) | {"type": event.type} for s in log.store_streams() for event in log.read(s).events]


def row(projector: InProcess, key: str) -> dict[str, object]:
    projector.work()
    projector.sweep()
    rows = actual_rows(projector.db)
    assert rows == expected_rows(projector.log.root)
    return rows[0][key]


def test_a_run_of_0_4_0_is_listed_with_all_that_its_files_say(root, projector):
    make_run(
        root,
        "p/n/runs/one",
        meta={"project": "shown", "name": "net", "created_at": 5.5, "pid": 12, "hostname": "box"},
        status={"status": "failed", "started_at": 6.0, "ended_at": 7.0, "exit_reason": "exception"},
        summary={
            "best_metric_value": "0.5",
            "best_metric_name": "acc",
            "best_metric_step": 3,
            "best_metric_mode": "max",
        },
        artifacts_created={"artifacts": [{"name": "a", "type": "model", "version": 1}, {"name": 5}, "junk"]},
    )
    projector.work()
    projector.sweep()
    [found] = actual_rows(projector.db)[0].values()
    assert (found["project"], found["name"], found["created"], found["pid"]) == ("shown", "net", 5.5, 12)
    assert (found["status"], found["started"], found["ended"], found["exit_reason"]) == (
        "failed",
        6.0,
        7.0,
        "exception",
    )
    assert (found["best_value"], found["best_name"], found["best_step"], found["best_mode"]) == (0.5, "acc", 3, "max")
    assert (found["artifacts_created"], found["artifacts_used"]) == (1, 0)


def test_what_is_known_is_never_said_again(root, projector):
    make_run(
        root, "p/n/runs/one", meta={"project": "p", "created_at": 1.0}, status={"status": "finished"}, summary={"x": 1}
    )
    make_run(root, "p/n/runs/empty")
    row(projector, "p/n/runs/one")
    before = observed(root)
    for name in ("meta", "status", "summary"):
        path = root / f"p/n/runs/one/{name}.json"
        path.write_bytes(path.read_bytes() + b"\n")  # another file, the same content
    row(projector, "p/n/runs/one")
    projector.observer.forget(["p/n/runs/one", "p/n/runs/empty"])
    row(projector, "p/n/runs/one")
    assert observed(root) == before


def test_files_that_say_what_the_stream_says_cost_no_event(root, projector):
    events = encode_event(5.0, "run.created", {"run_id": "one", "project": "p", "name": "n", "created_at": 5.0})
    events += encode_event(6.0, "run.summarized", {"update": {"acc": 1}})
    events += encode_event(7.0, "run.finished", {"status": "finished", "ended_at": 7.0})
    make_run(
        root,
        "p/n/runs/one",
        events=events,
        meta={"project": "p", "name": "n", "created_at": 5.0},
        status={"status": "finished", "started_at": 5.0, "ended_at": 7.0},
        summary={"acc": 1},
    )
    assert row(projector, "p/n/runs/one")["status"] == "finished"
    assert [event for event in observed(root) if event["file"]] == []


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '"text"', "[" * 5000, '{"project": 7, "created_at": "x", "pid": 1e99}']
)
def test_a_damaged_file_is_one_that_says_nothing(root, projector, content):
    make_run(root, "p/n/runs/one", meta=content, status=content, summary=content)
    make_run(root, "p/n/runs/two", meta={"project": "fine"})
    found = row(projector, "p/n/runs/one")
    assert (found["project"], found["name"], found["status"], found["pid"]) == ("p", "n", "finished", None)
    assert found["created"] is not None  # the directory's own time
    assert row(projector, "p/n/runs/two")["project"] == "fine"


def test_what_lies_in_the_place_of_a_file_does_not_matter(root, projector):
    run = make_run(root, "p/n/runs/one")
    (run / "meta.json").mkdir()
    os.mkfifo(run / "status.json")
    (run / "summary.json").symlink_to("nowhere")
    (run / ".deleted").mkdir()
    found = row(projector, "p/n/runs/one")
    assert (found["project"], found["listed"], found["delete_reason"]) == ("p", 0, "unknown")
    (run / ".deleted").rmdir()
    assert row(projector, "p/n/runs/one")["listed"] == 1


def test_a_file_that_changed_later_wins_over_what_was_known(root, projector):
    run = make_run(root, "p/n/runs/one", status={"status": "running", "started_at": 5.0})
    assert row(projector, "p/n/runs/one")["status"] == "running"
    (run / "status.json").write_text(json.dumps({"status": "finished", "started_at": 5.0, "ended_at": 6.0}))
    assert row(projector, "p/n/runs/one")["status"] == "finished"
    (run / "status.json").write_text(json.dumps({"status": "odd", "started_at": 1.0}))  # with an older time inside
    assert row(projector, "p/n/runs/one")["status"] == "odd"


def test_a_file_from_the_future_does_not_outlive_what_comes_later(root, projector):
    run = make_run(root, "p/n/runs/one", status={"status": "running", "started_at": 1e12})
    assert row(projector, "p/n/runs/one")["status"] == "running"
    (run / "status.json").write_text(json.dumps({"status": "finished", "started_at": 1e12, "ended_at": 5.0}))
    os.utime(run / "status.json", (time.time() + 1, time.time() + 1))
    assert row(projector, "p/n/runs/one")["status"] == "finished"


@pytest.mark.parametrize(
    ("value", "as_number", "leniently", "as_integer", "as_text"),
    [
        (5, 5.0, 5.0, 5, None),
        (2.5, 2.5, 2.5, None, None),
        (True, None, 1.0, None, None),
        ("0.5", None, 0.5, None, "0.5"),
        ("x", None, None, None, "x"),
        (float("nan"), None, None, None, None),
        (float("inf"), None, None, None, None),
        ("inf", None, None, None, "inf"),
        (10**400, None, None, None, None),
        (1 << 63, 9.223372036854775808e18, 9.223372036854775808e18, None, None),
        (None, None, None, None, None),
        ([1], None, None, None, None),
        ("\ud800", None, None, None, "�"),
    ],
)
def test_each_value_is_coerced_alone(value, as_number, leniently, as_integer, as_text):
    assert (number(value), lenient_number(value), integer(value), text(value)) == (
        as_number,
        leniently,
        as_integer,
        as_text,
    )


def test_a_field_that_cannot_be_used_hides_no_other():
    assert Meta.read({"project": 5, "name": "n", "created_at": True, "pid": "x"}) == Meta(name="n")
    assert RunStatus.read({"status": None, "ended_at": 5}) == RunStatus("finished", None, 5.0, None)
    assert RunStatus.read({"status": 7}).status == "7"
    assert Best.read({"best_metric_value": True, "best_metric_step": 10**30}) == Best(1.0, None, None, None)


ENTRY = {"name": "net", "type": "model", "version": 1, "created_at": 5.0, "size_bytes": 7}


@pytest.mark.parametrize("name", ["artifacts_created.json", "artifacts_used.json"])
def test_an_entry_replaced_by_another_is_noticed_and_a_rewritten_one_is_not(root, projector, name):
    directory = make_run(root, "p/n/runs/one", meta={"created_at": 5.0})

    def said_after_writing(*entries: object) -> list[object]:
        (directory / name).write_text(json.dumps({"artifacts": entries}, indent=2))
        projector.sweep()
        said = [event["content"]["artifacts"] for event in observed(root) if event.get("file") == name]
        return said[len(before) :]

    before: list[object] = []
    assert said_after_writing(ENTRY) == [[ENTRY]]
    before.append(None)
    assert said_after_writing(dict(reversed(ENTRY.items())), "junk") == []
    for other in ({"version": 2}, {"name": "net\ud800"}, {"size_bytes": 8}, {"used_at": 10**30}, {"created_at": None}):
        assert len(said_after_writing(ENTRY | other)) == 1
        before.append(None)
        assert said_after_writing(ENTRY | other, {"name": "no version", "type": "model"}) == []
    assert len(said_after_writing(ENTRY, ENTRY)) == 1
    before.append(None)
    assert said_after_writing() == [[]]
