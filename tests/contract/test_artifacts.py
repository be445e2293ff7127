"""Artifacts over HTTP: what clients may rely on."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

import runicorn as rn
from runicorn.artifacts import Artifact, ArtifactStorage, create_artifact_storage
from tests.recorded import recorded, wait_until_live
from tests.serving import Server, serve, wait_until

__all__ = ["recorded", "serve"]

Serve = Callable[..., Server]
ILLEGAL = ["../../x", "/etc", "..", ".dedup", "a\\b", "a\0b", "a:b"]


class World:
    """A server on a store, a run in it, and the SDK."""

    def __init__(self, server: Server, root: Path) -> None:
        self.server = server
        self.root = root
        self.storage = create_artifact_storage(root)
        self.http = server.http
        self._files = root.parent / "files"
        self._files.mkdir(exist_ok=True)
        self._number = 0

    def name(self) -> str:
        """A name that no other test uses."""
        self._number += 1
        return f"net{self._number}"

    def save(self, name: str, *contents: str, type: str = "model", run: str = "r1", **metadata: Any) -> int:
        artifact = Artifact(name, type, "a net", metadata).add_tags("good")
        for number, content in enumerate(contents or ("x" * 100,)):
            path = self._files / f"file{number}"
            path.write_text(content)
            artifact.add_file(path)
        return self.storage.save_artifact(artifact, run, *artifact.staged)

    def folder(self, name: str, type: str = "model") -> Path:
        return self.root / "artifacts" / type / name

    def index(self, name: str, type: str = "model") -> dict[str, Any]:
        return json.loads((self.folder(name, type) / "versions.json").read_text())

    def get(self, path: str, **parameters: Any) -> Any:
        response = self.http.get(f"/api/artifacts{path}", params=parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def send(self, method: str, path: str, **options: Any) -> Any:
        response = self.http.request(method, f"/api/artifacts{path}", **options)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        response = self.http.request(method, f"/api/artifacts{path}", **options)
        assert list(response.json()) == ["detail"]
        return response.status_code, response.json()["detail"]

    def listed(self, name: str, **parameters: Any) -> dict[str, Any] | None:
        return next((item for item in self.get("", **parameters) if item["name"] == name), None)

    def level_stats(self) -> dict[str, Any]:
        """The statistics, once the server knows all that was saved."""
        expected = self.storage.get_storage_stats()
        wait_until(lambda: self.get("/stats") == expected, "the statistics of the SDK")
        return expected

    def promote(self, name: str, version: int, *stages: str) -> None:
        for stage in stages:
            self.send("POST", f"/{name}/v{version}/promote", json={"to_stage": stage})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("store") / "root"
    server = Server(root, "--rate-limit", "off")
    yield World(server, root)
    server.stop()


@pytest.fixture
def name(world: World) -> str:
    return world.name()


class TestShapes:
    def test_list(self, world: World, name: str) -> None:
        world.save(name, "12345")
        wait_until(lambda: world.listed(name), "the artifact")
        index = world.index(name)
        item = world.listed(name)
        assert item is not None
        assert list(item.items()) == [
            ("name", name), ("type", "model"), ("num_versions", 1), ("latest_version", 1), ("size_bytes", 5),
            ("created_at", index["created_at"]), ("updated_at", index["updated_at"]), ("aliases", {"latest": 1}),
        ]  # fmt: skip
        assert world.listed(name, type="dataset") is None
        assert world.get("", type="unknown") == []
        times = [(-item["updated_at"], item["type"], item["name"]) for item in world.get("")]
        assert times == sorted(times)

    def test_an_unchanged_list_is_not_sent_again(self, world: World, name: str) -> None:
        etag = world.http.get("/api/artifacts").headers["etag"]
        assert world.http.get("/api/artifacts", headers={"if-none-match": etag}).status_code == 304
        world.save(name)
        wait_until(lambda: world.http.get("/api/artifacts", headers={"if-none-match": etag}).status_code == 200)

    def test_versions_of_a_moment_ago(self, world: World, name: str) -> None:
        world.save(name, run="20250114_150000_def456"), world.save(name)
        items = world.get(f"/{name}/versions")
        assert items == world.index(name)["versions"]
        assert list(items[0]) == [
            "version", "created_at", "created_by_run", "size_bytes", "num_files", "status", "aliases",
        ]  # fmt: skip
        assert [item["aliases"] for item in items] == [[], ["latest"]]

    def test_detail(self, world: World, name: str) -> None:
        world.save(name, acc=0.95, nothing=float("nan"), huge=10**30)
        detail = world.get(f"/{name}/v1")
        metadata = json.loads((world.folder(name) / "v1/metadata.json").read_text())
        expected = {key: metadata[key] for key in metadata if key != "parent_artifacts"}
        expected |= {"manifest_digest": f"sha256:{metadata['manifest_digest']}", "lifecycle_stage": "experimental"}
        assert detail == expected
        assert detail["metadata"] == {"acc": 0.95, "nothing": None, "huge": 10**30}
        assert list(detail) == [*(key for key in metadata if key != "parent_artifacts"), "lifecycle_stage"]

    def test_files(self, world: World, name: str) -> None:
        artifact = Artifact(name).add_reference("s3://b/raw.tar", "sha256:abc", 1000000, region="eu")
        source = world.root.parent / "cfg.json"
        source.write_text('{"a":1}')
        artifact.add_file(source, "conf/cfg.json")
        world.storage.save_artifact(artifact, "r", *artifact.staged)
        manifest = json.loads((world.folder(name) / "v1/manifest.json").read_text())
        path = world.folder(name) / "v1/files/conf/cfg.json"
        assert world.get(f"/{name}/v1/files") == {
            "artifact": f"{name}:v1",
            "files": [{**manifest["files"][0], "absolute_path": str(path), "is_remote": False}],
            "references": [
                {"uri": "s3://b/raw.tar", "checksum": "sha256:abc", "size": 1000000, "metadata": {"region": "eu"}}
            ],
            "total_size": 1000007, "total_files": 1, "total_references": 1, "is_remote": False,
        }  # fmt: skip
        assert not os.stat(path).st_mode & 0o222

    def test_statistics(self, world: World) -> None:
        stats = world.get("/stats")
        assert list(stats) == [
            "total_artifacts", "total_versions", "total_size_bytes", "total_files", "dedup_enabled",
            "dedup_pool_size_bytes", "space_saved_bytes", "dedup_ratio", "by_type", "reference_size_bytes",
            "deleted_versions",
        ]  # fmt: skip
        world.level_stats()
        assert world.get("/stats", include_deleted=True) == world.storage.get_storage_stats(include_deleted=True)

    def test_an_artifact_called_stats_does_not_clash(self, world: World) -> None:
        world.save("stats")
        assert world.get("/stats/v1")["name"] == "stats"
        assert len(world.get("/stats/versions")) == 1
        assert "total_artifacts" in world.get("/stats")


class TestLookingUp:
    @pytest.mark.parametrize("spelling", ["v2", "v02", "v+2"])
    def test_versions_are_decimal_numbers(self, world: World, spelling: str) -> None:
        if not world.folder("spelled").exists():
            world.save("spelled"), world.save("spelled")
        assert world.get(f"/spelled/{spelling}")["version"] == 2

    @pytest.mark.parametrize(
        ("path", "status", "detail"),
        [
            ("/spelled/vabc", 400, "Invalid version number: abc"),
            ("/spelled/v1.5", 400, "Invalid version number: 1.5"),
            ("/spelled/v", 400, "Invalid version number: "),
            ("/spelled/v0", 404, "Version not found: spelled:v0"),
            ("/spelled/v-1", 404, "Version not found: spelled:v-1"),
            ("/spelled/v9", 404, "Version not found: spelled:v9"),
            (f"/spelled/v{10**40}", 404, f"Version not found: spelled:v{10**40}"),
            ("/spelled/V1", 404, "Not Found"),
            ("/spelled/1", 404, "Not Found"),
            ("/spelled/latest", 404, "Not Found"),
            ("/spelled", 404, "Not Found"),
            ("/nobody/versions", 404, "Artifact not found: nobody"),
            ("/nobody/v1", 404, "Artifact not found: nobody"),
            ("/spelled/v1?type=dataset", 404, "Artifact not found: spelled (type=dataset)"),
            ("/spelled/v1?type=Model", 404, "Artifact not found: spelled (type=Model)"),
            ("/spelled/v1/lineage?max_depth=deep", 400, "Invalid value for max_depth: must be an integer"),
            ("/spelled/versions?include_deleted=maybe", 400,
             "Invalid value for include_deleted: must be true or false"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_found_is_told(self, world: World, path: str, status: int, detail: str) -> None:
        self.test_versions_are_decimal_numbers(world, "v2")
        assert world.refused("GET", path) == (status, detail)

    @pytest.mark.parametrize("bad", ILLEGAL)
    def test_illegal_names_and_types_change_nothing(self, world: World, bad: str) -> None:
        outside = world.root.parent / "x"
        outside.mkdir(exist_ok=True)
        before = sorted(path for path in world.root.parent.rglob("*") if ".runicorn" not in path.parts)
        for method, path in (
            ("GET", "/{}/versions"), ("GET", "/{}/v1"), ("GET", "/{}/v1/files"), ("GET", "/{}/v1/lineage"),
            ("DELETE", "/{}/v1?permanent=true"), ("POST", "/{}/v1/restore"), ("GET", "/{}/training-metrics"),
        ):  # fmt: skip
            if "/" not in bad and bad != "..":
                assert world.refused(method, path.format(quote(bad)))[0] == 400
            joint = "&" if "?" in path else "?"
            quoted = str(httpx.QueryParams({"type": bad}))
            status, detail = world.refused(method, f"{path.format('some')}{joint}{quoted}")
            assert (status, detail.split(":")[0]) == (400, "Invalid artifact type")
        assert world.refused("GET", f"?{httpx.QueryParams({'type': bad})}")[0] == 400
        after = sorted(path for path in world.root.parent.rglob("*") if ".runicorn" not in path.parts)
        assert after == before

    def test_types_are_searched_in_order(self, world: World, name: str) -> None:
        (world.root / "artifacts/model" / name).mkdir(parents=True)
        world.save(name, type="zoo"), world.save(name, type="code")
        assert world.get(f"/{name}/v1")["type"] == "code"
        assert world.get(f"/{name}/v1", type="")["type"] == "code"
        assert world.get(f"/{name}/v1", type="zoo")["type"] == "zoo"
        world.send("DELETE", f"/{name}/v1", params={"type": "code"})
        assert world.get(f"/{name}/v1")["type"] == "zoo"
        world.send("DELETE", f"/{name}/v1", params={"type": "zoo"})
        assert world.get(f"/{name}/v1")["type"] == "code"

    def test_a_name_that_is_illegal_today_stays_readable(self, world: World, name: str) -> None:
        world.save(name)
        odd = f"{name}:old"
        world.folder(name).rename(world.folder(odd))
        index = world.index(odd)
        (world.folder(odd) / "versions.json").write_text(json.dumps(index))
        wait_until(lambda: world.listed(odd), "the odd name")
        assert world.get(f"/{odd}/v1")["name"] == odd


class TestDeleting:
    def test_a_deleted_version_is_hidden_everywhere_and_comes_back(self, world: World, name: str) -> None:
        world.save(name, "1"), world.save(name, "22")
        before = world.level_stats()
        answer = {"success": True, "message": f"Soft deleted {name}:v2 locally", "bytes_freed": 0}
        assert [world.send("DELETE", f"/{name}/v2") for _ in range(2)] == [answer, answer]
        assert [item["version"] for item in world.get(f"/{name}/versions")] == [1]
        item = world.listed(name)
        assert item is not None
        assert (item["num_versions"], item["latest_version"], item["aliases"]) == (1, 1, {"latest": 1})
        assert world.get("/stats")["total_versions"] == before["total_versions"] - 1
        shown = world.get(f"/{name}/versions", include_deleted=True)
        assert [(item["status"], item["aliases"]) for item in shown] == [("ready", ["latest"]), ("deleted", [])]
        assert world.get(f"/{name}/v2")["status"] == "deleted"
        assert world.get(f"/{name}/v2/files")["total_files"] == 1
        assert world.storage.load_artifact(name)[0].version == 1
        assert world.send("POST", f"/{name}/v2/restore") == {
            "success": True, "message": f"Restored {name}:v2 locally",
        }  # fmt: skip
        assert world.send("POST", f"/{name}/v2/restore")["success"]
        assert [item["aliases"] for item in world.get(f"/{name}/versions")] == [[], ["latest"]]
        assert world.get("/stats") == before

    def test_a_purged_version_frees_its_own_content(self, world: World, name: str) -> None:
        own = f"only in one {name}"
        world.save(name, own, "shared by two"), world.save(name, "shared by two")
        world.send("DELETE", f"/{name}/v2")
        before = world.get("/stats")["dedup_pool_size_bytes"]
        answer = world.send("DELETE", f"/{name}/v1", params={"permanent": "true"})
        assert answer == {
            "success": True, "message": f"Permanently deleted {name}:v1 locally", "bytes_freed": len(own),
        }  # fmt: skip
        assert before - world.get("/stats")["dedup_pool_size_bytes"] == len(own)
        assert world.refused("GET", f"/{name}/v1") == (404, f"Version not found: {name}:v1")
        assert world.refused("DELETE", f"/{name}/v1") == (404, f"Version not found: {name}:v1")
        assert world.get(f"/{name}/versions") == []
        world.send("DELETE", f"/{name}/v2", params={"permanent": "true"})
        assert world.get(f"/{name}/versions") == []
        assert world.listed(name, include_deleted=True) is None
        assert world.save(name) == 3
        assert [item["version"] for item in world.get(f"/{name}/versions")] == [3]

    def test_files_that_cannot_be_removed_stay_listed(self, world: World, name: str) -> None:
        world.save(name)
        staging = world.root / "artifacts/.tmp"
        staging.rename(world.root / "artifacts/.aside")
        # Permissions do not stop the superuser; another file system in the place of the staging area does.
        with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
            staging.symlink_to(elsewhere)
            try:
                assert world.refused("DELETE", f"/{name}/v1?permanent=1") == (500, f"Could not delete {name}:v1")
            finally:
                staging.unlink()
                (world.root / "artifacts/.aside").rename(staging)
        assert len(world.get(f"/{name}/versions")) == 1
        world.send("DELETE", f"/{name}/v1", params={"permanent": "true"})


class TestAliases:
    def test_a_user_sets_and_removes_an_alias(self, world: World, name: str) -> None:
        world.save(name), world.save(name)
        world.send("PUT", f"/{name}/v1/aliases/good")
        assert world.get(f"/{name}/v1")["aliases"] == ["good"]
        assert world.index(name)["aliases"] == {"latest": 2, "good": 1}
        assert world.storage.load_artifact(name, alias="good")[0].version == 1
        world.send("PUT", f"/{name}/v2/aliases/good")
        assert world.get(f"/{name}/v2")["aliases"] == ["good", "latest"]
        world.send("DELETE", f"/{name}/aliases/good")
        assert world.index(name)["aliases"] == {"latest": 2}
        assert world.refused("DELETE", f"/{name}/aliases/good")[0] == 404

    @pytest.mark.parametrize("alias", ["latest", "production", "v3", "V3", ".x", "a:b"])
    def test_some_aliases_cannot_be_set(self, world: World, alias: str) -> None:
        if not world.folder("aliased").exists():
            world.save("aliased")
        status, detail = world.refused("PUT", f"/aliased/v1/aliases/{alias}")
        assert (status, detail) == (400, f"Invalid value for alias: {alias!r} cannot be set")

    def test_a_deleted_version_gets_no_alias(self, world: World, name: str) -> None:
        world.save(name)
        world.send("DELETE", f"/{name}/v1")
        assert world.refused("PUT", f"/{name}/v1/aliases/good") == (404, f"Version not found: {name}:v1")


class TestLifecycle:
    def test_promotion_sets_the_alias_and_supersedes(self, world: World, name: str) -> None:
        world.save(name), world.save(name)
        before = {p: p.read_bytes() for p in world.folder(name).glob("v*/*.json")}
        world.promote(name, 1, "staging")
        answer = world.send("POST", f"/{name}/v1/promote", json={"to_stage": "production", "notes": "n", "other": 1})
        assert answer == {
            "ok": True, "artifact": f"{name}:v1", "from_stage": "staging", "to_stage": "production",
            "message": "Successfully promoted to production",
        }  # fmt: skip
        assert world.get(f"/{name}/v1")["aliases"] == ["production"]
        assert world.storage.load_artifact(name, alias="production")[0].version == 1
        world.promote(name, 2, "staging", "production")
        assert world.index(name)["aliases"] == {"latest": 2, "production": 2}
        stages = [world.get(f"/{name}/v{version}")["lifecycle_stage"] for version in (1, 2)]
        assert stages == ["staging", "production"]
        lifecycle = json.loads((world.folder(name) / "v1/lifecycle.json").read_text())
        assert list(lifecycle) == ["lifecycle_stage", "lifecycle_updated_at", "stage_transitions", "evaluations"]
        assert [transition["notes"] for transition in lifecycle["stage_transitions"]] == [
            None, "n", f"Superseded by {name}:v2",
        ]  # fmt: skip
        assert world.get(f"/{name}/v1")["updated_at"] == lifecycle["lifecycle_updated_at"]
        world.promote(name, 2, "archived")
        assert world.index(name)["aliases"] == {"latest": 2}
        assert {p: p.read_bytes() for p in before} == before

    def test_a_deleted_version_in_production_is_superseded_too(self, world: World, name: str) -> None:
        world.save(name), world.save(name)
        world.promote(name, 1, "staging", "production")
        world.send("DELETE", f"/{name}/v1")
        world.promote(name, 2, "staging", "production")
        assert world.get(f"/{name}/v1")["lifecycle_stage"] == "staging"

    @pytest.mark.parametrize(
        ("body", "status", "detail"),
        [
            ([], 400, "Request body must be a JSON object"),
            ({}, 400, "Missing required field: to_stage"),
            ({"to_stage": None}, 400, "Missing required field: to_stage"),
            ({"to_stage": 5}, 400, "Invalid value for to_stage: must be a string"),
            ({"to_stage": "staging", "notes": 5}, 400, "Invalid value for notes: must be a string"),
            ({"to_stage": "x"}, 400, "Invalid target stage: x. Must be one of ['experimental', 'staging', 'production',"
             " 'archived']"),
            ({"to_stage": "production"}, 400, "Invalid transition from experimental to production"),
            ({"to_stage": "experimental"}, 400, "Invalid transition from experimental to experimental"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_promoted_is_told(self, world: World, body: Any, status: int, detail: str) -> None:
        if not world.folder("staged").exists():
            world.save("staged")
        assert world.refused("POST", "/staged/v1/promote", json=body) == (status, detail)
        assert not (world.folder("staged") / "v1/lifecycle.json").exists()

    def test_versions_that_cannot_be_promoted(self, world: World, name: str) -> None:
        body = {"to_stage": "staging"}
        assert world.refused("POST", "/nobody/v1/promote", json=body) == (404, "Artifact not found: nobody:v1")
        for _ in range(3):
            world.save(name)
        assert world.refused("POST", f"/{name}/v9/promote", json=body) == (404, f"Artifact not found: {name}:v9")
        (world.folder(name) / "v1/metadata.json").unlink()
        (world.folder(name) / "v2/metadata.json").write_text("{")
        world.send("DELETE", f"/{name}/v3")
        assert [world.refused("POST", f"/{name}/v{version}/promote", json=body) for version in (1, 2, 3)] == [
            (404, "Artifact metadata not found"),
            (409, f"Artifact metadata is corrupted: {name}:v2"),
            (409, f"Version is deleted: {name}:v3"),
        ]

    def test_evaluations_are_recorded(self, world: World, name: str) -> None:
        world.save(name)
        body = {"metrics": {"a": "1.5", "b": 2}, "status": "passed", "test_dataset": "d", "model_name": "ignored"}
        answers = [world.send("POST", f"/{name}/v1/evaluate", json=body) for _ in range(12)]
        records = world.get(f"/{name}/evaluations")
        assert {record["id"] for record in records} == {answer["eval_id"] for answer in answers}
        assert len(records) == 12
        date = records[0]["evaluation_date"]
        assert records[0] == {
            "id": answers[-1]["eval_id"], "model_name": name, "model_type": "model", "model_version": 1,
            "evaluation_date": date, "evaluator_run_id": None, "metrics": {"a": 1.5, "b": 2.0}, "test_dataset": "d",
            "status": "passed", "notes": None,
        }  # fmt: skip
        assert [record["evaluation_date"] for record in records] == sorted(
            (record["evaluation_date"] for record in records), reverse=True
        )
        kept = json.loads((world.folder(name) / "v1/lifecycle.json").read_text())["evaluations"]
        assert len(kept) == 10
        assert kept[-1] == {
            "eval_id": answers[-1]["eval_id"], "date": date, "status": "passed",
            "metrics_summary": {"a": 1.5, "b": 2.0},
        }  # fmt: skip
        assert world.get(f"/{name}/evaluations", version=2) == []
        assert world.refused("GET", f"/{name}/evaluations?type=dataset")[0] == 404

    @pytest.mark.parametrize(
        ("body", "detail"),
        [
            ({"status": "x"}, "Missing required field: metrics"),
            ({"metrics": {}}, "Missing required field: status"),
            ({"metrics": [], "status": "x"}, "Invalid value for metrics: must be an object"),
            ({"metrics": {"m": "nan"}, "status": "x"}, "Invalid value for metrics: m is not a finite number"),
            ({"metrics": {"m": True}, "status": "x"}, "Invalid value for metrics: m is not a finite number"),
            ({"metrics": {"m": None}, "status": "x"}, "Invalid value for metrics: m is not a finite number"),
        ],
    )
    def test_an_evaluation_that_is_refused_writes_nothing(self, world: World, body: Any, detail: str) -> None:
        if not world.folder("judged").exists():
            world.save("judged")
        folder = world.root / "evaluations"
        before = sorted(folder.glob("*")) if folder.exists() else []
        assert world.refused("POST", "/judged/v1/evaluate", json=body) == (400, detail)
        assert world.refused("POST", "/nobody/v1/evaluate", json={"metrics": {}, "status": "x"})[0] == 404
        assert (sorted(folder.glob("*")) if folder.exists() else []) == before
        assert not (world.folder("judged") / "v1/lifecycle.json").exists()

    def test_evaluations_of_a_similar_name_are_others(self, world: World, name: str) -> None:
        world.save(name), world.save(f"{name}_big")
        world.send("POST", f"/{name}_big/v1/evaluate", json={"metrics": {}, "status": "ok"})
        assert world.get(f"/{name}/evaluations") == []
        assert len(world.get(f"/{name}_big/evaluations")) == 1
        assert world.refused("GET", "/nobody/evaluations") == (404, "Artifact not found: nobody")

    def test_records_without_their_artifact_and_damaged_ones(self, world: World) -> None:
        folder = world.root / "evaluations"
        folder.mkdir(exist_ok=True)
        (folder / "orphan_v1_5.json").write_text(
            json.dumps({"id": "orphan_v1_5", "model_name": "orphan", "model_version": 1, "metrics": {"a": 1}})
        )
        (folder / "orphan_v1_6.json").write_text("{")
        assert [record["id"] for record in world.get("/orphan/evaluations")] == ["orphan_v1_5"]


class TestDamage:
    @pytest.mark.parametrize(
        ("file", "content"),
        [("metadata.json", "{"), ("metadata.json", "[]"), ("manifest.json", "{"), ("manifest.json", None),
         ("manifest.json", '{"files": []}'), ("files/file0", None), ("files/file0", "longer" * 50)],
    )  # fmt: skip
    def test_a_damaged_version_is_corrupted_and_hides_nothing_else(
        self, world: World, name: str, file: str, content: str | None
    ) -> None:
        world.save(name), world.save(name, "other")
        path = world.folder(name) / "v1" / file
        path.chmod(0o644)
        path.unlink() if content is None else path.write_text(content)
        if file == "files/file0" and content is not None:
            os.truncate(path, 5)
        assert [item["status"] for item in world.get(f"/{name}/versions")] == ["corrupted", "ready"]
        detail = world.get(f"/{name}/v1")
        assert (detail["status"], detail["size_bytes"]) == ("corrupted", 100)
        if file == "metadata.json":
            assert (detail["metadata"], detail["description"], detail["tags"], detail["manifest_digest"]) == (
                {}, "", [], None,
            )  # fmt: skip
        files = world.get(f"/{name}/v1/files")
        if file == "manifest.json":
            assert (files["files"], files["total_size"], files["total_files"]) == ([], 0, 0)
        if file == "files/file0" and content is None:
            assert files["files"][0]["absolute_path"] is None
        assert world.listed(name)

    def test_a_version_without_metadata(self, world: World, name: str) -> None:
        world.save(name)
        (world.folder(name) / "v1/metadata.json").unlink()
        assert world.refused("GET", f"/{name}/v1") == (404, f"Metadata not found for {name}:v1")
        assert [item["status"] for item in world.get(f"/{name}/versions")] == ["corrupted"]

    def test_a_manifest_that_leads_elsewhere_shows_no_path(self, world: World, name: str) -> None:
        world.save(name)
        secret = world.root.parent / "secret"
        secret.write_text("x")
        manifest = world.folder(name) / "v1/manifest.json"
        content = json.loads(manifest.read_text())
        content["files"][0] |= {"path": "../../../../../secret", "size": 1}
        manifest.write_text(json.dumps(content))
        [file] = world.get(f"/{name}/v1/files")["files"]
        assert file["absolute_path"] is None
        assert world.get(f"/{name}/v1")["status"] == "corrupted"

    def test_without_a_readable_index_the_versions_are_there(self, world: World, name: str) -> None:
        world.save(name), world.save(name)
        (world.folder(name) / "versions.json").write_text("garbage")
        assert [item["version"] for item in world.get(f"/{name}/versions")] == [1, 2]
        item = world.listed(name)
        assert item is not None
        assert item["latest_version"] == 2


class TestRuns:
    @pytest.fixture
    def run(self, world: World) -> rn.Run:
        return rn.Run("vision", world.root, name="train", capture_env=False)

    def test_the_run_tells_what_made_a_version(self, world: World, run: rn.Run, name: str) -> None:
        run.summary({"final_acc": 0.9, "name": "x", "ok": True, "nan": float("nan"), "huge": 10**30})
        world.save(name, run=run.id)
        run.finish()

        def trained() -> dict[str, Any]:
            return world.get(f"/{name}/training-metrics") or {}

        wait_until(lambda: trained().get("status") == "finished", "the end of the run")
        wait_until(lambda: trained().get("duration_seconds") is not None, "its duration")
        found = world.get(f"/{name}/training-metrics", version=1)
        meta = json.loads((run.run_dir / "meta.json").read_text())
        status = json.loads((run.run_dir / "status.json").read_text())
        assert found == {
            "run_id": run.id, "run_name": "train", "project": "vision",
            "metrics": {"final_acc": 0.9, "name": "x", "ok": True, "nan": None, "huge": 10**30},
            "created_at": meta["created_at"], "duration_seconds": status["ended_at"] - status["started_at"],
            "status": "finished",
        }  # fmt: skip
        [item] = world.get(f"/{name}/performance-history")
        assert item == {
            "version": 1, "created_at": world.index(name)["versions"][0]["created_at"], "run_id": run.id,
            "status": "finished", "metrics": {"final_acc": 0.9, "ok": True, "huge": 10**30},
        }  # fmt: skip
        metrics = [world.get(f"/{name}/performance-history", metric_name=m)[0]["metrics"] for m in ("name", "none")]
        assert metrics == [{"name": "x"}, {}]

    def test_without_a_usable_run_there_is_nothing(self, world: World, name: str) -> None:
        world.save(name, run="20250114_150000_def456"), world.save(name, run="")
        assert world.get(f"/{name}/training-metrics") is None
        assert world.get(f"/{name}/training-metrics", version=1) is None
        assert world.get(f"/{name}/performance-history") == []
        assert world.refused("GET", f"/{name}/training-metrics?version=7") == (404, f"Version not found: {name}:v7")
        world.send("DELETE", f"/{name}/v1"), world.send("DELETE", f"/{name}/v2")
        assert world.refused("GET", f"/{name}/training-metrics") == (404, f"No versions found for artifact: {name}")
        assert world.get(f"/{name}/performance-history") == []

    def test_history_is_in_numeric_order(self, world: World, run: rn.Run, name: str) -> None:
        run.summary({"a": 1})
        for _ in range(11):
            world.save(name, run=run.id)
        wait_until(lambda: len(world.get(f"/{name}/performance-history")) == 11, "the run")
        assert [item["version"] for item in world.get(f"/{name}/performance-history")] == list(range(1, 12))

    def test_a_run_shows_at_once_what_it_logged_and_used(self, world: World, run: rn.Run, name: str) -> None:
        source = world.root.parent / "w"
        source.write_text("abc")
        run.log_artifact(Artifact(name, description="a net").add_file(source))
        run.use_artifact(f"{name}:v1")
        answer = world.http.get(f"/api/runs/{run.id}/artifacts").json()
        expected = {
            "name": name, "type": "model", "version": 1, "size_bytes": 3,
            "created_at": world.index(name)["created_at"], "description": "a net", "aliases": ["latest"],
            "lifecycle_stage": "experimental", "status": "ready",
        }  # fmt: skip
        assert answer == {"created": [expected], "used": [expected]}


class TestLineage:
    def test_both_directions_with_names_of_runs(self, world: World, name: str) -> None:
        runs = [rn.Run("vision", world.root, name=f"run{number}", capture_env=False) for number in range(3)]
        source = world.root.parent / "w"
        source.write_text("abc")

        def log(run: rn.Run, made: str, type: str) -> None:
            run.log_artifact(Artifact(made, type).add_file(source))

        log(runs[0], f"{name}d", "dataset")
        runs[1].use_artifact(f"{name}d:v1")
        log(runs[1], name, "model")
        runs[2].use_artifact(f"{name}:v1")
        log(runs[2], f"{name}r", "custom")
        wait_until(lambda: len(world.get(f"/{name}/v1/lineage")["nodes"]) == 6, "all runs")
        graph = world.get(f"/{name}/v1/lineage")
        tracked = rn.artifacts.LineageTracker(world.root).build_lineage_graph(name, "model", 1)  # type: ignore[attr-defined] - a module
        assert graph == tracked.to_dict()
        assert graph["nodes"][1]["metadata"] == {"run_id": runs[1].id, "project": "vision", "name": "run1"}
        assert [node["node_id"] for node in world.get(f"/{name}/v1/lineage", max_depth=0)["nodes"]] == [f"{name}:v1"]
        assert world.refused("GET", f"/{name}/v9/lineage") == (404, f"Version not found: {name}:v9")
        for run in runs:
            run.finish()


def test_gets_create_and_change_nothing(tmp_path: Path, serve: Serve) -> None:
    root = tmp_path / "root"
    world = World(serve(root, "--rate-limit", "off"), root)
    world.save("net")
    wait_until(lambda: world.listed("net"), "the artifact")

    def state() -> dict[Path, int]:
        paths = (path for path in root.rglob("*") if ".runicorn" not in path.parts)
        return {path: path.lstat().st_mtime_ns for path in paths}

    before = state()
    for path in ("", "/stats", "/net/versions", "/net/v1", "/net/v1/files", "/net/v1/lineage", "/net/evaluations",
                 "/net/training-metrics", "/net/performance-history", "/no/versions", "/no/v1"):  # fmt: skip
        world.http.get(f"/api/artifacts{path}")
    assert state() == before


def test_an_empty_store_answers_and_stays_empty(tmp_path: Path, serve: Serve) -> None:
    server = serve(tmp_path / "root")
    assert server.http.get("/api/artifacts").json() == []
    stats = server.http.get("/api/artifacts/stats").json()
    assert (stats["total_artifacts"], stats["dedup_ratio"], stats["by_type"]) == (0, 0, {})
    assert not (tmp_path / "root" / "artifacts").exists()


def test_an_artifact_called_runs_is_no_run(world: World) -> None:
    world.save("runs"), world.save("runs")
    world.send("DELETE", "/runs/v1")
    wait_until(lambda: world.listed("runs"), "the artifact")
    assert all(run["id"] not in ("v1", "v2") for run in world.http.get("/api/runs").json())


class TestObserving:
    """What 0.4.0 changes in its files is taken over, and recorded."""

    def test_a_recorded_store_answers_with_all_artifacts(self, recorded: Path, serve: Serve) -> None:
        server = serve(recorded, "--rate-limit", "off")
        wait_until_live(server)
        indexes = {path: json.loads(path.read_text()) for path in (recorded / "artifacts").glob("*/*/versions.json")}
        assert len(indexes) > 3
        items = {(item["type"], item["name"]): item for item in server.http.get("/api/artifacts").json()}
        assert len(items) == len(indexes)
        storage = ArtifactStorage(recorded)
        for path, index in indexes.items():
            type, name = path.parts[-3:-1]
            item = items[type, name]
            assert (item["created_at"], item["updated_at"]) == (index["created_at"], index["updated_at"])
            assert item["aliases"] == index["aliases"]
            versions = server.http.get(f"/api/artifacts/{name}/versions?type={type}").json()
            assert [{**version, "aliases": []} for version in versions] == [
                {**version, "aliases": []} for version in index["versions"]
            ]
            assert versions == [item.to_dict() for item in storage.list_versions(name, type)]
            for version in versions:
                base = f"/api/artifacts/{name}/v{version['version']}"
                detail = server.http.get(base, params={"type": type}).json()
                metadata = json.loads((path.parent / f"v{version['version']}/metadata.json").read_text())
                assert detail["metadata"] == metadata["metadata"]
                assert detail["status"] == "ready"
                files = server.http.get(f"{base}/files", params={"type": type}).json()["files"]
                assert all(os.path.exists(file["absolute_path"]) for file in files)
                graph = server.http.get(f"{base}/lineage", params={"type": type}).json()
                tracked = rn.artifacts.LineageTracker(recorded).build_lineage_graph(name, type, version["version"])  # type: ignore[attr-defined] - a module
                assert graph == tracked.to_dict()
                assert len(graph["nodes"]) > 1
        assert server.http.get("/api/artifacts/stats").json() == storage.get_storage_stats()

    def test_what_0_4_0_writes_is_seen(self, recorded: Path, serve: Serve) -> None:
        server = serve(recorded, "--rate-limit", "off")
        wait_until_live(server)
        folder = recorded / "artifacts/model/digits-mlp"

        def detail(version: int) -> dict[str, Any]:
            return next(
                item
                for item in server.http.get("/api/artifacts/digits-mlp/versions?include_deleted=1").json()
                if item["version"] == version
            )

        def listed() -> dict[str, Any]:
            return next(item for item in server.http.get("/api/artifacts").json() if item["name"] == "digits-mlp")

        # Lists learn of it by themselves; nobody asks for the artifact first.
        (folder / "v6/.deleted").write_text(json.dumps({"deleted_at": 5.0}))
        wait_until(lambda: listed()["latest_version"] == 5, "the deletion")
        assert detail(6)["status"] == "deleted"
        (folder / "v6/.deleted").unlink()
        wait_until(lambda: listed()["latest_version"] == 6, "the restoration")
        index = json.loads((folder / "versions.json").read_text())
        index["aliases"]["good"] = 2
        (folder / "versions.json").write_text(json.dumps(index))
        wait_until(lambda: listed()["aliases"].get("good") == 2, "the alias")
        metadata = json.loads((folder / "v3/metadata.json").read_text())
        metadata |= {"lifecycle_stage": "production", "lifecycle_updated_at": 5.0}
        (folder / "v3/metadata.json").write_text(json.dumps(metadata))
        wait_until(lambda: listed()["aliases"].get("production") == 3, "the promotion")
        assert server.http.get("/api/artifacts/digits-mlp/v3").json()["lifecycle_stage"] == "production"
        (folder / "v1").rename(recorded / "gone")
        wait_until(lambda: listed()["num_versions"] == 5, "the removal")
        before = server.http.get("/api/artifacts").json()
        server.stop()
        again = serve(recorded, "--rate-limit", "off")
        wait_until_live(again)
        assert again.http.get("/api/artifacts").json() == before

    def test_the_log_alone_gives_the_same_answers(self, recorded: Path, serve: Serve) -> None:
        import shutil

        def answers() -> list[Any]:
            server = serve(recorded, "--rate-limit", "off")
            wait_until_live(server)
            found = [server.http.get("/api/artifacts").json(), server.http.get("/api/artifacts/stats").json()]
            found += [server.http.get(f"/api/artifacts/{item['name']}/versions").json() for item in found[0]]
            server.stop()
            return found

        first = answers()
        shutil.rmtree(recorded / ".runicorn/state")
        assert answers() == first
        log = (recorded / ".runicorn/log/00000001.jsonl").read_text()
        assert log.count('"artifact.observed"') == len(first[0])
