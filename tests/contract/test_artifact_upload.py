"""Versions that are sent to the server: in one request, or content by content."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from runicorn.artifacts import Artifact, create_artifact_storage, upload_artifact
from runicorn.files import file_lock
from runicorn_artifacts.verifying import verify
from tests.artifact_world import World, name, world
from tests.serving import Server, serve, wait_until

__all__ = ["name", "serve", "world"]

Serve = Callable[..., Server]


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def declare(world: World, name: str, files: dict[str, bytes], **fields: Any) -> dict[str, Any]:
    listed = [{"path": path, "size": len(content), "digest": digest(content)} for path, content in files.items()]
    return world.send("POST", f"/{name}/uploads", json={"files": listed, **fields})


def put(world: World, name: str, state: dict[str, Any], content: bytes, *, offset: int = 0, upto: int | None = None):
    path = f"/api/artifacts/{name}/uploads/{state['upload_id']}/contents/{digest(content)}"
    return world.http.put(path, params={"offset": offset}, content=content[offset:upto])


def commit(world: World, name: str, state: dict[str, Any]) -> Any:
    return world.send("POST", f"/{name}/uploads/{state['upload_id']}/commit")


def tree(world: World) -> list[str]:
    """All that is in the store of artifacts."""
    return sorted(str(path.relative_to(world.root)) for path in (world.root / "artifacts").rglob("*"))


def is_sound(world: World) -> bool:
    return list(verify(world.storage.lookup.artifacts())) == []


class TestInOneRequest:
    def test_a_form_becomes_a_version_that_every_reader_sees(self, world: World, name: str) -> None:
        files = [
            ("file", ("weights.bin", b"w" * 5000)),
            ("file", ("conf/a..b/ünï.json", b"{}")),
            ("file", ("empty", b"")),
        ]
        fields = {
            "description": "a net", "metadata": '{"acc": 0.9}', "tag": ["good", "good", "new"], "alias": ["best"],
            "references": '[{"uri": "s3://b/raw.tar", "size": 1000}]',
            "digests": json.dumps({"weights.bin": digest(b"w" * 5000)}),
        }  # fmt: skip
        saved = world.send("POST", f"/{name}/versions", params={"type": "model"}, files=files, data=fields)
        assert saved == {
            "name": name, "type": "model", "version": 1, "size_bytes": 6002, "num_files": 3, "num_references": 1,
            "manifest_digest": saved["manifest_digest"], "warnings": [],
        }  # fmt: skip
        detail = world.get(f"/{name}/v1")
        assert (detail["description"], detail["metadata"], detail["tags"]) == ("a net", {"acc": 0.9}, ["good", "new"])
        assert detail["aliases"] == ["best", "latest"]
        assert detail["manifest_digest"] == saved["manifest_digest"]
        found = world.get(f"/{name}/v1/files")
        assert [file["path"] for file in found["files"]] == ["weights.bin", "conf/a..b/ünï.json", "empty"]
        assert not os.stat(found["files"][0]["absolute_path"]).st_mode & 0o222
        assert world.http.get(f"/api/artifacts/{name}/v1/files/weights.bin").content == b"w" * 5000
        metadata, manifest = world.storage.load_artifact(name, alias="best")
        assert (metadata.version, manifest.total_size) == (1, 6002)
        assert is_sound(world)

    def test_the_next_one_is_the_next_version_and_shares_what_is_the_same(self, world: World, name: str) -> None:
        same = f"shared by {name}".encode() * 1000
        for number in (1, 2):
            files = [("file", ("same", same)), ("file", ("other", f"{name} {number}".encode()))]
            assert world.send("POST", f"/{name}/versions", files=files)["version"] == number
        assert world.save(name, type="custom") == 3
        first, second = (os.stat(world.folder(name, "custom") / f"v{n}/files/same").st_ino for n in (1, 2))
        assert first == second

    @pytest.mark.parametrize(
        ("files", "fields", "text"),
        [
            ([], {"description": "x"}, "Missing required field: file"),
            ([("../x", b"1")], {}, "Invalid artifact path (contains '..'): ../x"),
            ([("/etc/x", b"1")], {}, "Invalid artifact path (absolute): /etc/x"),
            ([("a//b", b"1")], {}, "Invalid artifact path: a//b"),
            ([("a", b"1"), ("a", b"2")], {}, "Invalid value for files: a path occurs twice"),
            ([("a", b"1"), ("a/b", b"2")], {}, "Invalid artifact path: a/b"),
            ([("a", b"1")], {"metadata": "[1]"}, "Invalid value for metadata: must be a JSON object"),
            ([("a", b"1")], {"references": "{}"}, "Invalid value for references: must be a JSON list of references"),
            ([("a", b"1")], {"alias": "latest"}, "Invalid value for aliases: 'latest' cannot be set"),
            ([("a", b"1")], {"digests": json.dumps({"b": digest(b"1")})}, "Invalid value for digests: no such file: b"),
            ([("a", b"1")], {"digests": json.dumps({"a": digest(b"2")})},
             "The content received has another digest than the one declared: a"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_saved_leaves_nothing(
        self, world: World, name: str, files: list[tuple[str, bytes]], fields: dict[str, str], text: str
    ) -> None:
        world.http.get("/api/artifacts")
        (world.root / "artifacts/.tmp").mkdir(exist_ok=True)
        before = tree(world)
        parts = [("file", file) for file in files]
        if not parts:
            parts = [("nothing", (None, b""))]
        assert world.refused("POST", f"/{name}/versions", files=parts, data=fields) == (400, text)
        assert tree(world) == before

    def test_what_is_no_form_is_refused(self, world: World, name: str) -> None:
        assert world.refused("POST", f"/{name}/versions", json={}) == (400, "Missing required field: file")
        broken = {"content-type": "multipart/form-data; boundary=b"}
        cut = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf of it'
        assert world.refused("POST", f"/{name}/versions", content=cut, headers=broken)[0] == 400
        assert world.listed(name) is None

    @pytest.mark.parametrize("bad", ["..", ".dedup", "a:b", "a\\b"])
    def test_hostile_names_and_types_are_refused(self, world: World, bad: str) -> None:
        before = tree(world)
        files = [("file", ("a", b"1"))]
        if bad != "..":
            status, text = world.refused("POST", f"/{bad.replace(chr(92), '%5C')}/versions", files=files)
            assert (status, text) == (400, f"Invalid artifact name: {bad}")
        assert world.refused("POST", "/net/versions", params={"type": bad}, files=files)[0] == 400
        body = {"files": [{"path": "a", "size": 1, "digest": digest(b"1")}]}
        assert world.refused("POST", "/net/uploads", params={"type": bad}, json=body)[0] == 400
        assert tree(world) == before

    def test_a_form_that_breaks_off_leaves_nothing(self, world: World, name: str) -> None:
        def body() -> Iterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
            yield b"x" * (3 << 20)
            wait_until(lambda: any((world.root / "artifacts/.tmp").iterdir()), "the staged file")
            raise ConnectionError

        with pytest.raises(ConnectionError):
            httpx.post(
                f"{world.server.url}/api/artifacts/{name}/versions",
                content=body(), headers={"content-type": "multipart/form-data; boundary=b"},
            )  # fmt: skip
        wait_until(lambda: not any((world.root / "artifacts/.tmp").iterdir()), "an empty staging area")
        assert not world.folder(name, "custom").exists()


class TestContentByContent:
    def test_nothing_shows_before_the_commit(self, world: World, name: str) -> None:
        files = {"weights.bin": os.urandom(3000), "conf/cfg.json": name.encode()}
        state = declare(world, name, files, description="d", metadata={"acc": 1}, tags=["t"], aliases=["best"])
        assert state["missing"] == [
            {"digest": digest(content), "size": len(content), "received": 0} for content in files.values()
        ]
        for content in files.values():
            assert put(world, name, state, content).json() == {
                "digest": digest(content), "received": len(content), "is_complete": True,
            }  # fmt: skip
        assert world.listed(name) is None
        assert not world.folder(name, "custom").exists()
        saved = commit(world, name, state)
        assert (saved["version"], saved["num_files"]) == (1, 2)
        assert world.get(f"/{name}/v1")["aliases"] == ["best", "latest"]
        item = world.listed(name)
        assert item is not None
        assert item["aliases"] == {"latest": 1, "best": 1}
        assert is_sound(world)

    def test_a_commit_that_is_repeated_answers_the_same(self, world: World, name: str) -> None:
        content = os.urandom(100)
        state = declare(world, name, {"a": content})
        put(world, name, state, content)
        assert commit(world, name, state) == commit(world, name, state)
        assert [item["version"] for item in world.get(f"/{name}/versions")] == [1]
        assert world.get(f"/{name}/uploads/{state['upload_id']}") == {**state, "missing": [], "version": 1}
        assert put(world, name, state, content).status_code == 409

    @pytest.mark.parametrize("way", ["form", "upload"])
    def test_version_and_alias_are_one_change(self, world: World, name: str, way: str) -> None:
        content = os.urandom(100)
        if way == "form":
            saved = world.send(
                "POST", f"/{name}/versions", files={"file": ("a", content)}, data={"alias": ["best", "good", "best"]}
            )
        else:
            state = declare(world, name, {"a": content}, aliases=["best", "good", "best"])
            put(world, name, state, content)
            saved = commit(world, name, state)
        assert saved["warnings"] == []
        lines = (world.folder(name, "custom") / "events.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        kinds = ["artifact.version_created", "artifact.aliased", "artifact.aliased"]
        assert [event["type"] for event in events] == kinds
        assert len({event["ts"] for event in events}) == 1
        assert world.index(name, "custom")["versions"][0]["aliases"] == ["best", "good", "latest"]

    @pytest.mark.parametrize("way", ["form", "upload"])
    def test_without_a_type_the_artifact_that_the_name_means_gets_the_version(
        self, world: World, name: str, way: str
    ) -> None:
        assert world.save(name, type="dataset") == 1
        content = os.urandom(100)
        if way == "form":
            saved = world.send("POST", f"/{name}/versions", files={"file": ("a", content)})
        else:
            state = declare(world, name, {"a": content})
            put(world, name, state, content)
            saved = commit(world, name, state)
        assert (saved["type"], saved["version"]) == ("dataset", 2)
        assert not world.folder(name, "custom").exists()

    def test_a_commit_that_is_repeated_leaves_an_alias_where_somebody_moved_it(self, world: World, name: str) -> None:
        content = os.urandom(100)
        state = declare(world, name, {"a": content}, aliases=["best"])
        put(world, name, state, content)
        commit(world, name, state)
        world.save(name, "another", type="custom")
        world.send("PUT", f"/{name}/v2/aliases/best", params={"type": "custom"})
        assert commit(world, name, state)["version"] == 1
        assert world.get(f"/{name}/v2", type="custom")["aliases"] == ["best", "latest"]

    def test_a_commit_that_was_killed_before_it_was_told_gets_its_alias_when_it_is_repeated(
        self, world: World, name: str
    ) -> None:
        content = os.urandom(100)
        state = declare(world, name, {"a": content}, aliases=["best"])
        put(world, name, state, content)
        commit(world, name, state)
        for file in ("events.jsonl", "versions.json"):  # what a kill behind the rename leaves
            (world.folder(name, "custom") / file).unlink()
        assert commit(world, name, state)["version"] == 1
        wait_until(lambda: world.get(f"/{name}/v1")["aliases"] == ["best", "latest"], "the alias")

    def test_a_version_whose_run_cannot_list_it_is_saved_and_the_answer_says_so(self, world: World, name: str) -> None:
        run = world.root / "vision/net/runs/20250114_150000_abc999"
        run.mkdir(parents=True, exist_ok=True)
        (run / "meta.json").write_text("{}")
        (run / "artifacts_created.json").mkdir()
        wait_until(lambda: world.http.get(f"/api/runs/{run.name}").status_code == 200, "the run")
        saved = world.send("POST", f"/{name}/versions", files={"file": ("a", b"1")}, data={"run_id": run.name})
        assert saved["warnings"] == [f"The run {run.name} does not list it: Is a directory"]
        assert [item["version"] for item in world.get(f"/{name}/versions")] == [1]

    @pytest.mark.slow(30)
    def test_while_somebody_holds_the_artifact_nothing_is_saved_and_that_is_what_is_answered(
        self, world: World, name: str
    ) -> None:
        world.save(name, type="custom")
        with file_lock(world.folder(name, "custom") / ".lock"), ThreadPoolExecutor() as executor:
            sdk = executor.submit(world.save, name, "sdk", type="custom")
            refused = world.refused(
                "POST", f"/{name}/versions", files={"file": ("a", b"1")}, data={"alias": "best"}, timeout=60
            )
            assert refused == (503, "Artifact store is busy")
            with pytest.raises(TimeoutError, match=f"^Could not lock artifact {name} within 30 s$"):
                sdk.result(60)
        assert [item["version"] for item in world.get(f"/{name}/versions")] == [1]
        assert world.save(name, type="custom") == 2

    def test_contents_that_are_known_are_not_sent(self, world: World, name: str) -> None:
        content = f"once is enough {name}".encode()
        world.save(name, content.decode())
        state = declare(world, name, {"a": content, "b/c": content})
        assert state["missing"] == []
        assert commit(world, name, state)["num_files"] == 2
        assert world.http.get(f"/api/artifacts/{name}/v2/files/b/c").content == content

    def test_a_damaged_content_in_the_pool_is_asked_for(self, world: World, name: str) -> None:
        content = f"will be damaged {name}".encode()
        world.save(name, content.decode())
        pooled = world.root / "artifacts/.dedup" / digest(content)[7:9] / digest(content)[7:]
        pooled.chmod(0o644)
        state = declare(world, name, {"a": content})
        pooled.write_bytes(content[::-1])
        assert world.refused("POST", f"/{name}/uploads/{state['upload_id']}/commit")[0] == 409
        [missing] = world.get(f"/{name}/uploads/{state['upload_id']}")["missing"]
        assert missing["digest"] == digest(content)
        put(world, name, state, content)
        commit(world, name, state)
        assert (world.folder(name, "model") / "v2/files/a").read_bytes() == content
        world.send("DELETE", f"/{name}/v1", params={"type": "model", "permanent": "true"})
        assert is_sound(world)

    def test_a_content_is_continued_where_it_broke_off(self, world: World, name: str) -> None:
        content = os.urandom(10_000)
        state = declare(world, name, {"a": content})
        assert put(world, name, state, content, upto=4000).json()["is_complete"] is False
        [missing] = world.get(f"/{name}/uploads/{state['upload_id']}")["missing"]
        assert missing["received"] == 4000
        wrong = put(world, name, state, content, offset=5000)
        assert (wrong.status_code, wrong.json()["received"]) == (409, 4000)
        assert world.refused("POST", f"/{name}/uploads/{state['upload_id']}/commit")[0] == 409
        assert put(world, name, state, content, offset=4000).json()["is_complete"] is True
        commit(world, name, state)
        assert world.http.get(f"/api/artifacts/{name}/v1/files/a").content == content

    @pytest.mark.parametrize("where", [0, 5000, 9999])
    def test_one_byte_that_changed_on_the_way_is_noticed(self, world: World, name: str, where: int) -> None:
        content = os.urandom(10_000)
        changed = bytearray(content)
        changed[where] ^= 1
        state = declare(world, name, {"a": content})
        path = f"/{name}/uploads/{state['upload_id']}/contents/{digest(content)}"
        assert world.refused("PUT", path, content=bytes(changed)) == (
            400, f"The content received has another digest than the one declared: {digest(content)}",
        )  # fmt: skip
        assert world.get(f"/{name}/uploads/{state['upload_id']}")["missing"][0]["received"] == 0
        assert world.refused("POST", f"/{name}/uploads/{state['upload_id']}/commit")[0] == 409
        assert put(world, name, state, content).json()["is_complete"] is True
        assert commit(world, name, state)["version"] == 1

    def test_more_than_was_declared_is_refused(self, world: World, name: str) -> None:
        content = b"x" * 10
        state = declare(world, name, {"a": content})
        path = f"/{name}/uploads/{state['upload_id']}/contents/{digest(content)}"
        assert world.refused("PUT", path, content=b"x" * 11) == (413, "The content is larger than declared")
        assert world.refused("PUT", path, content=iter([b"x" * 11])) == (413, "The content is larger than declared")
        other = f"/{name}/uploads/{state['upload_id']}/contents/{digest(b'other')}"
        assert world.refused("PUT", other, content=b"other")[0] == 404
        assert world.refused("PUT", f"/{name}/uploads/{state['upload_id']}/contents/x", content=b"")[0] == 400

    @pytest.mark.parametrize(
        "change",
        [
            {"path": "../a"}, {"path": "/a"}, {"path": ""}, {"path": "a\\b"}, {"path": "a/./b"}, {"size": -1},
            {"size": 1 << 60}, {"size": 2}, {"digest": "sha256:../../x"}, {"digest": "x" * 64},
        ],
    )  # fmt: skip
    def test_a_hostile_declaration_leaves_nothing(self, world: World, name: str, change: dict[str, Any]) -> None:
        (world.root / "artifacts/.tmp").mkdir(exist_ok=True)
        before = tree(world)
        good = {"path": "good", "size": 1, "digest": digest(b"1")}
        files = [good, {"path": "a", "size": 1, "digest": digest(b"1"), **change}]
        assert world.refused("POST", f"/{name}/uploads", json={"files": files})[0] in (400, 413)
        assert world.refused("POST", f"/{name}/uploads", json={"files": []})[0] == 400
        assert tree(world) == before

    def test_an_upload_can_be_abandoned(self, world: World, name: str) -> None:
        state = declare(world, name, {"a": b"never sent"})
        path = f"/{name}/uploads/{state['upload_id']}"
        assert world.refused("GET", f"/other/uploads/{state['upload_id']}")[0] == 404
        assert world.send("DELETE", path) == {"success": True}
        assert world.refused("GET", path) == (404, f"Upload not found: {state['upload_id']}")
        assert world.refused("POST", f"{path}/commit")[0] == 404
        assert world.refused("GET", f"/{name}/uploads/..%2f..")[0] == 404
        assert not (world.root / "artifacts/.tmp" / state["upload_id"]).exists()

    def test_what_nobody_continues_is_forgotten_after_a_day(self, world: World, name: str) -> None:
        state = declare(world, name, {"a": b"never sent"})
        old = time.time() - 25 * 3600
        os.utime(world.root / "artifacts/.tmp" / state["upload_id"], (old, old))
        declare(world, name, {"a": b"never sent"})
        assert world.refused("GET", f"/{name}/uploads/{state['upload_id']}")[0] == 404

    def test_the_run_that_made_it_says_so(self, world: World, name: str) -> None:
        run_id = "20260101_000000_abcdef"
        folder = world.root / "vision/far/runs" / run_id
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "meta.json").write_text(json.dumps({"project": "vision", "name": "far", "created_at": 5.0}))
        content = b"made far away"
        assert world.refused("POST", f"/{name}/uploads", json={
            "files": [{"path": "a", "size": 13, "digest": digest(content)}], "run_id": "20260101_000000_000000",
        }) == (404, "Run not found: 20260101_000000_000000")  # fmt: skip
        state = declare(world, name, {"a": content}, run_id=run_id)
        put(world, name, state, content)
        assert commit(world, name, state) == commit(world, name, state)
        assert world.get(f"/{name}/v1")["created_by_run"] == run_id
        created = world.http.get(f"/api/runs/{run_id}/artifacts").json()["created"]
        assert [(item["name"], item["version"], item["size_bytes"]) for item in created] == [(name, 1, 13)]
        assert [node["node_id"] for node in world.get(f"/{name}/v1/lineage")["nodes"]] == [f"{name}:v1", run_id]


class TestManyAtOnce:
    def test_eight_clients_get_all_numbers_once(self, world: World, name: str) -> None:
        shared = os.urandom(200_000)

        def send(number: int) -> int:
            folder = world.root.parent / f"sent-{name}-{number}"
            folder.mkdir()
            (folder / "own.bin").write_bytes(str(number).encode() * 1000)
            (folder / "shared.bin").write_bytes(shared)
            return upload_artifact(world.server.url, Artifact(name).add_dir(folder))

        with ThreadPoolExecutor(8) as threads:
            assert sorted(threads.map(send, range(8))) == list(range(1, 9))
        assert [item["version"] for item in world.get(f"/{name}/versions")] == list(range(1, 9))
        assert is_sound(world)
        assert world.storage.cleanup_orphaned_dedup() == 0

    def test_one_content_is_received_by_one_request_at_a_time(self, world: World, name: str) -> None:
        content = os.urandom(3 << 20)
        state = declare(world, name, {"a": content})
        path = f"/api/artifacts/{name}/uploads/{state['upload_id']}/contents/{digest(content)}"
        part = world.root / "artifacts/.tmp" / state["upload_id"] / "parts" / digest(content)[7:]
        begun, other_is_refused = threading.Event(), threading.Event()

        def slowly() -> Iterator[bytes]:
            yield content[: 2 << 20]
            wait_until(lambda: part.exists() and part.stat().st_size, "the first bytes")
            begun.set()
            assert other_is_refused.wait(20)
            yield content[2 << 20 :]

        with ThreadPoolExecutor(1) as threads:
            slow = threads.submit(lambda: httpx.put(f"{world.server.url}{path}", content=slowly(), timeout=30))
            assert begun.wait(20)
            assert put(world, name, state, content).json() == {"detail": "This content is being received already"}
            other_is_refused.set()
            assert slow.result().json()["is_complete"] is True
        assert commit(world, name, state)["version"] == 1


class TestClient:
    def test_a_version_arrives_as_the_sdk_would_save_it(self, world: World, name: str, tmp_path: Path) -> None:
        (tmp_path / "run.sh").write_text("echo")
        (tmp_path / "run.sh").chmod(0o755)
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub/empty").touch()
        artifact = (
            Artifact(name, "model", "d", {"acc": 1}).add_dir(tmp_path).add_tags("t").add_reference("s3://x", size=5)
        )
        sent: list[int] = []
        assert upload_artifact(world.server.url, artifact, aliases=["best"], progress=sent.append) == 1
        assert sum(sent) == 4
        assert world.storage.save_artifact(artifact, "", *artifact.staged) == 2
        one, two = (world.storage.load_artifact(name, version=number) for number in (1, 2))
        assert [file.to_dict() for file in one[1].files] == [file.to_dict() for file in two[1].files]
        assert one[1].references == two[1].references
        same = ("description", "metadata", "tags", "size_bytes", "num_files", "num_references", "created_by_run")
        assert [getattr(one[0], key) for key in same] == [getattr(two[0], key) for key in same]
        assert (world.folder(name) / "v1/files/run.sh").stat().st_mode & 0o777 == 0o555

    def test_the_command_sends_to_a_server(self, world: World, name: str, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("12345")
        command = [sys.executable, "-m", "runicorn", "artifacts", "log", str(tmp_path / "a.txt"), "--name", name]
        done = subprocess.run([*command, "--url", world.server.url, "--json"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["version"] == 1
        assert world.get(f"/{name}/v1/files")["total_size"] == 5
        refused = subprocess.run(
            [*command, "--url", world.server.url, "--run", "nobody"], capture_output=True, text=True
        )
        assert (refused.returncode, refused.stderr) == (1, "Error: Run not found: nobody\n")

    def test_what_is_no_address_is_told(self) -> None:
        with pytest.raises(Exception, match="not the address of a server"):
            upload_artifact("ftp://x", Artifact("net").add_reference("s3://x"))


@pytest.mark.slow(3)
def test_a_server_that_is_killed_meanwhile_is_waited_for(serve: Serve, tmp_path: Path) -> None:
    root = tmp_path / "root"
    server = serve(root, "--rate-limit", "off")
    port = server.port
    (tmp_path / "files").mkdir()
    contents = {f"{number}.bin": os.urandom(6 << 20) for number in range(4)}
    for file, content in contents.items():
        (tmp_path / "files" / file).write_bytes(content)
    artifact = Artifact("net").add_dir(tmp_path / "files")
    with ThreadPoolExecutor(1) as threads:
        saved = threads.submit(upload_artifact, server.url, artifact)
        for kill in range(2):
            _wait_for_contents(root, kill + 1, saved)
            server.stop(signal.SIGKILL)
            for version in root.glob("artifacts/model/net/v[0-9]*"):  # its answer may not have arrived
                assert create_artifact_storage(root).lookup.find("net").has(int(version.name[1:]))
            server = serve(root, "--rate-limit", "off", "--port", str(port))
        assert saved.result(60) == 1
    storage = create_artifact_storage(root)
    folder = storage.download_artifact("net", "model", 1, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents
    assert list(verify(storage.lookup.artifacts())) == []


def _wait_for_contents(root: Path, count: int, saved: Future[int]) -> None:
    wait_until(lambda: len(list(root.glob("artifacts/.tmp/*/contents/*"))) >= count or saved.done(), "contents")


def test_limits_are_configured(serve: Serve) -> None:
    limits = {"RUNICORN_ARTIFACT_VERSION_BYTES": "1000", "RUNICORN_ARTIFACT_VERSION_FILES": "2"}
    server = serve(None, environment=limits)
    for count, size, status in ((2, 500, 200), (2, 501, 413), (3, 1, 413)):
        files = [("file", (str(number), b"x" * size)) for number in range(count)]
        assert server.http.post("/api/artifacts/net/versions", files=files).status_code == status
        listed = [{"path": str(n), "size": size, "digest": digest(str(n).encode())} for n in range(count)]
        assert server.http.post("/api/artifacts/net/uploads", json={"files": listed}).status_code == status
    assert len(server.http.get("/api/artifacts/net/versions").json()) == 1


def test_what_the_disk_has_no_room_for_is_refused_before_it_is_sent(serve: Serve) -> None:
    server = serve(None, environment={"RUNICORN_ARTIFACT_VERSION_BYTES": str(1 << 60)})
    server.root.mkdir(exist_ok=True)
    too_much = psutil.disk_usage(str(server.root)).total
    huge = {"path": "a", "size": too_much, "digest": digest(b"huge")}
    response = server.http.post("/api/artifacts/net/uploads", json={"files": [huge]})
    assert (response.status_code, response.json()) == (
        507, {"detail": "Not enough space left on the server's disk. Nothing was saved."},
    )  # fmt: skip
    headers = {"content-type": "multipart/form-data; boundary=b", "content-length": str(too_much)}
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        lines = ["POST /api/artifacts/net/versions HTTP/1.1", "host: localhost", *map(": ".join, headers.items())]
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        client.sendall(bytes(16 << 20))  # so much is read on, for clients that listen only when they have sent
        assert client.recv(1000).startswith(b"HTTP/1.1 507")
    assert list((server.root / "artifacts/.tmp").iterdir()) == []


def test_memory_does_not_grow_with_what_is_sent(world: World, name: str) -> None:
    piece = os.urandom(1 << 20)

    def memory() -> int:
        process = psutil.Process(world.server.process.pid)
        return max(p.memory_info().rss for p in [process, *process.children(recursive=True)])

    def form() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(200):
            yield piece
        yield b"\r\n--b--\r\n"

    before = memory()
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert world.send("POST", f"/{name}/versions", content=form(), headers=headers)["size_bytes"] == 200 << 20
    assert memory() - before < 60 << 20
    world.send("DELETE", f"/{name}/v1", params={"permanent": "true"})
