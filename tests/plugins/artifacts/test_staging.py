"""The staging area: whoever is at work in it is left alone, what was left is removed."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runicorn.artifacts import Artifact, ArtifactStorage
from runicorn_artifacts import copying, staging
from runicorn_artifacts.pool import FilePool, pool_of
from runicorn_artifacts.staging import check_nesting, remove_old, staging_folder
from runicorn_artifacts.uploads.draft import DeclaredFile, Draft
from runicorn_artifacts.uploads.errors import BeingCommitted, UploadNotFound
from runicorn_artifacts.uploads.upload import Upload
from tests.plugins.artifacts.conftest import Make, Save

LONG_AGO = time.time() - 25 * 3600


def age(area: Path) -> None:
    for path in area.iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))


def test_a_save_that_takes_days_is_not_taken_for_one_that_was_left(
    root: Path, storage: ArtifactStorage, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    area = root / "artifacts/.tmp"
    real = staging.copy_with_digest
    removed: list[int] = []

    def slow(source: Path, target: Path, progress: copying.Progress) -> copying.Copied:
        copied = real(source, target, progress)
        age(area)
        removed.append(remove_old(area))
        return copied

    monkeypatch.setattr(staging, "copy_with_digest", slow)
    artifact = Artifact("net").add_file(make("a", "1")).add_file(make("b", "2"))
    assert storage.save_artifact(artifact, "r1", *artifact.staged) == 1
    assert removed == [0, 0]
    assert list(area.iterdir()) == []


def _stay(area: Path, name: object) -> None:
    with staging_folder(area) as folder:
        name.send(folder.name)  # type: ignore[attr-defined]  # a double stands in
        threading.Event().wait()


def test_what_a_killed_process_worked_at_is_removed_after_a_day(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_stay, args=(tmp_path, theirs))
    process.start()
    folder = tmp_path / ".tmp" / ours.recv()
    age(tmp_path / ".tmp")
    assert remove_old(tmp_path / ".tmp") == 0
    process.kill()
    process.join()
    assert remove_old(tmp_path / ".tmp") == 1
    assert not folder.exists()


def test_a_place_for_the_copy_that_is_gone_is_not_called_a_source(
    root: Path, storage: ArtifactStorage, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = staging.copy_with_digest

    def gone(source: Path, target: Path, progress: copying.Progress) -> copying.Copied:
        return real(source, target.parent / "gone" / target.name, progress)

    monkeypatch.setattr(staging, "copy_with_digest", gone)
    artifact = Artifact("net").add_file(make())
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: .*gone/copy-0"):
        storage.save_artifact(artifact, "r1", *artifact.staged)


@pytest.mark.parametrize(
    ("paths", "refused"),
    [
        (["a/b", "a"], "a/b"), (["a", "a/b/c"], "a/b/c"), (["a/b", "a/b/c/d", "x"], "a/b/c/d"), (["a!", "a", "a/b"], "a/b"),
        (["a", "ab", "a.b/c", "a-b", "b/a", "A/b"], None), ([], None), (["a"], None),
    ],
)  # fmt: skip
def test_a_path_through_another_is_refused(paths: list[str], refused: str | None) -> None:
    if refused is None:
        check_nesting(paths)
        return
    with pytest.raises(ValueError, match=f"^Invalid artifact path: {refused}$"):
        check_nesting(paths)


class TestUpload:
    CONTENT = b"known to the pool"

    def begin(self, root: Path, save: Save) -> Upload:
        save(self.CONTENT.decode(), name="other")
        digest = f"sha256:{hashlib.sha256(self.CONTENT).hexdigest()}"
        draft = Draft(files=[DeclaredFile(path="a", size=len(self.CONTENT), digest=digest)])
        return Upload.begin(root, "model", "net", draft, pool_of(root))

    def test_a_second_commit_beside_a_slow_one_says_so_and_answers_the_same_later(
        self, root: Path, storage: ArtifactStorage, save: Save, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload = self.begin(root, save)
        begun, go_on = threading.Event(), threading.Event()

        class SlowPool(FilePool):
            def take(self, sha256: str, size: int, target: Path) -> bool:
                begun.set()
                assert go_on.wait(60)
                return super().take(sha256, size, target)

        monkeypatch.setattr("runicorn_artifacts.uploads.upload._LOCK_S", 0.05)
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(upload.commit, SlowPool(pool_of(root).directory))
            assert begun.wait(60)
            age(root / "artifacts/.tmp")
            again = Upload.open(root, "net", upload.upload_id)
            try:
                assert remove_old(root / "artifacts/.tmp") == 0
                for attempt in (lambda: again.commit(pool_of(root)), again.abandon):
                    with pytest.raises(BeingCommitted) as caught:
                        attempt()
                    assert dict(caught.value.extra) == {"committing": True}
            finally:
                go_on.set()
            assert first.result(60)[0].version == 1
        assert again.commit(pool_of(root))[0].version == 1
        assert [item.version for item in storage.list_versions("net")] == [1]

    def test_an_upload_that_was_forgotten_is_not_found(self, root: Path, save: Save) -> None:
        upload = self.begin(root, save)
        Upload.open(root, "net", upload.upload_id).abandon()
        with pytest.raises(UploadNotFound):
            upload.commit(pool_of(root))
        with pytest.raises(UploadNotFound):
            upload.abandon()
        assert list((root / "artifacts/.tmp").iterdir()) == []

    def test_an_upload_can_be_forgotten_where_no_file_can_be_made(self, root: Path, save: Save) -> None:
        upload = self.begin(root, save)
        os_open = os.open

        def existing(path: object, flags: int, *arguments: int, **options: int) -> int:
            return os_open(str(path), flags & ~os.O_CREAT, *arguments, **options)

        with pytest.MonkeyPatch.context() as full:
            full.setattr(os, "open", existing)
            upload.abandon()
        assert not upload.folder.exists()

    def test_a_version_is_one_also_while_what_was_sent_is_still_there(
        self, root: Path, save: Save, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        upload = self.begin(root, save)
        (upload.folder / "contents").mkdir()
        monkeypatch.setattr("runicorn_artifacts.uploads.upload.shutil.rmtree", lambda *_, **__: None)
        assert upload.version is None
        assert upload.commit(pool_of(root))[0].version == 1
        assert (upload.folder / "contents").exists()
        assert upload.version == 1
        assert upload.commit(pool_of(root))[0].version == 1
