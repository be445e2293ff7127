from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn.experiment_file import METADATA_FILE, InvalidTags, checked_tags
from runicorn.sdk.experiments import ExperimentManager, ExperimentMetadata

DAY_S = 86400.0
_NOBODY = 65534
OLD = 1_600_000_000.0


@pytest.fixture
def make_run(tmp_path):
    """A function that makes a run directory, last active at `active_at`, and returns it."""

    def make(
        run_id: str,
        *,
        project: str = "vision",
        name: str = "resnet",
        created_at: object = OLD,
        status: object = "finished",
        active_at: float = OLD,
        deleted: bool = False,
    ):
        directory = tmp_path / project / name / "runs" / run_id
        directory.mkdir(parents=True)
        (directory / "meta.json").write_text(json.dumps({"project": project, "name": name, "created_at": created_at}))
        (directory / "status.json").write_text(json.dumps({"status": status}))
        (directory / "media").mkdir()
        (directory / "media" / "image.png").write_bytes(b"png")
        for file in directory.glob("*.json"):
            os.utime(file, (active_at, active_at))
        if deleted:
            (directory / ".deleted").write_text("{}")
        return directory

    return make


@pytest.fixture
def manager(tmp_path):
    return ExperimentManager(tmp_path)


def stored(root) -> dict[str, dict[str, object]]:
    return json.loads((root / METADATA_FILE).read_text("utf-8"))


def ids(found: list[ExperimentMetadata]) -> list[str]:
    return [run.id for run in found]


class TestKnownRuns:
    def test_a_run_without_entry_has_the_values_of_its_files(self, make_run, manager):
        make_run("a", created_at=OLD + 1, active_at=OLD + 60)
        assert manager.search_experiments() == [
            ExperimentMetadata("a", "vision", "resnet", [], None, OLD + 1, OLD + 60, archived=False, pinned=False)
        ]

    def test_directory_names_stand_in_for_missing_meta(self, tmp_path, manager):
        (tmp_path / "nlp" / "bert" / "runs" / "b").mkdir(parents=True)
        (tmp_path / "runs" / "legacy").mkdir(parents=True)
        found = {run.id: (run.project, run.name) for run in manager.search_experiments()}
        assert found == {"b": ("nlp", "bert"), "legacy": (None, None)}

    def test_the_entry_is_made_by_the_first_change(self, make_run, manager, tmp_path):
        make_run("a")
        manager.search_experiments()
        assert not (tmp_path / METADATA_FILE).exists()
        before = time.time()
        assert manager.pin_experiment("a") is True
        (entry,) = stored(tmp_path).values()
        assert before <= entry.pop("updated_at") <= time.time()
        assert entry == {
            "id": "a",
            "project": "vision",
            "name": "resnet",
            "tags": [],
            "description": None,
            "created_at": OLD,
            "archived": False,
            "pinned": True,
        }

    def test_soft_deleted_runs_are_unknown(self, make_run, manager, tmp_path):
        make_run("a", deleted=True)
        (tmp_path / METADATA_FILE).write_text(json.dumps({"a": {"project": "vision", "name": "resnet"}}))
        assert manager.search_experiments(archived=True) == []
        assert manager.tag_experiment("a", ["x"]) is False
        assert manager.get_experiment_stats()["total"] == 0

    def test_of_two_runs_with_one_id_the_first_in_list_order_counts(self, make_run, manager):
        make_run("a", project="Beta")
        make_run("a", project="alpha")
        make_run("a", project="aaa", deleted=True)
        assert [run.project for run in manager.search_experiments()] == ["alpha"]

    def test_unknown_runs_cannot_be_changed_and_nothing_is_created(self, tmp_path):
        manager = ExperimentManager(tmp_path / "missing")
        assert manager.tag_experiment("a", ["x"]) is False
        assert manager.pin_experiment("a") is False
        assert manager.archive_experiment("a") is False
        assert manager.delete_experiments(["a"]) == {"a": False}
        assert manager.search_experiments() == []
        assert list(tmp_path.iterdir()) == []

    def test_an_added_experiment_needs_no_directory(self, tmp_path):
        manager = ExperimentManager(str(tmp_path / "new"))
        added = manager.add_experiment("a", "vision", "resnet", tags=[" x ", "x"], description="first")
        assert (added.tags, added.description) == (["x"], "first")
        assert ExperimentManager(tmp_path / "new").search_experiments() == [added]

    def test_adding_again_keeps_pin_and_creation_time(self, make_run, manager):
        make_run("a")
        manager.pin_experiment("a")
        manager.archive_experiment("a")
        again = manager.add_experiment("a", "other", "name", ["t"])
        assert (again.project, again.pinned, again.archived, again.created_at) == ("other", True, True, OLD)


