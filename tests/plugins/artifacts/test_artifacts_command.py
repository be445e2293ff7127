"""`runicorn artifacts`."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from runicorn.artifacts import Artifact, ArtifactStorage
from tests.commands import runicorn
from tests.plugins.artifacts.conftest import Make, Save


def run(root: Path, action: str, *arguments: str, typed: str = "") -> tuple[int, str, str]:
    done = runicorn("artifacts", "--storage", root, "--action", action, *arguments, typed=typed)
    return done.returncode, done.stdout, done.stderr


def test_list(root: Path, save: Save) -> None:
    assert run(root / "none", "list") == (0, "No artifacts found.\n", "")
    assert not (root / "none").exists()
    save("x" * (3 << 20)), save("x" * (2 << 20)), save(name="data", type="dataset")
    status, out, _ = run(root, "list")
    assert (status, out.splitlines()[:4]) == (
        0, ["Found 2 artifact(s):", "", f"{'Name':<30} {'Type':<10} {'Versions':<10} {'Size':<15} {'Latest':<10}", "-" * 85],
    )  # fmt: skip
    assert f"{'net':<30} {'model':<10} {'2':<10} {'      2.00 MB':<15} {'v2':<10}" in out.splitlines()
    assert "net" not in run(root, "list", "--type", "dataset")[1]
    assert [item["name"] for item in json.loads(run(root, "list", "--json")[1])] == ["data", "net"]


def test_versions(root: Path, save: Save, storage: ArtifactStorage) -> None:
    save(run="20250114_150000_def456"), save()
    status, out, _ = run(root, "versions", "--name", "net")
    lines = out.splitlines()
    created = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(storage.list_versions("net")[0].created_at))
    assert (status, lines[0], lines[1], lines[3]) == (0, "Versions for net:", "", "-" * 90)
    assert lines[2] == f"{'Version':<10} {'Created':<25} {'Size':<15} {'Files':<8} Run"
    assert lines[4] == f"{'v1':<10} {created:<25} {'      0.00 MB':<15} {'1':<8} 20250114_150000_def4..."
    storage.delete_artifact_version("net", None, 1), storage.delete_artifact_version("net", None, 2)
    assert run(root, "versions", "--name", "net")[1] == "No versions found for artifact: net\n"
    assert "v2" in run(root, "versions", "--name", "net", "--include-deleted")[1]


def test_info(root: Path, storage: ArtifactStorage, make: Make) -> None:
    artifact = Artifact("net", description="a net", metadata={"acc": 0.5}).add_tags("good")
    for number in range(12):
        artifact.add_file(make(f"{number:02}.bin", "x" * 2048))
    storage.save_artifact(artifact, "r1", *artifact.staged)
    status, out, _ = run(root, "info", "--name", "net", "--version", "1")
    assert status == 0
    assert out.startswith(f"\nArtifact: net:v1\n{'=' * 60}\nType: model\nStatus: ready\nCreated: ")
    for line in ("Created by: r1", "Files: 12", "References: 0", "Description: a net", "Aliases: latest", "Tags: good",
                 "Metadata:", "  acc: 0.5", "Files (12):", "  00.bin (2.0 KB)", "  ... and 2 more files"):  # fmt: skip
        assert line in out.splitlines()
    assert "10.bin" not in out
    assert (
        json.loads(run(root, "info", "--name", "net", "--version", "1", "--json")[1])["manifest"]["total_files"] == 12
    )


def test_stored_text_cannot_control_the_terminal(root: Path, storage: ArtifactStorage, make: Make) -> None:
    for number in range(2):
        artifact = Artifact("net", description="a\x1b[2Jb\nStatus: ready", metadata={"k\x9b1m": "v\x07"})
        artifact.add_tags("t\x1bc").add_file(make(content=str(number)), f"w\x1b[1m{number}")
        storage.save_artifact(artifact, "r\x1b[2J", *artifact.staged)
    out = run(root, "info", "--name", "net", "--version", "1")[1]
    assert "Description: a\ufffd[2Jb Status: ready\n" in out
    assert "  k\ufffd1m: v\ufffd\n" in out
    assert "Tags: t\ufffdc\n" in out
    for path in (root / "artifacts/model/net/v1/files").iterdir():
        path.chmod(0o644)
        path.write_text("another")
    for shown in (
        out,
        run(root, "versions", "--name", "net")[1],
        run(root, "verify")[1],
        runicorn("artifacts", "diff", "net:v1", "net:v2", "--storage", root).stdout,
    ):
        assert "\ufffd[" in shown
        assert not any(control in shown for control in "\x1b\x9b\x07")


def test_delete_asks_first(root: Path, save: Save, storage: ArtifactStorage) -> None:
    save(), save()
    arguments = ("--name", "net", "--version", "1")
    for typed in ("n\n", "", "yes\n"):
        status, out, _ = run(root, "delete", *arguments, typed=typed)
        assert (status, re.sub(r"^Delete net:v1\? \[y/N\] \n?", "", out)) == (0, "Cancelled.\n")
    assert run(root, "delete", *arguments, typed="y\n")[:2] == (0, "Delete net:v1? [y/N] ✅ Soft deleted net:v1\n")
    assert run(root, "restore", *arguments)[:2] == (0, "✅ Restored net:v1\n")
    assert len(storage.list_versions("net")) == 2
    assert run(root, "delete", *arguments, "--permanent", "--yes")[:2] == (0, "✅ Permanently deleted net:v1\n")
    assert run(root, "delete", *arguments, "--yes") == (1, "", "Error: Version not found: net:v1\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("versions",), "Error: --name is required for 'versions' action\n"),
        (("info", "--name", "net"), "Error: --name and --version are required for 'info' action\n"),
        (("info", "--name", "no", "--version", "1"), "Error: Artifact not found: no\n"),
        (("info", "--name", "net", "--version", "0"), "Error: Version not found: net:v0\n"),
        (("versions", "--name", "net", "--type", "dataset"), "Error: Artifact not found: net (type=dataset)\n"),
        (("versions", "--name", "../net"), "Error: Artifact not found: ../net\n"),
    ],
)
def test_failures_are_one_line(root: Path, save: Save, arguments: tuple[str, ...], text: str) -> None:
    save()
    assert run(root, *arguments) == (1, "", text)


def test_wrong_usage_is_status_2(root: Path) -> None:
    assert run(root, "dance")[0] == 2
    assert run(root, "info", "--version", "one")[0] == 2


def test_stats(root: Path, save: Save) -> None:
    save(), save()
    status, out, _ = run(root, "stats")
    assert (status, out.splitlines()[0]) == (0, "Artifact Storage Statistics")
    assert "  Dedup Ratio: 50.0%" in out
    assert "  model: 1 artifacts, 2 versions, 0.00 GB" in out
    assert json.loads(run(root, "stats", "--json")[1])["total_versions"] == 2


def test_verify_reads_everything_again(root: Path, save: Save) -> None:
    save("good"), save("same size")
    assert run(root, "verify")[0] == 0
    damaged = root / "artifacts/model/net/v2/files/weights.bin"
    damaged.chmod(0o644)
    damaged.write_text("another!!")
    status, out, err = run(root, "verify", "--name", "net")
    assert (status, out) == (1, "model/net:v2: files/weights.bin: another content\n")
    assert err == "2 versions checked: 1 problems.\n"
    assert run(root, "verify", "--name", "net", "--version", "1")[0] == 0
    [problem] = json.loads(run(root, "verify", "--json")[1])
    assert problem["artifact"] == "model/net:v2"


def test_gc_tells_first_and_then_removes(root: Path, save: Save) -> None:
    save()
    orphan = root / "artifacts/.dedup/ab" / ("ab" * 32)
    orphan.parent.mkdir()
    orphan.write_text("x" * 100)
    assert run(root, "gc", "--dry-run")[1] == "Would remove 1 unused contents (0.00 MB).\n"
    assert orphan.exists()
    assert run(root, "gc")[1] == "Removed 1 unused contents (0.00 MB).\n"
    assert json.loads(run(root, "gc", "--json")[1]) == {"contents": 0, "bytes": 0, "left": 0, "dry_run": False}
