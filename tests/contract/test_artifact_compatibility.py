"""Artifacts of the published 0.4.0 and ours in one store: each reads what the other writes, and goes on from there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import runicorn as rn
from runicorn.artifacts import Artifact, create_artifact_storage
from runicorn_artifacts import promoting
from runicorn_artifacts.verifying import verify
from tests.contract.test_compatibility import Serve, environment, old_python, serve
from tests.recorded import wait_until_live
from tests.serving import wait_until

__all__ = ["environment", "old_python", "serve"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LOGS = """
import sys
import runicorn as rn
root, content = sys.argv[1:]
path = root + "/../theirs.bin"
open(path, "w").write(content)
run = rn.init(project="vision", name="old", storage=root)
artifact = rn.Artifact("net", type="model")
artifact.add_file(path)
artifact.add_metadata({"by": "0.4.0"})
print(run.log_artifact(artifact))
rn.finish()
"""
READS = """
import json, sys
import runicorn as rn
root = sys.argv[1]
run = rn.init(project="vision", name="old", storage=root)
found = {}
for spec in sys.argv[2:]:
    artifact = run.use_artifact("net:" + spec)
    files = sorted(p for p in artifact.download().rglob("*") if p.is_file())
    found[spec] = [artifact.version, artifact.get_metadata().metadata, [p.read_text() for p in files]]
print(json.dumps(found))
rn.finish()
"""


def theirs(python: Path, environment: dict[str, str], script: str, *arguments: str) -> str:
    """The last line that a script prints which runs with 0.4.0."""
    done = subprocess.run(
        [python, "-c", script, *arguments], capture_output=True, text=True, timeout=100, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def log(root: Path, content: str) -> int:
    source = root.parent / "ours.bin"
    source.write_text(content)
    with rn.Run("vision", str(root), None, "ours", capture_env=False) as run:
        return run.log_artifact(Artifact("net", metadata={"by": "ours"}).add_file(source))


def test_versions_of_both_alternate_show_within_two_seconds_and_each_reads_all(
    old_python: Path, environment: dict[str, str], tmp_path: Path, serve: Serve
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    server = serve(root, "--rate-limit", "off")
    wait_until_live(server)

    def served() -> list[tuple[int, list[str]]]:
        answer = server.http.get("/api/artifacts/net/versions")
        return [(item["version"], item["aliases"]) for item in answer.json()] if answer.status_code == 200 else []

    assert theirs(old_python, environment, LOGS, str(root), "one") == "1"
    wait_until(lambda: served() == [(1, ["latest"])], "the first version of 0.4.0", timeout_s=2)
    assert log(root, "two") == 2
    assert theirs(old_python, environment, LOGS, str(root), "three") == "3"
    wait_until(lambda: served() == [(1, []), (2, []), (3, ["latest"])], "its second version", timeout_s=2)
    assert log(root, "two") == 4

    storage = create_artifact_storage(root)
    folder = storage.lookup.find("net")
    for stage in ("staging", "production"):
        promoting.promote(folder, 2, stage)
    read: dict[str, Any] = json.loads(
        theirs(old_python, environment, READS, str(root), "v1", "v2", "v3", "latest", "production")
    )
    old, ours = {"by": "0.4.0"}, {"by": "ours"}
    assert read == {
        "v1": [1, old, ["one"]],
        "v2": [2, ours, ["two"]],
        "v3": [3, old, ["three"]],
        "latest": [4, ours, ["two"]],
        "production": [2, ours, ["two"]],
    }

    with rn.Run("vision", str(root), None, "reader", capture_env=False) as run:
        for number, content in ((1, "one"), (3, "three")):
            artifact = run.use_artifact(f"net:v{number}")
            [path] = [path for path in artifact.download(tmp_path / f"v{number}").rglob("*") if path.is_file()]
            assert path.read_text() == content
    assert list(verify(storage.lookup.artifacts())) == []

    expected: list[tuple[int, list[str]]] = [(1, []), (2, ["production"]), (3, []), (4, ["latest"])]
    wait_until(lambda: served() == expected, "the versions of both")


def test_after_a_purge_0_4_0_refuses_to_save_and_nothing_is_overwritten(
    old_python: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """It takes the number of versions for the highest number: a limit of 0.4.0 that we can't lift."""
    root = tmp_path / "root"
    root.mkdir()
    assert [log(root, content) for content in ("one", "two", "three")] == [1, 2, 3]
    storage = create_artifact_storage(root)
    assert storage.delete_artifact_version("net", "model", 2, soft_delete=False)
    with pytest.raises(AssertionError, match="Version v3 already exists for net"):
        theirs(old_python, environment, LOGS, str(root), "four")
    assert list(verify(storage.lookup.artifacts())) == []
    assert log(root, "five") == 4
    assert [item.version for item in storage.list_versions("net")] == [1, 3, 4]


def test_0_4_0_uses_the_number_of_a_purged_last_version_again_and_ours_goes_on_above_it(
    old_python: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    assert [log(root, content) for content in ("one", "two")] == [1, 2]
    storage = create_artifact_storage(root)
    assert storage.delete_artifact_version("net", "model", 2, soft_delete=False)
    assert theirs(old_python, environment, LOGS, str(root), "again") == "2"
    assert log(root, "three") == 3
    assert [item.version for item in storage.list_versions("net")] == [1, 2, 3]
    assert list(verify(storage.lookup.artifacts())) == []
