"""Copies of versions for users: whole and as they were saved, or not at all."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from runicorn.artifacts import Artifact, ArtifactStorage
from tests.plugins.artifacts.conftest import Make

DAMAGED = "File of net:v1 is missing or damaged: w.bin"


@pytest.fixture
def stored(storage: ArtifactStorage, make: Make) -> Artifact:
    """A version with the files `a.bin` and `w.bin`."""
    artifact = Artifact("net").add_file(make("a.bin", "sound")).add_file(make("w.bin", "good content"))
    storage.save_artifact(artifact, "r1", *artifact.staged)
    return artifact


def tamper(artifact: Artifact, content: str) -> None:
    path = artifact.get_file_path("w.bin")
    assert path is not None
    path.chmod(0o644)
    path.write_text(content)


def files_in(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_tampered_file_of_the_same_size_is_not_handed_out(stored: Artifact, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "w.bin").write_text("of the user")
    tamper(stored, "evil content")
    with pytest.raises(FileNotFoundError, match=f"^{DAMAGED}$"):
        stored.download(target)
    assert files_in(target) == {"a.bin": "sound", "w.bin": "of the user"}


def test_the_command_tells_of_a_tampered_file_and_does_not_hand_it_out(
    stored: Artifact, root: Path, tmp_path: Path
) -> None:
    tamper(stored, "evil content")
    command = [sys.executable, "-m", "runicorn", "artifacts", "download", "net:v1", "--to", str(tmp_path / "target")]
    done = subprocess.run([*command, "--storage", str(root)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: {DAMAGED}\n")
    assert files_in(tmp_path / "target") == {"a.bin": "sound"}


@pytest.mark.parametrize("way", ["changed", "gone"])
def test_of_a_version_with_another_manifest_nothing_is_copied(
    stored: Artifact, root: Path, tmp_path: Path, way: str
) -> None:
    """A file that is not the one that was saved, and a manifest that agrees with it."""
    manifest = root / "artifacts/model/net/v1/manifest.json"
    if way == "changed":
        tamper(stored, "evil content")
        digests = [hashlib.sha256(text).hexdigest().encode() for text in (b"good content", b"evil content")]
        manifest.write_bytes(manifest.read_bytes().replace(*digests))
    else:
        manifest.unlink()
    text = "Manifest of net:v1 is missing or damaged"
    with pytest.raises(FileNotFoundError, match=f"^{text}$"):
        stored.download(tmp_path / "target")
    command = [sys.executable, "-m", "runicorn", "artifacts", "download", "net:v1", "--to", str(tmp_path / "target")]
    done = subprocess.run([*command, "--storage", str(root)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: {text}\n")
    assert not (tmp_path / "target").exists()


def test_of_a_version_that_lacks_a_file_nothing_is_copied(stored: Artifact, tmp_path: Path) -> None:
    tamper(stored, "short")
    with pytest.raises(FileNotFoundError, match=f"^{DAMAGED}$"):
        stored.download(tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_directory_in_the_place_of_a_file_is_kept_and_nothing_is_copied(stored: Artifact, tmp_path: Path) -> None:
    kept = tmp_path / "target" / "w.bin" / "keep"
    kept.parent.mkdir(parents=True)
    kept.write_text("of the user")
    with pytest.raises(IsADirectoryError, match=r"^A directory is where w\.bin of net:v1 goes: move it away"):
        stored.download(tmp_path / "target")
    assert files_in(tmp_path / "target") == {"w.bin/keep": "of the user"}


def test_a_link_to_a_directory_is_replaced_and_the_directory_kept(stored: Artifact, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "keep").write_text("of the user")
    (tmp_path / "target" / "w.bin").symlink_to(tmp_path / "elsewhere")
    stored.download(tmp_path / "target")
    assert files_in(tmp_path / "target") == {"a.bin": "sound", "w.bin": "good content"}
    assert files_in(tmp_path / "elsewhere") == {"keep": "of the user"}