class TestTags:
    def test_are_appended_in_order_without_duplicates_or_replaced(self, make_run, manager, tmp_path):
        make_run("a")
        assert manager.tag_experiment("a", ["b", "a"]) is True
        assert manager.tag_experiment("a", [" c ", "b"]) is True
        assert stored(tmp_path)["a"]["tags"] == ["b", "a", "c"]
        assert manager.tag_experiment("a", ["z"], append=False) is True
        assert stored(tmp_path)["a"]["tags"] == ["z"]
        assert manager.tag_experiment("a", [], append=False) is True
        assert stored(tmp_path)["a"]["tags"] == []

    @pytest.mark.parametrize("tags", [[""], ["  "], ["x" * 65], [1], "abc", [str(i) for i in range(101)]])
    def test_that_are_wrong_change_nothing(self, make_run, manager, tags, tmp_path):
        make_run("a")
        manager.tag_experiment("a", ["kept"])
        with pytest.raises(ValueError, match="Invalid value for tags"):
            manager.tag_experiment("a", tags)
        assert stored(tmp_path)["a"]["tags"] == ["kept"]

    def test_are_at_most_a_hundred_per_run(self, make_run, manager, tmp_path):
        make_run("a")
        manager.tag_experiment("a", [str(i) for i in range(100)])
        manager.tag_experiment("a", ["0", "99"])
        with pytest.raises(InvalidTags):
            manager.tag_experiment("a", ["100"])
        assert len(stored(tmp_path)["a"]["tags"]) == 100

    def test_tags_from_elsewhere_that_break_the_rules_do_not_prevent_new_ones(self, make_run, manager, tmp_path):
        make_run("a")
        (tmp_path / METADATA_FILE).write_text(json.dumps({"a": {"tags": ["x" * 100, ""]}}))
        assert manager.tag_experiment("a", ["new"]) is True
        assert stored(tmp_path)["a"]["tags"] == ["x" * 100, "", "new"]

    @given(st.lists(st.text(max_size=64).filter(lambda tag: tag.strip()), max_size=50))
    def test_checking_twice_changes_nothing_more(self, tags):
        once = checked_tags(tags)
        assert checked_tags(once) == once
        assert len(set(once)) == len(once)
        assert set(once) == {tag.strip() for tag in tags}


