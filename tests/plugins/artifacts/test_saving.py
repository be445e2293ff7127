"""Saving versions: complete or not at all, each content once, numbers never twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runicorn.artifacts import Artifact, ArtifactStorage, ArtifactType, ReferenceEntry
from runicorn_artifacts import changing, copying, pool
from tests.plugins.artifacts.conftest import Make, Save
from tests.terminal import python_on_terminal


def index_of(root: Path, name: str = "net", type: str = "model") -> dict[str, Any]:
    return json.loads((root / "artifacts" / type / name / "versions.json").read_text())


def pool_files(root: Path) -> dict[str, Path]:
    return {path.name: path for path in (root / "artifacts" / ".dedup").rglob("*") if path.is_file()}


def everything(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if ".tmp/" not in path.as_posix()}


def log(storage: ArtifactStorage, artifact: Artifact) -> int:
    return storage.save_artifact(artifact, "r1", *artifact.staged)


def test_files_on_disk_are_those_of_the_layout(root: Path, storage: ArtifactStorage, make: Make) -> None:
    artifact = Artifact("net", "model", "a net", {"acc": 0.5, "bad": float("nan")})
    artifact.add_file(make("w.bin", "abc"), "deep/w.bin").add_reference("s3://b/c", "sha256:1", 1000, "c", region="eu")
    artifact.add_tags("good")
    assert log(storage, artifact) == 1
    folder = root / "artifacts" / "model" / "net"
    assert everything(folder) == {
        ".lock", "events.jsonl", "versions.json", "v1", "v1/files", "v1/files/deep", "v1/files/deep/w.bin",
        "v1/manifest.json", "v1/metadata.json",
    }  # fmt: skip
    manifest = json.loads((folder / "v1" / "manifest.json").read_text())
    digest = hashlib.sha256(b"abc").hexdigest()
    assert list(manifest) == ["files", "references", "total_size", "total_files", "total_references", "created_at"]
    modified = make("w.bin", "abc").stat().st_mtime
    assert manifest["files"][0] | {"modified_at": modified} == {
        "path": "deep/w.bin", "size": 3, "digest": f"sha256:{digest}", "modified_at": modified,
    }  # fmt: skip
    assert manifest["references"] == [
        {"uri": "s3://b/c", "checksum": "sha256:1", "size": 1000, "metadata": {"region": "eu", "name": "c"}}
    ]
    assert (manifest["total_size"], manifest["total_files"], manifest["total_references"]) == (1003, 1, 1)
    metadata = json.loads((folder / "v1" / "metadata.json").read_text())
    created = metadata["created_at"]
    assert metadata == {
        "name": "net", "type": "model", "version": 1, "created_at": created, "updated_at": created,
        "created_by_run": "r1", "created_by_user": None, "size_bytes": 1003, "num_files": 1, "num_references": 1,
        "status": "ready", "metadata": {"acc": 0.5, "bad": None}, "description": "a net", "tags": ["good"],
        "aliases": ["latest"], "parent_artifacts": [],
        "manifest_digest": hashlib.sha256((folder / "v1" / "manifest.json").read_bytes()).hexdigest(),
    }  # fmt: skip
    assert index_of(root) == {
        "artifact_name": "net", "artifact_type": "model",
        "versions": [{"version": 1, "created_at": created, "created_by_run": "r1", "size_bytes": 1003, "num_files": 1,
                      "status": "ready", "aliases": ["latest"]}],
        "aliases": {"latest": 1}, "created_at": created, "updated_at": created, "next_version": 2,
    }  # fmt: skip
    assert set(pool_files(root)) == {digest}
    assert os.path.samefile(pool_files(root)[digest], folder / "v1" / "files" / "deep" / "w.bin")
    assert list((root / "artifacts" / ".tmp").iterdir()) == []


def test_index_files_are_readable_to_others_and_contents_to_nobody_writable(root: Path, save: Save) -> None:
    before = os.umask(0o022)
    try:
        save()
    finally:
        os.umask(before)
    folder = root / "artifacts" / "model" / "net"
    modes = {name: (folder / name).stat().st_mode & 0o777 for name in ("versions.json", "v1/metadata.json")}
    assert set(modes.values()) == {0o644}
    assert (folder / "v1" / "files" / "weights.bin").stat().st_mode & 0o777 == 0o444


def test_a_program_stays_executable(root: Path, storage: ArtifactStorage, make: Make) -> None:
    script = make("run.sh", "#!/bin/sh\n")
    script.chmod(0o755)
    log(storage, Artifact("tool", "code").add_file(script))
    assert (root / "artifacts/code/tool/v1/files/run.sh").stat().st_mode & 0o777 == 0o555
    script.write_text("#!/bin/sh\n# the source can still be changed\n")


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        (lambda a, make: a, "Artifact has no files or references to save"),
        (lambda a, make: a.add_file(make(), "../x"), "Invalid artifact path (contains '..'): ../x"),
        (lambda a, make: a.add_file(make(), "/abs"), "Invalid artifact path (absolute): /abs"),
        (lambda a, make: a.add_file(make(), "a//b"), "Invalid artifact path: a//b"),
        (lambda a, make: a.add_file(make(), "./b"), "Invalid artifact path: ./b"),
        (lambda a, make: a.add_file(make(), "a\\b"), "Invalid artifact path: a\\b"),
        (lambda a, make: a.add_file(make(), "a\0b"), "Invalid artifact path: a\0b"),
        (lambda a, make: a.add_file(make(), "a/" + "é" * 128), "Invalid artifact path (too long): a/" + "é" * 126),
        (lambda a, make: a.add_file(make(), "a").add_file(make(), "a/b"), "Invalid artifact path: a/b"),
    ],
)  # fmt: skip
def test_a_refused_save_leaves_no_trace(root: Path, storage: ArtifactStorage, make: Make, refused: Any, text: str):
    before = everything(root)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        log(storage, refused(Artifact("net"), make))
    assert str(caught.value) == text
    assert everything(root) == before


def test_metadata_that_is_no_json_is_refused_and_named(root: Path, storage: ArtifactStorage, make: Make) -> None:
    before = everything(root)
    with pytest.raises(TypeError, match="weights"):
        log(storage, Artifact("net", metadata={"fine": 1, "weights": {1, 2}}).add_file(make()))
    assert everything(root) == before


def test_a_source_that_is_gone_is_named(root: Path, storage: ArtifactStorage, make: Make) -> None:
    artifact = Artifact("net").add_file(make("a", "1")).add_file(make("b", "2"))
    make("b").unlink()
    before = everything(root)
    with pytest.raises(FileNotFoundError, match=r"^Source file not found: .*/b$"):
        log(storage, artifact)
    assert everything(root) == before
    make("b", "back")
    assert log(storage, artifact) == 1


def test_the_same_object_makes_two_versions(storage: ArtifactStorage, make: Make) -> None:
    artifact = Artifact("net").add_file(make())
    assert [log(storage, artifact), log(storage, artifact)] == [1, 2]
    assert artifact.full_name == "net:v2"


@pytest.mark.parametrize("name", ["n" * 200, "a..b", ".hidden", "with space", "é漢", "a:b", "-rf"])
def test_unusual_file_names_can_be_stored(storage: ArtifactStorage, make: Make, name: str) -> None:
    artifact = Artifact("net").add_file(make(name, "content"))
    log(storage, artifact)
    path = artifact.get_file_path(name)
    assert path is not None
    assert path.read_text() == "content"


def test_custom_types_and_names_beyond_ascii_are_legal(storage: ArtifactStorage, save: Save) -> None:
    save(name="Netz für Bilder", type="网络")
    assert storage.load_artifact("Netz für Bilder")[0].type == "网络"
    assert [item["type"] for item in storage.list_artifacts()] == ["网络"]


def test_references_alone_make_a_version(storage: ArtifactStorage) -> None:
    artifact = Artifact("raw", ArtifactType.DATASET).add_reference("s3://b/raw.tar", size=150 << 30)
    assert log(storage, artifact) == 1
    assert artifact.get_references() == [ReferenceEntry("s3://b/raw.tar", None, 150 << 30, {})]
    stats = storage.get_storage_stats()
    assert (stats["total_size_bytes"], stats["reference_size_bytes"]) == (150 << 30, 150 << 30)
    assert (stats["space_saved_bytes"], stats["dedup_ratio"], stats["total_files"]) == (0, 0, 0)


class TestNumbers:
    def test_threads_get_all_numbers_once(self, root: Path, storage: ArtifactStorage, make: Make) -> None:
        stop = threading.Event()
        unreadable: list[str] = []

        def watch() -> None:
            while not stop.is_set():
                try:
                    json.loads((root / "artifacts/model/net/versions.json").read_text())
                except FileNotFoundError:
                    pass
                except ValueError as error:
                    unreadable.append(str(error))

        def save(number: int) -> int:
            return log(storage, Artifact("net").add_file(make(f"{number}.bin", str(number))))

        watcher = threading.Thread(target=watch)
        watcher.start()
        with ThreadPoolExecutor(8) as executor:
            numbers = list(executor.map(save, range(24)))
        stop.set()
        watcher.join()
        assert sorted(numbers) == list(range(1, 25))
        assert [item["version"] for item in index_of(root)["versions"]] == list(range(1, 25))
        assert unreadable == []

    @pytest.mark.parametrize("gone", [[2], [3], [1, 2, 3]])
    def test_numbers_are_never_used_again(self, root: Path, save: Save, storage: ArtifactStorage, gone: list[int]):
        assert [save(), save(), save()] == [1, 2, 3]
        for version in gone:
            assert storage.delete_artifact_version("net", "model", version, soft_delete=False)
        assert save() == 4
        assert [item["version"] for item in index_of(root)["versions"]] == sorted({1, 2, 3, 4} - set(gone))

    def test_numbers_of_purged_versions_are_known_without_next_version(
        self, root: Path, save: Save, storage: ArtifactStorage
    ) -> None:
        save(), save()
        storage.delete_artifact_version("net", "model", 2, soft_delete=False)
        index = index_of(root)
        del index["next_version"]  # as after a change by 0.4.0
        (root / "artifacts/model/net/versions.json").write_text(json.dumps(index))
        assert save() == 3

    def test_an_alias_without_its_version_reserves_the_number(self, root: Path, save: Save) -> None:
        save()
        index = index_of(root)
        del index["next_version"]
        index["aliases"]["good"] = 7
        (root / "artifacts/model/net/versions.json").write_text(json.dumps(index))
        assert save() == 8

    def test_without_a_readable_index_nothing_is_lost(self, root: Path, save: Save) -> None:
        save(), save()
        (root / "artifacts/model/net/versions.json").write_text("{")
        assert save() == 3
        assert [item["version"] for item in index_of(root)["versions"]] == [1, 2, 3]


class TestForeignFolders:
    def test_a_folder_in_the_place_of_the_next_version_is_left_alone(self, root: Path, save: Save) -> None:
        save()
        foreign = root / "artifacts/model/net/v2"
        foreign.mkdir()
        with pytest.raises(RuntimeError, match=r"^Version v2 already exists for net$"):
            save()
        assert list(foreign.iterdir()) == []
        assert [item["version"] for item in index_of(root)["versions"]] == [1]

    def test_a_complete_version_that_the_index_lacks_is_taken_in(self, root: Path, save: Save) -> None:
        save(), save("other")
        index = index_of(root)
        index["versions"] = index["versions"][:1]
        index |= {"aliases": {"latest": 1}, "next_version": 2}
        (root / "artifacts/model/net/versions.json").write_text(json.dumps(index))
        assert save() == 3
        assert [item["version"] for item in index_of(root)["versions"]] == [1, 2, 3]

    def test_an_artifact_of_0_4_0_on_an_old_python_goes_on_where_it_is(self, root: Path, save: Save) -> None:
        save()
        (root / "artifacts/model").rename(root / "artifacts/ArtifactType.MODEL")
        assert save() == 2
        assert not (root / "artifacts/model").exists()


class TestPool:
    def test_the_same_content_is_stored_once(self, root: Path, save: Save, storage: ArtifactStorage) -> None:
        save("same"), save("same"), save("same", name="other", type="dataset")
        assert len(pool_files(root)) == 1
        stats = storage.get_storage_stats()
        assert (stats["dedup_pool_size_bytes"], stats["space_saved_bytes"]) == (4, 8)
        assert stats["dedup_ratio"] == pytest.approx(2 / 3)

    def test_a_damaged_file_of_the_pool_is_replaced(self, root: Path, save: Save) -> None:
        save("good content")
        [damaged] = pool_files(root).values()
        damaged.chmod(0o644)
        damaged.write_text("BAD! content")
        save("good content")
        assert (root / "artifacts/model/net/v2/files/weights.bin").read_text() == "good content"
        assert damaged.read_text() == "good content"

    @pytest.mark.parametrize("links", [False, True])
    def test_without_hard_links_versions_have_copies(
        self, root: Path, save: Save, storage: ArtifactStorage, monkeypatch: pytest.MonkeyPatch, links: bool
    ) -> None:
        if not links:
            monkeypatch.setattr(pool, "_link", lambda source, target: False)
        save("same"), save("same")
        paths = [root / f"artifacts/model/net/v{version}/files/weights.bin" for version in (1, 2)]
        assert [path.read_text() for path in paths] == ["same", "same"]
        assert os.path.samefile(*paths) == links
        assert list(pool_files(root)) == [hashlib.sha256(b"same").hexdigest()]
        assert storage.delete_artifact_version("net", "model", 1, soft_delete=False)
        assert paths[1].read_text() == "same"

    def test_a_cleanup_between_check_and_link_costs_nothing(
        self, root: Path, save: Save, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save("same")
        real, calls = pool._link, []

        def link(source: Path, target: Path) -> bool:
            calls.append(source)
            if len(calls) == 1:
                shutil.rmtree(source.parent)
            return real(source, target)

        monkeypatch.setattr(pool, "_link", link)
        save("same")
        assert (root / "artifacts/model/net/v2/files/weights.bin").read_text() == "same"
        assert len(pool_files(root)) == 1

    def test_without_a_pool_every_version_has_its_own(self, root: Path, make: Make) -> None:
        storage = ArtifactStorage(root, enable_dedup=False)
        assert storage.dedup_pool is None
        for _ in range(2):
            log(storage, Artifact("net").add_file(make()))
        assert not (root / "artifacts" / ".dedup").exists()
        assert storage.get_storage_stats()["space_saved_bytes"] == 0

    def test_one_file_can_be_stored_outside(self, storage: ArtifactStorage, make: Make, tmp_path: Path) -> None:
        entry = storage._store_file(make(content="abc"), "in/side.bin", tmp_path / "elsewhere")
        digest = hashlib.sha256(b"abc").hexdigest()
        assert (entry.path, entry.size, entry.digest) == ("in/side.bin", 3, f"sha256:{digest}")
        assert (tmp_path / "elsewhere/in/side.bin").read_text() == "abc"
        assert storage.dedup_pool is not None
        assert (storage.dedup_pool / digest[:2] / digest).read_text() == "abc"
        assert storage._compute_file_hash(make(content="abc")) == digest


def test_a_file_that_changes_while_it_is_copied_is_copied_again(
    storage: ArtifactStorage, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = make(content="first")
    real, times = copying._copy, []

    def copy(*arguments: Any) -> Any:
        times.append(1)
        if len(times) < limits[0]:
            source.write_text("x" * (len(times) + 10))
        return real(*arguments)

    monkeypatch.setattr(copying, "_copy", copy)
    monkeypatch.setattr(copying, "_clone", lambda source, out: False)
    limits: list[int] = []
    for changes, warned in ((2, False), (99, True)):
        times.clear()
        limits[:] = [changes]
        artifact = Artifact("net").add_file(source)
        log(storage, artifact)
        manifest, path = artifact.get_manifest(), artifact.get_file_path("weights.bin")
        assert manifest is not None
        assert path is not None
        assert manifest.files[0].digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        assert ("changes while it is saved" in caplog.text) == warned


def test_files_are_hashed_in_several_threads_at_once(
    storage: ArtifactStorage, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    real, both = copying._copy_once, threading.Barrier(2, timeout=60)

    def copy_once(*arguments: Any) -> Any:
        both.wait()  # broken, unless another file is on its way, too
        return real(*arguments)

    monkeypatch.setattr(copying, "_copy_once", copy_once)
    artifact = Artifact("net")
    for number in range(4):
        artifact.add_file(make(f"{number}.bin", f"content {number}"))
    assert log(storage, artifact) == 1


def test_where_blocks_can_be_shared_they_are_and_what_the_copy_holds_is_hashed(
    storage: ArtifactStorage, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file systems of test machines cannot: the answer of the kernel is played."""
    cloned: list[int] = []

    def ioctl(out: int, request: int, source: int) -> int:
        assert request == 0x40049409  # FICLONE
        assert os.sendfile(out, source, 0, 1 << 20) == 7
        cloned.append(request)
        return 0

    monkeypatch.setattr(copying.fcntl, "ioctl", ioctl)
    monkeypatch.setattr(copying, "_copy", None)  # nothing is read and written
    artifact = Artifact("net").add_file(make(content="weights"))
    log(storage, artifact)
    manifest = artifact.get_manifest()
    assert manifest is not None
    assert manifest.files[0].sha256 == hashlib.sha256(b"weights").hexdigest()
    assert (artifact.download() / "weights.bin").read_text() == "weights"
    assert len(cloned) == 2  # in, and out


