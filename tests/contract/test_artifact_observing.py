"""What 0.4.0 writes into the files of artifacts, over HTTP."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import runicorn as rn
from runicorn.artifacts import ArtifactStorage
from tests.recorded import recorded, wait_until_live
from tests.serving import Server, serve, wait_until

__all__ = ["recorded", "serve"]

Serve = Callable[..., Server]


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
