"""A served store with artifacts in it, and fixtures for tests that share one in a module."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runicorn.artifacts import Artifact, create_artifact_storage
from tests.serving import Server, wait_until


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

    def save_text(self, name: str, content: str, *, type: str = "model") -> int:
        """Like `save`, for several threads at once."""
        with tempfile.TemporaryDirectory(dir=self._files) as directory:
            path = Path(directory) / "file0"
            path.write_text(content)
            artifact = Artifact(name, type).add_file(path)
            return self.storage.save_artifact(artifact, "r1", *artifact.staged)

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


class History(World):
    """Runs as files, as 0.4.0 writes them."""

    def run(self, run_id: str, used: list[str], made: list[str], *, environment: Any = None) -> None:
        """A run that used and made `type/name:vN`. What it made is saved."""
        folder = self.root / "vision/net/runs" / run_id
        folder.mkdir(parents=True)
        for version in made:
            type, _, rest = version.partition("/")
            name, _, number = rest.partition(":v")
            assert self.save(name, f"{version} of {run_id}", type=type, run=run_id) == int(number)
        (folder / "meta.json").write_text(json.dumps({"project": "vision", "name": f"{run_id}!", "created_at": 5.0}))
        if environment is not None:
            (folder / "environment.json").write_text(json.dumps(environment))
        for file, time_field, versions in (("used", "used_at", used), ("created", "created_at", made)):
            entries: list[dict[str, Any]] = []
            for position, version in enumerate(versions):
                type, _, rest = version.partition("/")
                name, _, number = rest.partition(":v")
                entries.append({"type": type, "name": name, "version": int(number), time_field: 100.0 + position})
            (folder / f"artifacts_{file}.json").write_text(json.dumps({"artifacts": entries}))

    def known(self, run_id: str) -> None:
        wait_until(
            lambda: (
                self.http.get(f"/api/runs/{run_id}/artifacts").json().get("used")
                or self.http.get(f"/api/runs/{run_id}/artifacts").json().get("created")
            ),
            f"the artifacts of {run_id}",
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    root = tmp_path_factory.mktemp("store") / "root"
    server = Server(root, "--rate-limit", "off")
    yield History(server, root)
    server.stop()


@pytest.fixture
def name(world: World) -> str:
    return world.name()
