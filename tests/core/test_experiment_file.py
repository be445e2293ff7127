"""The file of what people say about runs: changed by the entry, whoever else writes it; looked at by the entry, too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from runicorn import experiment_file, files
from runicorn.experiment_file import METADATA_FILE, ExperimentFile
from runicorn.followed_entries import FollowedEntries

MANY = 200


class Place:
    """A root with entries, and a reader that counts which of them it was shown."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / METADATA_FILE
        self.file = ExperimentFile(root)
        self.looked_at = 0
        self.followed = FollowedEntries(self._sound)

    def _sound(self, stored: object) -> dict[str, Any] | None:
        self.looked_at += 1
        return stored if isinstance(stored, dict) else None  # pyright: ignore[reportUnknownVariableType]  # JSON

    def tag(self, run_id: str, *tags: str) -> None:
        with self.file.changing([run_id]) as entries:
            entries[run_id] = {**entries.get(run_id, {}), "tags": list(tags)}

    def write_as_others(self, **changes: Any) -> None:
        """As 0.4.0 does: all that the file holds, with changes."""
        entries = json.loads(self.path.read_text()) | changes
        files.replace_file(self.path, json.dumps(entries).encode())

    def stored(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())

    def look(self) -> tuple[int, set[str]]:
        """How many entries a reader looks at now, and which have changed."""
        self.looked_at = 0
        assert self.followed.refresh(self.root)
        changed, self.followed.changed = self.followed.changed, set()
        return self.looked_at, changed


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    with place.file.changing() as entries:
        entries.update({f"run{number}": {"tags": ["x"], "n": number} for number in range(MANY)})
    assert place.look() == (MANY, set(place.stored()))
    return place


def test_a_change_of_one_entry_parses_no_other(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    parse = files.parse_json

    def counted(data: bytes) -> Any:
        parsed.append(len(data))
        return parse(data)

    for module in ("runicorn.files", "runicorn.entry_text", "runicorn.followed_entries"):
        monkeypatch.setattr(f"{module}.parse_json", counted)
    place.tag("run7", "a")
    place.look()
    monkeypatch.undo()
    assert place.stored()["run7"] == {"tags": ["a"], "n": 7}
    assert max(parsed) < place.path.stat().st_size / 4  # the record of steps is read, too


def test_what_our_own_writers_changed_is_looked_at_alone(place: Place) -> None:
    place.tag("run7", "a")
    place.tag("run8", "b")
    place.tag("new", "c")
    assert place.look() == (3, {"run7", "run8", "new"})
    assert place.followed.get("run7") == {"tags": ["a"], "n": 7}
    assert place.followed.get("run9") == {"tags": ["x"], "n": 9}
    with place.file.changing(["run8"]) as entries:
        del entries["run8"]
    assert place.look() == (0, set())
    assert place.followed.get("run8") is None


def test_what_others_write_is_read_as_a_whole_and_nothing_of_it_is_lost(place: Place) -> None:
    place.write_as_others(run7={"tags": ["theirs"]})
    assert place.look() == (MANY, {"run7"})
    place.write_as_others(run8={"tags": ["theirs"]})
    place.tag("run9", "ours")
    assert place.stored()["run8"] == {"tags": ["theirs"]}
    assert place.look()[1] == {"run8", "run9"}
    place.tag("run9", "again")
    place.write_as_others(run7={"tags": ["last"]})
    assert place.look()[1] == {"run7", "run9"}


def test_a_file_edited_in_place_is_read_as_a_whole(place: Place) -> None:
    place.tag("run7", "a")
    place.look()
    place.path.write_text(place.path.read_text().replace('"n": 9,', '"n": 99,'))
    place.tag("run8", "b")
    assert place.look() == (MANY, {"run8"} | ({"run9"} if place.stored()["run9"]["n"] == 99 else set()))


def test_a_writer_that_is_killed_between_its_note_and_its_file_does_no_harm(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = place.path.read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiment_file.os, "replace", killed)
        # The note itself is replaced by `files.replace_file`, which uses the same function: let that one through.
        patch.setattr("runicorn.entry_steps.replace_file", lambda path, data: Path(path).write_bytes(data))
        with pytest.raises(KeyboardInterrupt):
            place.tag("run7", "never")
    assert place.path.read_bytes() == before
    assert place.look() == (0, set())
    place.tag("run8", "a")
    assert place.look() == (1, {"run8"})
    assert place.stored()["run7"]["tags"] == ["x"]
    assert not list(place.root.glob("*.tmp"))


def test_without_a_note_of_the_change_all_is_read(place: Place) -> None:
    place.tag("run7", "a")
    (place.root / ".runicorn/entries.json").write_text('{"steps": [[5, "x"]]}')
    assert place.look() == (MANY, {"run7"})
    place.tag("run8", "b")
    assert place.look() == (1, {"run8"})


def test_a_reader_that_missed_more_changes_than_are_remembered_reads_all(place: Place) -> None:
    for number in range(70):
        place.tag(f"run{number}", "a")
    looked_at, changed = place.look()
    assert looked_at == MANY
    assert changed == {f"run{number}" for number in range(70)}
    assert os.path.getsize(place.root / ".runicorn/entries.json") < 20_000


def test_a_file_that_was_gone_is_compared_as_a_whole_when_it_is_back(place: Place) -> None:
    aside = place.path.rename(place.path.with_suffix(".aside"))
    assert not place.followed.refresh(place.root)
    assert place.followed.get("run7") is None
    aside.rename(place.path)
    assert place.look() == (MANY, set(place.stored()))