def test_a_long_save_shows_a_bar_on_a_terminal_and_a_short_one_none(root: Path, make: Make) -> None:
    source = make(content=b"x" * 5_000_000)
    script = "import sys; from runicorn_artifacts import staging; from runicorn.artifacts import *; "
    script += "staging._SHOW_AFTER_S = float(sys.argv[3]); a = Artifact('net').add_file(sys.argv[2]); "
    script += "print('v', create_artifact_storage(sys.argv[1]).save_artifact(a, '', *a.staged))"
    shown = [python_on_terminal("-c", script, str(root), str(source), after) for after in ("-1", "1e9")]
    assert ["Saving artifact" in text for text in shown] == [True, False]
    assert "5.0/5.0 MB" in shown[0]
    assert ["v 1" in shown[0], "v 2" in shown[1]] == [True, True]


def test_the_next_version_costs_no_look_at_the_others(root: Path, save: Save) -> None:
    looks: list[str] = []

    def note(frame: object, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ in ("stat", "lstat", "open", "scandir", "listdir"):
            looks.append(called.__name__)

    def looks_of_a_save() -> list[str]:
        looks.clear()
        sys.setprofile(note)
        try:
            save()
        finally:
            sys.setprofile(None)
        return looks.copy()

    save(), save()
    few = looks_of_a_save()
    for _ in range(20):
        save()
    assert len(few) > 10
    assert looks_of_a_save() == few
    assert index_of(root)["aliases"] == {"latest": 24}


def test_a_deletion_that_only_its_marker_tells_is_in_the_index_after_a_change_that_looks(
    root: Path, storage: ArtifactStorage, save: Save
) -> None:
    save(), save()
    (root / "artifacts/model/net/v1/.deleted").write_text("")
    save()
    assert [item.version for item in storage.list_versions("net")] == [2, 3]
    assert storage.delete_artifact_version("net", "model", 2)
    assert [item["status"] for item in index_of(root)["versions"]] == ["deleted", "deleted", "ready"]


def test_a_lock_that_is_held_is_waited_for_and_then_named(root: Path, save: Save, storage: ArtifactStorage) -> None:
    from filelock import FileLock

    save()
    with FileLock(root / "artifacts/model/net/.lock"):
        folder = storage.lookup.find("net")
        held = changing.changing(folder, timeout_s=0.05)
        with pytest.raises(TimeoutError, match=r"^Could not lock artifact net within 0.05 s$"), held:
            pass


def test_what_killed_processes_left_is_removed_after_a_day(root: Path, save: Save) -> None:
    staging = root / "artifacts" / ".tmp"
    for name, age_s in (("old", 25 * 3600), ("young", 3600)):
        (staging / name / "files").mkdir(parents=True)
        os.utime(staging / name, (time.time() - age_s,) * 2)
    save()
    assert [path.name for path in staging.iterdir()] == ["young"]


def test_an_event_that_cannot_be_recorded_leaves_nothing(
    root: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(changing, "append_artifact_events", fail)
        with pytest.raises(OSError, match="No space"):
            save()
    assert sorted(path.name for path in (root / "artifacts/model/net").glob("v*")) == ["v1", "versions.json"]
    assert save() == 2


def test_no_descriptor_stays_open(save: Save) -> None:
    save()
    before = set(os.listdir("/proc/self/fd"))
    save("more")
    assert set(os.listdir("/proc/self/fd")) == before
