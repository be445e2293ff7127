"""What `events verify` says about the files of artifacts."""

from __future__ import annotations

from pathlib import Path

from runicorn.events.side_files import verify_side_files


def test_damaged_and_absent_files_of_artifacts_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts" / "model" / "net"
    for version in ("v1", "v2"):
        (folder / version).mkdir(parents=True)
        for file in ("metadata.json", "manifest.json"):
            (folder / version / file).write_text("{}")
    (tmp_path / "artifacts" / "model" / "empty").mkdir()
    (tmp_path / "artifacts" / ".dedup" / "ab").mkdir(parents=True)
    (folder / "v2" / "manifest.json").write_text("[]")
    problems = {problem.stream: problem.reason for problem in verify_side_files(tmp_path)}
    assert problems == {
        "artifacts/model/net/versions.json": "missing",
        "artifacts/model/net/v2/manifest.json": "not a JSON object",
    }
    (folder / "versions.json").write_text("{")
    (folder / "v2" / "manifest.json").write_text("{}")
    assert [problem.reason for problem in verify_side_files(tmp_path)] == ["not JSON"]