class TestSearch:
    @pytest.fixture
    def runs(self, make_run, manager):
        make_run("a", project="vision", name="ResNet", active_at=OLD + 3)
        make_run("b", project="vision", name="vit", active_at=OLD + 1)
        make_run("c", project="nlp", name="bert", active_at=OLD + 3)
        return manager

    def test_last_updated_first_then_id_descending(self, runs):
        assert ids(runs.search_experiments()) == ["c", "a", "b"]
        runs.tag_experiment("b", ["x"])
        assert ids(runs.search_experiments()) == ["b", "c", "a"]

    def test_the_project_is_compared_exactly(self, runs):
        assert ids(runs.search_experiments(project="vision")) == ["a", "b"]
        assert runs.search_experiments(project="Vision") == []
        assert runs.search_experiments(project="") == []

    def test_all_tags_are_required(self, runs):
        runs.tag_experiment("a", ["x", "y"])
        runs.tag_experiment("b", ["x"])
        assert set(ids(runs.search_experiments(tags=["x"]))) == {"a", "b"}
        assert ids(runs.search_experiments(tags=["y", "x"])) == ["a"]

    @pytest.mark.parametrize("text", ["resn", "RESNET", "long des", "red blue"])
    def test_text_is_sought_in_name_description_and_joined_tags(self, runs, text):
        runs.add_experiment("a", "vision", "ResNet", tags=["red", "blue"], description="A LONG description")
        assert ids(runs.search_experiments(text=text)) == ["a"]

    def test_text_is_sought_in_the_project(self, runs):
        assert ids(runs.search_experiments(text="NLP")) == ["c"]
        assert len(runs.search_experiments(text="")) == 3

    def test_archived_runs_appear_if_asked_for(self, runs):
        assert runs.archive_experiment("a") is True
        assert set(ids(runs.search_experiments())) == {"b", "c"}
        assert set(ids(runs.search_experiments(archived=True))) == {"a", "b", "c"}
        runs.archive_experiment("a", archive=False)
        assert len(runs.search_experiments()) == 3

    def test_pinned_runs_can_be_told_apart(self, runs):
        runs.pin_experiment("a")
        assert ids(runs.search_experiments(pinned=True)) == ["a"]
        assert set(ids(runs.search_experiments(pinned=False))) == {"b", "c"}

    def test_stats(self, runs):
        runs.tag_experiment("a", ["y", "x"])
        runs.archive_experiment("b")
        runs.pin_experiment("c")
        assert runs.get_experiment_stats() == {
            "total": 3,
            "archived": 1,
            "pinned": 1,
            "projects": {"vision": 2, "nlp": 1},
            "tags": ["x", "y"],
            "active": 2,
        }


class TestFile:
    def test_damaged_entries_are_ignored_one_by_one_and_kept(self, make_run, manager, tmp_path):
        for run_id in "abcdef":
            make_run(run_id)
        good = {"id": "a", "project": "p", "name": "n", "tags": ["t"], "description": None, "new_key": 1}
        good |= {"created_at": 1, "updated_at": 2.0, "archived": False, "pinned": True}
        damaged = {"b": None, "c": [], "d": {**good, "tags": "x"}, "e": {**good, "created_at": float("nan")}}
        (tmp_path / METADATA_FILE).write_text(
            json.dumps({"a": good, **damaged, "gone": good | {"updated_at": 10**400}})
        )
        found = {run.id: run for run in manager.search_experiments()}
        assert set(found) == set("abcdef")
        assert (found["a"].project, found["a"].tags, found["a"].updated_at) == ("p", ["t"], 2.0)
        assert {(found[run_id].project, found[run_id].pinned) for run_id in "bcdef"} == {("vision", False)}
        manager.tag_experiment("b", ["x"])
        manager.tag_experiment("a", ["x"])
        after = stored(tmp_path)
        assert after["b"]["tags"] == ["x"]
        assert (after["a"]["tags"], after["a"]["new_key"]) == (["t", "x"], 1)
        assert after["d"]["tags"] == "x"
        assert "gone" in after

    @pytest.mark.parametrize("content", [b"", b"[]", b"{torn", b"\xff\xfe"])
    def test_a_damaged_file_is_kept_aside(self, make_run, manager, tmp_path, content):
        make_run("a")
        (tmp_path / METADATA_FILE).write_bytes(content)
        assert ids(manager.search_experiments()) == ["a"]
        assert manager.tag_experiment("a", ["x"]) is True
        assert list(stored(tmp_path)) == ["a"]
        assert (tmp_path / f"{METADATA_FILE}.damaged").read_bytes() == content

    def test_partial_entries_take_the_rest_from_the_run(self, make_run, manager, tmp_path):
        make_run("a")
        (tmp_path / METADATA_FILE).write_text(json.dumps({"a": {"tags": ["t"], "id": "other"}}), "utf-8-sig")
        (found,) = manager.search_experiments()
        assert (found.id, found.project, found.tags, found.created_at) == ("a", "vision", ["t"], OLD)

    def test_processes_lose_no_change(self, make_run, tmp_path):
        for index in range(4):
            make_run(f"run{index}")
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=tag_all, args=(str(tmp_path), f"p{index}")) for index in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0, 0, 0]
        expected = {f"p{index}-{n}" for index in range(3) for n in range(5)}
        assert [set(entry["tags"]) for entry in stored(tmp_path).values()] == [expected] * 4

    def test_metadata_round_trips_and_ignores_unknown_keys(self):
        run = ExperimentMetadata("a", "p", "n", ["t"], "d", 1.0, 2.0, True, True)
        assert ExperimentMetadata.from_dict({**run.to_dict(), "unknown": 1}) == run
        assert ExperimentMetadata.from_dict({"id": "a", "project": "p", "name": "n"}).tags == []
        with pytest.raises(ValueError, match="damaged"):
            ExperimentMetadata.from_dict({"id": 7})


