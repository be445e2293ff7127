"""`runicorn history` and `runicorn events undo`, as processes, beside a server and without one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runicorn.artifacts import Artifact, create_artifact_storage
from runicorn.sdk.experiments import ExperimentManager
from runicorn_artifacts import promoting
from tests import commands
from tests.serving import Server, serve, wait_until
from tests.stores import make_run

__all__ = ["serve"]

RUN = "20250114_000000_aaaaaa"
KEY = f"p/n/runs/{RUN}"


def runicorn(root: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = commands.runicorn(*arguments, "--storage", root)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def undo(root: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    return runicorn(root, "events", "undo", *arguments, status=status)


def objects(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run that was tagged twice, and an artifact with two versions."""
    root = tmp_path / "root"
    created = {"run_id": RUN, "project": "p", "name": "n", "created_at": 5.0}
    make_run(root, KEY, events=json.dumps({"ts": 5.0, "type": "run.created", "data": created}) + "\n")
    for tag in ("a", "b"):
        assert ExperimentManager(root).tag_experiment(RUN, [tag])
    storage = create_artifact_storage(root)
    for content in ("one", "two"):
        (tmp_path / "weights").write_text(content)
        artifact = Artifact("net", "model").add_file(tmp_path / "weights")
        storage.save_artifact(artifact, "", *artifact.staged)
    return root


def tags(root: Path) -> list[str]:
    return json.loads((root / ".experiments_metadata.json").read_text())[RUN]["tags"]


class TestHistory:
    def test_the_newest_come_first_in_a_table(self, root: Path) -> None:
        header, newest, *others = runicorn(root, "history", RUN).stdout.splitlines()
        assert header.split() == ["TIME", "WHAT", "WHO", "EVENT", "CHANGES"]
        assert "Tags: a, b" in newest
        assert 'tags: ["a"] → ["a", "b"]' in newest
        assert ".runicorn/log/00000001@" in newest
        assert any("Created in p / n" in line for line in others)

    def test_json_has_an_object_per_event(self, root: Path) -> None:
        found = objects(runicorn(root, "history", KEY, "--json", "--type", "run.tagged"))
        assert [event["changes"][0]["after"] for event in found] == [["a", "b"], ["a"]]
        oldest = objects(runicorn(root, "history", RUN[:10], "--json", "--oldest-first", "-n", "1"))
        assert oldest[0]["type"] == "run.created"

    def test_more_than_is_shown_is_said(self, root: Path) -> None:
        done = runicorn(root, "history", RUN, "-n", "1")
        assert len(done.stdout.splitlines()) == 2
        assert "There is more" in done.stderr

    @pytest.mark.parametrize("name", ["net", "model/net", "artifacts/model/net"])
    def test_artifacts_are_found_by_name_type_and_path(self, root: Path, name: str) -> None:
        found = objects(runicorn(root, "history", name, "--json"))
        assert [event["what"].split(":")[0] for event in found] == ["Saved v2", "Saved v1"]

    def test_what_is_neither_run_nor_artifact_is_an_error(self, root: Path) -> None:
        done = runicorn(root, "history", "nothing", status=1)
        assert "Neither a run nor an artifact is nothing" in done.stderr

    def test_an_artifact_named_like_a_run_has_to_be_named_by_its_path(self, root: Path, tmp_path: Path) -> None:
        artifact = Artifact(RUN, "model").add_file(tmp_path / "weights")
        create_artifact_storage(root).save_artifact(artifact, "", *artifact.staged)
        done = runicorn(root, "history", RUN, status=1)
        assert f"run {KEY}" in done.stderr
        assert f"artifact model/{RUN}" in done.stderr

    def test_a_run_that_is_gone_has_a_history_by_its_path(self, root: Path) -> None:
        runicorn(root, "manage", "--action", "delete", "--run-id", RUN)
        newest, *_ = objects(runicorn(root, "history", KEY, "--json"))
        assert newest["what"] == "Removed for good"
        done = undo(root, KEY, status=1)
        assert "what is removed for good cannot be brought back" in done.stderr


