"""Contents of artifacts over HTTP: files, parts of files, and whole versions."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from runicorn.artifacts import Artifact
from tests.artifact_world import World, world

__all__ = ["world"]

LARGE = os.urandom(5 << 20)
FILES: dict[str, bytes] = {
    "weights.bin": bytes(range(256)) * 40,
    "conf/a..b/.hidden": b"hidden",
    "page.html": b"<script>alert(1)</script>",
    "image.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "notes.txt": "Grüße".encode(),
    "ünï 100%?#.bin": b"name",
    "empty": b"",
    "large.bin": LARGE,
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for path, content in FILES.items():
        file = folder.joinpath(*path.split("/"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (folder / "empty").chmod(0o755)
    return folder


@pytest.fixture
def name(world: World, source: Path) -> str:
    name = world.name()
    artifact = Artifact(name).add_dir(source)
    assert world.storage.save_artifact(artifact, "r", *artifact.staged) == 1
    return name


def file(world: World, name: str, path: str, **headers: str) -> httpx.Response:
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    return world.http.get(f"/api/artifacts/{name}/v1/files/{quote(path)}", headers=given)


def damage(world: World, name: str, path: str, content: bytes) -> None:
    target = world.folder(name) / "v1/files" / path
    target.unlink()  # the pool's file stays as it is: other tests share it
    target.write_bytes(content)


class TestFiles:
    def test_every_file_is_served_with_its_digest(self, world: World, name: str) -> None:
        for path, content in FILES.items():
            response = file(world, name, path)
            assert (response.status_code, response.content) == (200, content), path
            assert response.headers["etag"] == f'"sha256:{hashlib.sha256(content).hexdigest()}"'
            assert response.headers["accept-ranges"] == "bytes"
            assert response.headers["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize(
        ("wanted", "first", "end"), [("bytes=0-9", 0, 10), ("bytes=10000-", 10000, 10240), ("bytes=-5", 10235, 10240)]
    )
    def test_parts(self, world: World, name: str, wanted: str, first: int, end: int) -> None:
        response = file(world, name, "weights.bin", range=wanted)
        assert (response.status_code, response.content) == (206, FILES["weights.bin"][first:end])
        assert response.headers["content-range"] == f"bytes {first}-{end - 1}/10240"
        assert file(world, name, "large.bin", range="bytes=5000000-5000009").content == LARGE[5000000:5000010]
        assert file(world, name, "weights.bin", range="bytes=20000-").status_code == 416

    def test_what_the_client_has_is_not_sent_again(self, world: World, name: str) -> None:
        etag = file(world, name, "notes.txt").headers["etag"]
        assert file(world, name, "notes.txt", if_none_match=etag).status_code == 304
        assert file(world, name, "notes.txt", if_none_match='"sha256:0"').status_code == 200
        assert file(world, name, "weights.bin", range="bytes=0-1", if_range=etag).status_code == 200

    @pytest.mark.parametrize("path", ["page.html", "image.svg", "weights.bin", "conf/a..b/.hidden"])
    def test_nothing_that_a_browser_would_run_is_shown_in_it(self, world: World, name: str, path: str) -> None:
        headers = file(world, name, path).headers
        assert headers["content-disposition"] == "attachment"
        assert "text/html" not in headers["content-type"]
        assert "sandbox" in headers["content-security-policy"]

    @pytest.mark.parametrize(
        "path", ["absent", "conf", "conf/", "../metadata.json", "conf/../notes.txt", "..",
                 "conf/a..b/./.hidden", "notes.txt\0", "/etc/passwd", "conf\\a..b\\.hidden", "x" * 5000],
    )  # fmt: skip
    def test_only_what_the_manifest_lists(self, world: World, name: str, path: str) -> None:
        response = world.http.get(f"/api/artifacts/{name}/v1/files/{quote(path, safe='').replace('..', '%2E%2E')}")
        assert response.status_code == 404, response.text

    def test_files_that_were_not_saved_and_links_are_not_served(self, world: World, name: str, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(FILES["notes.txt"])
        files = world.folder(name) / "v1/files"
        (files / "extra").write_text("extra")
        assert file(world, name, "extra").status_code == 404
        (files / "notes.txt").unlink()
        (files / "notes.txt").symlink_to(secret)
        assert file(world, name, "notes.txt").status_code == 409

    @pytest.mark.parametrize("content", [b"short", b"x" * 10240])
    def test_a_damaged_small_file_is_refused_as_a_whole_and_in_parts(
        self, world: World, name: str, content: bytes
    ) -> None:
        damage(world, name, "weights.bin", content)
        detail = {"detail": f"File of {name}:v1 is missing or damaged: weights.bin"}
        for headers in ({}, {"range": "bytes=0-1"}):
            response = file(world, name, "weights.bin", **headers)
            assert (response.status_code, response.json()) == (409, detail)

    def test_a_damaged_large_file_never_arrives_whole_and_is_refused_from_then_on(
        self, world: World, name: str
    ) -> None:
        damage(world, name, "large.bin", LARGE[:-1] + bytes([LARGE[-1] ^ 1]))
        with pytest.raises(httpx.RemoteProtocolError):
            file(world, name, "large.bin")
        assert file(world, name, "large.bin").status_code == 409
        assert file(world, name, "large.bin", range="bytes=0-1").status_code == 409
        damage(world, name, "large.bin", LARGE)
        assert file(world, name, "large.bin").content == LARGE

    def test_a_forged_manifest_is_not_believed(self, world: World, name: str) -> None:
        path = world.folder(name) / "v1/manifest.json"
        content = json.loads(path.read_text())
        content["files"].append({"path": "../metadata.json", "size": 1, "digest": "sha256:00"})
        path.write_text(json.dumps(content))
        assert file(world, name, "notes.txt").status_code == 409
        assert world.http.get(f"/api/artifacts/{name}/v1/zip").status_code == 409
        metadata = world.folder(name) / "v1/metadata.json"
        said: dict[str, Any] = json.loads(metadata.read_text())
        metadata.write_text(json.dumps({**said, "manifest_digest": None}))  # as if none had been noted
        assert file(world, name, "notes.txt").status_code == 200
        assert file(world, name, "../metadata.json").status_code == 404
        assert world.http.get(f"/api/artifacts/{name}/v1/zip").status_code == 409

    def test_deleted_versions_can_be_fetched_unknown_ones_not(self, world: World, name: str) -> None:
        world.send("DELETE", f"/{name}/v1")
        assert file(world, name, "notes.txt").status_code == 200
        assert world.refused("GET", f"/{name}/v2/files/notes.txt") == (404, f"Version not found: {name}:v2")
        assert world.refused("GET", f"/{name}/v2/zip") == (404, f"Version not found: {name}:v2")
        assert world.refused("GET", f"/{name}/vx/zip") == (400, "Invalid version number: x")


class TestZip:
    @pytest.mark.parametrize("deflate", ["false", "true"])
    def test_holds_all_files(self, world: World, name: str, deflate: str) -> None:
        response = world.http.get(f"/api/artifacts/{name}/v1/zip", params={"deflate": deflate})
        assert response.headers["content-type"] == "application/zip"
        assert response.headers["content-disposition"] == f"attachment; filename={name}_v1.zip"
        archive = zipfile.ZipFile(io.BytesIO(response.content))
        assert archive.testzip() is None
        assert {item.filename: archive.read(item) for item in archive.infolist()} == FILES
        assert archive.getinfo("empty").external_attr >> 16 & 0o777 == 0o755
        assert archive.getinfo("weights.bin").external_attr >> 16 & 0o777 == 0o644

    def test_of_references_alone_is_empty(self, world: World) -> None:
        name = world.name()
        artifact = Artifact(name).add_reference("s3://b/raw.tar", size=100 << 30)
        world.storage.save_artifact(artifact, "r", *artifact.staged)
        response = world.http.get(f"/api/artifacts/{name}/v1/zip")
        assert zipfile.ZipFile(io.BytesIO(response.content)).namelist() == []

    def test_is_never_whole_if_a_file_is_damaged(self, world: World, name: str) -> None:
        damage(world, name, "large.bin", LARGE[:-1] + bytes([LARGE[-1] ^ 1]))
        with pytest.raises(httpx.RemoteProtocolError):
            world.http.get(f"/api/artifacts/{name}/v1/zip")
        damage(world, name, "large.bin", b"short")
        assert world.refused("GET", f"/{name}/v1/zip")[0] == 409