def tag_all(root: str, prefix: str) -> None:
    manager = ExperimentManager(root)
    for n in range(5):
        for index in range(4):
            manager.tag_experiment(f"run{index}", [f"{prefix}-{n}"])


class TestDelete:
    def test_removes_directory_and_entry_for_good(self, make_run, manager, tmp_path):
        gone, kept = make_run("a"), make_run("b")
        manager.tag_experiment("a", ["x"])
        manager.tag_experiment("b", ["x"])
        assert manager.delete_experiments(["a", "a", "unknown"]) == {"a": True, "unknown": False}
        assert not gone.exists()
        assert kept.exists()
        assert list(stored(tmp_path)) == ["b"]

    def test_pinned_runs_need_force(self, make_run, manager):
        directory = make_run("a")
        manager.pin_experiment("a")
        assert manager.delete_experiments(["a"]) == {"a": False}
        assert directory.exists()
        assert manager.delete_experiments(["a"], force=True) == {"a": True}
        assert not directory.exists()

    def test_an_entry_without_directory_is_removed(self, manager, tmp_path):
        manager.add_experiment("a", "p", "n")
        assert manager.delete_experiments(["a"]) == {"a": True}
        assert stored(tmp_path) == {}

    def test_links_in_a_run_are_unlinked_not_followed(self, make_run, manager, tmp_path):
        outside = tmp_path / "keep"
        outside.mkdir()
        (outside / "precious.txt").write_text("data")
        directory = make_run("a")
        (directory / "link").symlink_to(outside)
        (directory / "media" / "file").symlink_to(outside / "precious.txt")
        assert manager.delete_experiments(["a"]) == {"a": True}
        assert (outside / "precious.txt").read_text() == "data"

    def test_a_run_that_is_a_link_is_only_unlinked(self, make_run, tmp_path):
        directory = make_run("a")
        root = tmp_path / "root"
        (root / "p" / "n" / "runs").mkdir(parents=True)
        (root / "p" / "n" / "runs" / "a").symlink_to(directory)
        before = sorted(path.name for path in directory.rglob("*"))
        assert ExperimentManager(root).delete_experiments(["a"]) == {"a": True}
        assert list((root / "p" / "n" / "runs").iterdir()) == []
        assert sorted(path.name for path in directory.rglob("*")) == before

    def test_nothing_is_removed_through_a_link_that_leaves_the_root(self, make_run, tmp_path, caplog):
        directory = make_run("a")
        root = tmp_path / "root"
        root.mkdir()
        (root / "vision").symlink_to(tmp_path / "vision")
        assert ExperimentManager(root).delete_experiments(["a"]) == {"a": False}
        assert "outside of the storage root" in caplog.text
        assert sorted(path.name for path in directory.iterdir()) == ["media", "meta.json", "status.json"]

    def test_stored_names_never_become_paths(self, make_run, tmp_path):
        victim = make_run("a", project="victim")
        root = tmp_path / "root"
        (root / "p" / "n" / "runs").mkdir(parents=True)
        entry = {"id": "a", "project": "../victim", "name": "../resnet", "created_at": 1.0, "updated_at": 1.0}
        (root / METADATA_FILE).write_text(json.dumps({"a": entry, "../../victim": entry}))
        manager = ExperimentManager(root)
        assert manager.delete_experiments(["a", "../../victim"]) == {"a": True, "../../victim": True}
        assert victim.exists()

    def test_what_cannot_be_removed_is_left_in_the_recycle_bin(self, unprivileged_root):
        directory = unprivileged_root / "vision" / "resnet" / "runs" / "a"
        (directory / "media").mkdir(parents=True)
        (directory / "media" / "image.png").touch()
        (directory / "media").chmod(0o500)
        manager = ExperimentManager(unprivileged_root)
        assert manager.delete_experiments(["a"]) == {"a": False}
        assert (directory / ".deleted").is_file()
        assert manager.search_experiments() == []
        (directory / "media").chmod(0o700)
        assert manager.delete_experiments(["a"]) == {"a": True}

    def test_a_removal_killed_half_way_leaves_no_half_run_in_lists(self, make_run, manager, tmp_path):
        directory = make_run("a")
        for index in range(5000):
            (directory / "media" / f"{index}.png").touch()
        script = "import sys; from runicorn.sdk.experiments import ExperimentManager as M"
        script += "; print(flush=True); M(sys.argv[1]).delete_experiments(['a'])"
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            deadline = time.monotonic() + 30
            while directory.exists() and sum(len(files) for _, _, files in os.walk(directory)) >= 5000:
                assert time.monotonic() < deadline
            process.kill()
        assert manager.search_experiments() == []
        assert not directory.exists() or (directory / ".deleted").exists()