class TestUndo:
    def test_the_last_command_is_taken_back_and_an_undo_too(self, root: Path) -> None:
        done = undo(root, RUN)
        assert f"Undone, run {KEY}: Tags: a, b" in done.stdout
        assert 'tags: ["a", "b"] → ["a"]' in done.stdout
        assert tags(root) == ["a"]
        undo(root, RUN, "--last")
        assert tags(root) == ["a", "b"]

    def test_a_dry_run_changes_nothing(self, root: Path) -> None:
        before = sorted((path, path.stat().st_mtime_ns) for path in (root / ".runicorn/log").iterdir())
        assert "Would undo" in undo(root, RUN, "--dry-run").stdout
        assert sorted((path, path.stat().st_mtime_ns) for path in (root / ".runicorn/log").iterdir()) == before
        assert tags(root) == ["a", "b"]

    def test_the_list_says_what_stands_against_each(self, root: Path) -> None:
        last, first = objects(undo(root, RUN, "--list", "--json"))
        assert last["why_not"] is None
        assert first["why_not"].startswith('tags was changed again, to ["a", "b"]: Tags: a, b (')
        table = undo(root, RUN, "--list").stdout.splitlines()
        assert table[0].split() == ["TIME", "COMMAND", "UNDO", "OFFSET"]
        assert "  yes  " in table[1]
        assert "  no: tags was changed again" in table[2]

    def test_what_was_changed_again_is_refused_and_named(self, root: Path) -> None:
        _, first = objects(undo(root, RUN, "--list", "--json"))
        for place in (str(first["offset"]), f"{first['stream']}@{first['offset']}"):
            done = undo(root, RUN, "--offset", place, status=1)
            assert 'tags was changed again, to ["a", "b"]' in done.stderr
        assert tags(root) == ["a", "b"]

    def test_after_a_later_command_is_taken_back_the_earlier_one_can_be(self, root: Path) -> None:
        last, first = objects(undo(root, RUN, "--list", "--json"))
        undo(root, RUN, "--offset", str(last["offset"]))
        undo(root, RUN, "--offset", str(first["offset"]))
        assert tags(root) == []

    @pytest.mark.parametrize("place", ["x", "1.5", "@", "-1"])
    def test_a_place_that_is_none_is_refused(self, root: Path, place: str) -> None:
        assert "is no place of an event" in undo(root, RUN, f"--offset={place}", status=1).stderr

    def test_a_place_without_a_command_is_refused(self, root: Path) -> None:
        assert "No command on the run" in undo(root, RUN, "--offset", "7", status=1).stderr

    def test_without_a_command_there_is_nothing_to_take_back(self, root: Path) -> None:
        make_run(root, "p/n/runs/other")
        assert "there is nothing to take back" in undo(root, "other", status=1).stderr

    def test_what_0_4_0_changed_since_is_not_overwritten(self, root: Path) -> None:
        path = root / ".experiments_metadata.json"
        entries = json.loads(path.read_text())
        entries[RUN] |= {"tags": ["theirs"], "updated_at": entries[RUN]["updated_at"] + 10}
        path.write_text(json.dumps(entries))
        done = undo(root, RUN, status=1)
        assert "tags was changed again" in done.stderr
        assert tags(root) == ["theirs"]

    def test_beside_a_server_the_answers_are_those_before_the_command(
        self, root: Path, serve: Callable[..., Server]
    ) -> None:
        server = serve(root, "--rate-limit", "off")
        wait_until(lambda: len(server.http.get("/api/runs").json()) == 1, "the run")
        before = server.http.get("/api/runs").json()
        server.http.post("/api/v2/experiments/batch-delete", json={"exp_ids": [RUN]}).raise_for_status()
        deleted = server.http.get("/api/recycle-bin").json()
        marker = (root / KEY / ".deleted").read_text()

        undo(root, RUN)
        assert server.http.get("/api/runs").json() == before
        assert server.http.get("/api/recycle-bin").json()["deleted_runs"] == []
        assert not (root / KEY / ".deleted").exists()

        undo(root, RUN)
        assert server.http.get("/api/runs").json() == []
        assert server.http.get("/api/recycle-bin").json() == deleted
        assert json.loads((root / KEY / ".deleted").read_text()) == json.loads(marker)

    def test_a_promotion_is_taken_back_with_all_that_it_changed(self, root: Path) -> None:
        folder = create_artifact_storage(root).lookup.find("net")
        for version in (1, 2):
            for stage in ("staging", "production"):
                promoting.promote(folder, version, stage)
        assert stages(root) == {1: "staging", 2: "production"}
        assert index(root)["aliases"]["production"] == 2
        done = undo(root, "net")
        assert "v2 from staging to production" in done.stdout
        assert stages(root) == {1: "production", 2: "staging"}
        assert index(root)["aliases"]["production"] == 1
        undo(root, "net")
        assert stages(root) == {1: "staging", 2: "production"}
        assert index(root)["aliases"]["production"] == 2

    def test_an_alias_does_not_go_back_to_a_version_that_is_gone(self, root: Path) -> None:
        folder = create_artifact_storage(root).lookup.find("net")
        for version in (1, 2):
            promoting.set_alias(folder, "best", version)
        (moved, *_) = objects(undo(root, "net", "--list", "--json"))
        runicorn(root, "artifacts", "--action", "delete", "--name", "net", "--version", "1", "--permanent", "--yes")
        done = undo(root, "net", status=1)
        assert "what is removed for good cannot be brought back" in done.stderr
        done = undo(root, "net", "--offset", str(moved["offset"]), status=1)
        assert "v1 was removed for good since then" in done.stderr
        assert index(root)["aliases"]["best"] == 2


def stages(root: Path) -> dict[int, str]:
    folder = root / "artifacts/model/net"
    return {n: json.loads((folder / f"v{n}/lifecycle.json").read_text())["lifecycle_stage"] for n in (1, 2)}


def index(root: Path) -> dict[str, Any]:
    return json.loads((root / "artifacts/model/net/versions.json").read_text())
