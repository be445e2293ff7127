"""Long lists of versions: what was found whole is not looked at again at once, unless somebody has touched it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from runicorn_artifacts import folder as folders
from runicorn_artifacts import soundness
from runicorn_artifacts.folder import ArtifactFolder
from runicorn_artifacts.queries import ListedVersion
from runicorn_artifacts.soundness import KnownSoundness
from tests.plugins.artifacts import artifact_folders

FILES = {"top": "1", "a/one": "22", "a/b/two": "333"}


def row(version: int, *, is_damaged: bool = False, is_deleted: bool = False) -> ListedVersion:
    return ListedVersion(version, 1.0, 1.0, "", 6, 3, 0, is_damaged, True, is_deleted, "experimental", None)


class Listed:
    """An artifact with three versions; `statuses` is a request for them."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = artifact_folders.ArtifactFolder(root, "model", "net")
        self.versions = [made.save(version, FILES) for version in (1, 2, 3)]
        self.known = KnownSoundness(cast(Any, None))
        self.rows = [row(version) for version in (1, 2, 3)]
        self.looked_at: list[str] = []
        real = folders._is_there

        def note(files: str, entry: Any) -> bool:
            self.looked_at.append(files.split("/")[-2])
            return real(files, entry)

        monkeypatch.setattr(folders, "_is_there", note)

    def statuses(self) -> tuple[list[str], set[str]]:
        """What a request answers, and which versions it looked at."""
        self.looked_at.clear()
        path = self.versions[0].parent
        found = self.known.statuses(ArtifactFolder(path, "model", "net"), self.rows)
        return list(found), set(self.looked_at)


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Listed:
    return Listed(tmp_path, monkeypatch)


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "_ALWAYS_LOOKED_AT", 8)


READY = ["ready"] * 3
ALL = {"v1", "v2", "v3"}


def test_a_short_list_is_looked_at_each_time(listed: Listed) -> None:
    assert [listed.statuses() for _ in range(2)] == [(READY, ALL)] * 2
    os.truncate(listed.versions[1] / "files/a/one", 1)
    assert listed.statuses()[0] == ["ready", "corrupted", "ready"]


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize(
    "touch",
    [
        lambda version: (version / "files/a/b/two").unlink(),
        lambda version: (version / "files/a/one").rename(version / "files/a/other"),
        lambda version: (version / "manifest.json").write_text("{"),
        lambda version: (version / "metadata.json").unlink(),
        lambda version: (version / "files").rename(version / "gone"),
    ],
)
def test_a_long_list_looks_again_only_at_what_was_touched(listed: Listed, touch: Callable[[Path], object]) -> None:
    assert listed.statuses() == (READY, ALL)
    assert listed.statuses() == (READY, set())
    touch(listed.versions[1])
    statuses, looked_at = listed.statuses()
    assert statuses == ["ready", "corrupted", "ready"]
    assert looked_at <= {"v2"}
    assert listed.statuses()[0] == ["ready", "corrupted", "ready"]


@pytest.mark.usefixtures("long")
def test_what_was_damaged_and_is_whole_again_shows_at_once(listed: Listed) -> None:
    path = listed.versions[2] / "files/a/one"
    path.rename(path.with_name("away"))
    assert listed.statuses()[0] == ["ready", "ready", "corrupted"]
    path.with_name("away").rename(path)
    assert listed.statuses() == (READY, {"v3"})


@pytest.mark.usefixtures("long")
def test_nothing_is_trusted_for_longer_than_a_while(listed: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "_TRUSTED_S", -1.0)
    assert [listed.statuses() for _ in range(2)] == [(READY, ALL)] * 2


@pytest.mark.usefixtures("long")
def test_what_the_read_model_knows_needs_no_look(listed: Listed) -> None:
    listed.rows = [row(1), row(2, is_deleted=True), row(3, is_damaged=True), *[row(1)] * 3]
    assert listed.statuses() == (["ready", "deleted", "corrupted", *READY], {"v1"})


@pytest.mark.usefixtures("long")
def test_memory_for_what_was_found_has_a_limit(listed: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "_REMEMBERED", 2)
    listed.statuses()
    assert len(listed.known._whole) == 2
    monkeypatch.setattr(soundness, "_MAX_DIRECTORIES", 1)
    listed.known._whole.clear()
    assert [listed.statuses() for _ in range(2)] == [(READY, ALL)] * 2