@pytest.fixture
def unprivileged_root():
    """A storage root used without the privileges of root, who may remove everything."""
    directory = Path(tempfile.mkdtemp())
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(directory, _NOBODY, _NOBODY)
        os.seteuid(_NOBODY)
    try:
        yield directory
    finally:
        if is_root:
            os.seteuid(0)
        shutil.rmtree(directory)


class TestCleanup:
    def test_only_old_idle_runs_go_to_the_recycle_bin(self, make_run, manager):
        now = time.time()
        old = make_run("old")
        make_run("recent", active_at=now - 29 * DAY_S)
        make_run("running", status="running")
        for run_id in ("pinned", "archived", "tagged"):
            make_run(run_id)
        manager.pin_experiment("pinned")
        manager.archive_experiment("archived")
        manager.tag_experiment("tagged", ["x"])
        make_run("deleted", deleted=True)
        assert manager.cleanup_old_experiments(days=30) == ["old"]
        assert not (old / ".deleted").exists()
        assert manager.cleanup_old_experiments(30, dry_run=False) == ["old"]
        marker = json.loads((old / ".deleted").read_text())
        assert (marker["reason"], marker["original_status"]) == ("cleanup", "finished")
        assert now <= marker["deleted_at"] <= time.time()
        assert (old / "media" / "image.png").exists()
        assert manager.cleanup_old_experiments(30) == []

    def test_entries_do_not_age_a_run(self, make_run, manager, tmp_path):
        make_run("a", active_at=time.time())
        entry = {"created_at": 1.0, "updated_at": 1.0}
        (tmp_path / METADATA_FILE).write_text(json.dumps({"a": entry}))
        assert manager.cleanup_old_experiments(days=1) == []

    def test_linked_runs_stay(self, make_run, tmp_path):
        directory = make_run("a")
        root = tmp_path / "root"
        (root / "runs").mkdir(parents=True)
        (root / "runs" / "a").symlink_to(directory)
        assert ExperimentManager(root).cleanup_old_experiments(days=1, dry_run=False) == []
        assert not (directory / ".deleted").exists()

    def test_negative_days_are_refused(self, manager):
        with pytest.raises(ValueError, match="days"):
            manager.cleanup_old_experiments(days=-1, dry_run=False)
