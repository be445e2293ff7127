"""Artifacts over HTTP: what clients may rely on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runicorn.artifacts import Artifact
from tests.artifact_world import World, name, world
from tests.serving import Server, serve, wait_until

__all__ = ["name", "serve", "world"]

Serve = Callable[..., Server]


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


def test_statistics_stay_within_their_bounds_in_every_state(tmp_path: Path, serve: Serve) -> None:
    root = tmp_path / "root"
    world = World(serve(root, "--rate-limit", "off"), root)

    def check(*, visible: int, files: int, saved: int, references: int = 0) -> None:
        for include_deleted in (False, True):
            stats = world.get("/stats", include_deleted=include_deleted)
            assert 0 <= stats["dedup_ratio"] <= 1
            assert (stats["space_saved_bytes"], stats["dedup_pool_size_bytes"]) == (saved, _pool_bytes(root))
        stats = world.get("/stats")
        assert (stats["total_versions"], stats["total_files"]) == (visible, files)
        assert stats["reference_size_bytes"] == references
        if not stats["deleted_versions"] and not references:
            assert stats["space_saved_bytes"] == stats["total_size_bytes"] - stats["dedup_pool_size_bytes"]

    check(visible=0, files=0, saved=0)
    huge = Artifact("elsewhere", "dataset").add_reference("s3://b/raw.tar", size=150 << 30)
    world.storage.save_artifact(huge, "r1", *huge.staged)
    world.level_stats()
    check(visible=1, files=0, saved=0, references=150 << 30)
    world.send("DELETE", "/elsewhere/v1", params={"permanent": "true"})
    check(visible=0, files=0, saved=0)
    world.save("net", "12345", "1"), world.save("net", "12345", "22")
    world.level_stats()
    check(visible=2, files=4, saved=5)
    world.send("DELETE", "/net/v1")
    check(visible=1, files=2, saved=5)
    world.send("DELETE", "/net/v2", params={"permanent": "true"})
    check(visible=0, files=0, saved=0)
    world.send("POST", "/net/v1/restore")
    check(visible=1, files=2, saved=0)
    world.send("DELETE", "/net/v1", params={"permanent": "true"})
    check(visible=0, files=0, saved=0)
    assert _pool_bytes(root) == 0


def _pool_bytes(root: Path) -> int:
    return sum(path.stat().st_size for path in (root / "artifacts/.dedup").rglob("*") if path.is_file())


def test_an_empty_store_answers_and_stays_empty(tmp_path: Path, serve: Serve) -> None:
    server = serve(tmp_path / "root")
    assert server.http.get("/api/artifacts").json() == []
    stats = server.http.get("/api/artifacts/stats").json()
    assert (stats["total_artifacts"], stats["dedup_ratio"], stats["by_type"]) == (0, 0, {})
    assert not (tmp_path / "root" / "artifacts").exists()
