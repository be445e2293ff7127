"""Whatever is damaged in a store, `runicorn events verify` names it: where, why, and what helps. See `damages`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from click.testing import CliRunner, Result

from runicorn.cli import main
from runicorn.cli.events.verify import verify
from runicorn.events.log import FileLog, Stream
from tests.faults.damages import ARTIFACT, FILES, LINES, RUN, STATE, Damage, make_store, wrong_types
from tests.faults.model_damages import MODELS, REPLAY, add_row, change_row, compared_tables, remove_row


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that nothing is wrong with. Not to be changed."""
    root = tmp_path_factory.mktemp("sound") / "root"
    make_store(root)
    return root


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    """A copy, whose read models know that its files are the ones that were read."""
    copy = shutil.copytree(sound, tmp_path / "root", symlinks=True)
    log = FileLog(copy, copy / STATE)
    for path in (copy / STATE).glob("*-000001.db"):
        db = apsw.Connection(str(path))
        for (name,) in db.execute("SELECT name FROM stream").fetchall():
            position = log.position(Stream.named(str(name)))
            assert position is not None
            db.execute("UPDATE stream SET inode = ? WHERE name = ?", (position.inode, name)).fetchall()
        db.close()
    return copy


def check(root: Path, *options: str) -> tuple[Result, list[dict[str, Any]]]:
    """Run the command; its result and the objects that it printed."""
    done = CliRunner().invoke(verify, ["--storage", str(root), "--json", *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done, [json.loads(line) for line in done.stdout.splitlines()]


def expect(root: Path, damage: Damage, *options: str) -> list[dict[str, Any]]:
    """Plant damage, and see that it is named; everything that was found."""
    offset = damage.plant(root)
    done, found = check(root, *options)
    named = [
        one
        for one in found
        if one["stream"].startswith(damage.place)
        and damage.reason in one["reason"]
        and one["offset"] == offset
        and one["severity"] == ("defect" if damage.repair else "remark")
        and damage.repair in one.get("repair", "")
    ]
    assert named, f"{damage.place}@{offset} {damage.reason!r} is not among {found}"
    defects = [one for one in found if one["severity"] == "defect"]
    assert done.exit_code == (1 if damage.repair else 0)
    assert bool(defects) == bool(damage.repair)
    assert str(root) not in done.stdout
    return defects


def named(damages: list[Damage]) -> list[Any]:
    return [pytest.param(damage, id=damage.name) for damage in damages]


def test_nothing_is_wrong_with_the_sound_store(root: Path) -> None:
    done, found = check(root)
    assert (done.exit_code, found) == (0, [])
    assert "Read models compared with a replay: artifacts, runs; " in done.stderr
    assert "no differences" in done.stderr


@pytest.mark.parametrize("damage", named([*LINES, *wrong_types()]))
def test_every_damaged_line_is_named_and_alone(root: Path, damage: Damage) -> None:
    assert len(expect(root, damage, "--no-replay")) == (1 if damage.repair else 0)


@pytest.mark.parametrize("damage", named(FILES))
def test_every_damaged_file_is_named(root: Path, damage: Damage) -> None:
    expect(root, damage, "--no-replay")


@pytest.mark.parametrize("damage", named(MODELS))
def test_every_damaged_read_model_is_named(root: Path, damage: Damage) -> None:
    expect(root, damage)


PLUGIN_TABLES = [
    ("artifacts", "artifact"),
    ("artifacts", "artifact_alias"),
    ("artifacts", "artifact_history_own"),
    ("artifacts", "artifact_version"),
    ("artifacts", "artifact_versions_own"),
    ("artifacts", "artifact_versions_part"),
    ("artifacts", "run_artifact"),
    ("artifacts", "run_artifacts_part"),
    ("runs", "activity"),
    ("runs", "metric_chunk"),
    ("runs", "metric_column"),
    ("runs", "metric_frame"),
    ("runs", "metric_level"),
    ("runs", "run"),
    ("runs", "run_brief"),
    ("runs", "run_count"),
    ("runs", "run_folded_description"),
    ("runs", "run_history_own"),
    ("runs", "run_history_store"),
    ("runs", "run_image"),
    ("runs", "run_list_own"),
    ("runs", "run_list_part"),
    ("runs", "run_metric"),
    ("runs", "run_tag"),
    ("runs", "run_value"),
]


def test_the_sound_store_has_rows_in_every_table(sound: Path) -> None:
    assert compared_tables(sound) == PLUGIN_TABLES


Make = Callable[[str, str], Callable[[Path], None]]


@pytest.mark.parametrize(("plugin", "table"), PLUGIN_TABLES)
@pytest.mark.parametrize("make", [change_row, remove_row, add_row])
def test_a_row_that_is_changed_removed_or_added_is_named(root: Path, make: Make, plugin: str, table: str) -> None:
    defects = expect(root, Damage("", make(plugin, table), f"{plugin}-", f"{table} ", f"{REPLAY} {plugin}"))
    assert {one["plugin"] for one in defects} == {plugin}
    kinds = {(one["found"] is None, one["replayed"] is None) for one in defects if one.get("table") == table}
    if make is remove_row:
        assert (True, False) in kinds
    if make is add_row and table != "metric_frame":  # which is compared with the rest of the tail
        assert (False, True) in kinds


CONTENTS = {
    "changed": (lambda path: path.write_text("third"), "another size"),
    "changed within its size": (lambda path: path.write_text("x" * path.stat().st_size), "another content"),
    "removed": (lambda path: path.unlink(), "absent"),
    "replaced by a link": (lambda path: (path.unlink(), path.symlink_to("/etc/hostname")), "absent"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_damaged_contents_of_artifacts_are_named(root: Path, kind: str) -> None:
    damage, reason = CONTENTS[kind]
    [path] = (root / ARTIFACT / "v2/files").rglob("weights.bin")
    copy = path.read_bytes()  # a file of a version may be a link to its content in the pool
    path.unlink()
    path.write_bytes(copy)
    damage(path)
    command = ["artifacts", "verify", "--storage", str(root), "--json"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    [problem] = json.loads(done.stdout)
    assert (problem["artifact"], problem["path"], problem["reason"]) == ("model/net:v2", "files/weights.bin", reason)
    assert check(root, "--no-replay")[0].exit_code == 0  # which reads no contents


def test_a_manifest_that_is_not_the_one_that_was_saved_is_named(root: Path) -> None:
    path = root / ARTIFACT / "v1/manifest.json"
    path.write_text(path.read_text().replace("weights.bin", "weights.abc"))
    done = CliRunner().invoke(main, ["artifacts", "verify", "--storage", str(root), "--json"])
    assert done.exit_code == 1
    assert "not the one that was saved" in done.stdout


def test_what_a_read_model_lacks_only_because_it_is_behind_is_no_difference(root: Path) -> None:
    with (root / RUN / "events.jsonl").open("a") as events:
        events.write('{"ts": 6000.0, "type": "metrics", "data": {"loss": 0.125, "global_step": 5000}}\n')
    shutil.rmtree(root / "p/n/runs/20260101_000000_bbbbbb")
    done, found = check(root)
    assert done.exit_code == 0
    assert {one["severity"] for one in found} == {"remark"}


def test_without_a_state_directory_nothing_is_compared(root: Path) -> None:
    shutil.rmtree(root / STATE)
    done, found = check(root)
    assert (done.exit_code, found) == (0, [])
    assert "No read models to compare with a replay." in done.stderr
    assert not (root / STATE).exists()
