"""Artifacts under many processes, and under SIGKILL at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

import runicorn as rn
from runicorn.artifacts import create_artifact_storage
from runicorn_artifacts.verifying import verify
from tests.projecting import InProcess
from tests.serving import wait_until

SAVER = """
import sys
import runicorn as rn
from pathlib import Path
root, number, versions = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
files = root.parent / f"files-{number}"
files.mkdir(exist_ok=True)
run = rn.init("p", storage=root, capture_env=False)
for turn in range(versions):
    for file in range(3):
        (files / f"{file}.bin").write_bytes(f"{number} {turn} {file}".encode() * (500 * file + 1))
    (files / "shared.bin").write_bytes(b"the same everywhere")
    print(run.log_artifact(rn.Artifact("net", metadata={"turn": turn}).add_dir(files)), flush=True)
rn.finish()
"""


def saver(root: Path, number: int, versions: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SAVER, str(root), str(number), str(versions)], stdout=subprocess.PIPE, text=True
    )


def test_eight_processes_at_once_get_all_numbers_once(tmp_path: Path) -> None:
    root = tmp_path / "root"
    processes = [saver(root, number, 10) for number in range(8)]
    numbers = [int(line) for process in processes for line in process.communicate(timeout=100)[0].split()]
    assert sorted(numbers) == list(range(1, 81))
    storage = create_artifact_storage(root)
    assert [item.version for item in storage.list_versions("net")] == list(range(1, 81))
    with rn.Run("p", str(root), None, "reader", capture_env=False) as run:
        assert run.use_artifact("net:latest").version == 80
    assert {item.version: item.aliases for item in storage.list_versions("net") if item.aliases} == {80: ["latest"]}
    assert list(verify(storage.lookup.artifacts())) == []
    assert storage.cleanup_orphaned_dedup() == 0
    assert list((root / "artifacts/.tmp").iterdir()) == []


def test_a_save_that_is_begun_anew_after_a_kill_stores_no_content_again(tmp_path: Path) -> None:
    root = tmp_path / "root"

    def pool() -> dict[str, int]:
        files = (path for path in (root / "artifacts/.dedup").rglob("*") if path.is_file())
        return {path.name: path.stat().st_ino for path in files}

    assert saver(root, 0, 1).communicate(timeout=100)[0] == "1\n"
    assert len(pool()) == 4
    with FileLock(root / "artifacts/model/net/.lock"):  # so it has stored everything, and gets no number
        process = saver(root, 1, 1)
        try:
            wait_until(lambda: len(pool()) == 7, "all contents in the pool", timeout_s=60)
        finally:
            process.kill()
            process.communicate()
    _check(root, {1})
    kept = pool()
    assert saver(root, 1, 1).communicate(timeout=100)[0] == "2\n"
    assert pool() == kept
    files = (root / "artifacts/model/net/v2/files").iterdir()
    assert {path.stat().st_ino for path in files} <= set(kept.values())


@pytest.mark.slow(20)
@pytest.mark.timeout(600)
def test_a_saver_that_is_killed_leaves_whole_versions_or_nothing(tmp_path: Path) -> None:
    root = tmp_path / "root"
    rng = random.Random(4)
    acknowledged: set[int] = set()
    purged: set[int] = set()
    for number in range(50):
        process = saver(root, number, 1000)
        assert process.stdout is not None
        first = process.stdout.readline()  # it is at work: also after all the kills before
        assert first, f"saver {number} ended with {process.wait()} and has saved nothing"
        time.sleep(rng.random() * 0.05)  # the moment is what this test is about
        process.send_signal(signal.SIGKILL)
        process.wait()
        said = {int(line) for line in [first, *process.stdout.read().split()]}
        process.stdout.close()
        assert min(said) > max(acknowledged, default=0), "a number was given twice"
        acknowledged |= said
        _check(root, acknowledged - purged)
        if rng.random() < 0.5:
            storage = create_artifact_storage(root)
            latest = storage.load_artifact("net")[0].version
            if rng.random() < 0.5:
                is_soft = rng.random() < 0.5
                assert storage.delete_artifact_version("net", "model", latest, soft_delete=is_soft)
                purged |= set() if is_soft else {latest}
                _check(root, acknowledged - purged)
    _check_read_model(root, tmp_path / "state")
    _check_nothing_leaks_after_gc(root)
    _check(root, acknowledged - purged)
    assert int(saver(root, 50, 1).communicate(timeout=100)[0]) > max(acknowledged)


def _check(root: Path, expected: set[int]) -> None:
    """`expected` are there and all versions are whole, whatever else is there."""
    storage = create_artifact_storage(root)
    folder = storage.lookup.find("net")
    assert expected <= set(folder.versions), "an acknowledged version is gone"
    assert list(verify([folder])) == []
    for path in folder.path.glob("v[0-9]*"):
        assert folder.has(int(path.name[1:])), f"{path.name} is neither complete nor absent"
    index = json.loads((folder.path / "versions.json").read_text())
    assert {item["version"] for item in index["versions"]} <= set(folder.versions)


def _check_nothing_leaks_after_gc(root: Path) -> None:
    staging = root / "artifacts/.tmp"
    long_ago = time.time() - 25 * 3600
    for left in staging.iterdir():
        os.utime(left, (long_ago, long_ago))
    command = [sys.executable, "-m", "runicorn", "artifacts", "--storage", str(root), "--action", "gc", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert list(staging.iterdir()) == []
    manifests = [json.loads(path.read_text()) for path in root.glob("artifacts/*/*/v*/manifest.json")]
    named = {file["digest"].removeprefix("sha256:") for manifest in manifests for file in manifest["files"]}
    assert {path.name for path in (root / "artifacts/.dedup").rglob("*") if path.is_file()} == named


def _check_read_model(root: Path, state: Path) -> None:
    from runicorn.host import PluginHost, Selection

    projector = InProcess(root, state, PluginHost.load(Selection(frozenset({"artifacts"}))))
    storage = create_artifact_storage(root)
    expected = [item.version for item in storage.list_versions("net", include_deleted=True)]

    def known() -> list[int]:
        projector.sweep()
        rows = projector.models["artifacts"].connection.execute("SELECT version FROM artifact_version ORDER BY version")
        return [row[0] for row in rows.fetchall()]

    try:
        wait_until(lambda: known() == expected, "the read model")
    finally:
        projector.close()
