"""Disks that run full under running trainings and a server, and have room again later."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.faults.harness import END_S, Scene, projector_pid
from tests.faults.small_disk import SmallDisk
from tests.recorded import wait_until_live
from tests.serving import wait_until

Disk = Callable[[], SmallDisk]
Stage = Callable[..., Scene]


@pytest.mark.slow
def test_a_full_disk_under_the_log_loses_no_step_and_no_command(disk: Disk, stage: Stage) -> None:
    full = disk()
    scene = stage(root=full.path / "root", state_dir=full.path.parent / "state")
    server = scene.serve()
    wait_until_live(server)
    trainers = [scene.train(), scene.train()]
    commander = scene.command(server, trainers[0])
    wait_until(lambda: commander.count(200) >= 3, "commands")

    full.fill(server.process.pid, *(trainer.process.pid for trainer in trainers))
    refused = commander.count(503)
    wait_until(lambda: commander.count(503) > refused + 2, "refused commands")
    for trainer in trainers:
        trainer.log_on(100)  # `log()` returns all the same
    assert server.http.get("/api/runs").status_code == 200
    full.make_room()

    done = commander.count(200)
    wait_until(lambda: commander.count(200) > done + 2, "commands that are carried out again")
    commander.end()
    for trainer in trainers:
        trainer.log_on()
        assert "cannot be written" in trainer.end()
    scene.check(server)


@pytest.mark.slow
def test_a_full_disk_under_the_state_keeps_the_log_and_answers_follow_later(disk: Disk, stage: Stage) -> None:
    full = disk()
    scene = stage(state_dir=full.path / "state")
    server = scene.serve()
    wait_until_live(server)
    trainer = scene.train()
    commander = scene.command(server, trainer)
    wait_until(lambda: commander.count(200) >= 3, "commands")

    full.fill(projector_pid(server, scene.state_dir))
    wait_until(lambda: commander.count(503) > 0, "a command that is recorded, but not visible", END_S)
    trainer.log_on(100)
    assert server.http.get("/api/runs").status_code == 200
    assert server.http.get("/api/health").status_code == 200
    full.make_room()

    done = commander.count(200)
    wait_until(lambda: commander.count(200) > done, "commands that are visible again", END_S)
    commander.end()
    trainer.end()
    scene.check(server)


SAVER = """
import sys
from pathlib import Path
import runicorn as rn
root, files = Path(sys.argv[1]), Path(sys.argv[2])
run = rn.init("faults", root, name="saver", capture_env=False)
print("ready", flush=True)
for line in sys.stdin:
    what, name = line.split()
    try:
        if what == "save":
            print(run.log_artifact(rn.Artifact("net").add_file(files / name)), flush=True)
        else:
            print(run.artifact_storage.delete_artifact_version("net", "model", int(name), soft_delete=False), flush=True)
    except OSError as error:
        print(f"refused: {error.strerror}", flush=True)
rn.finish()
"""


@pytest.mark.slow
def test_a_full_disk_under_artifacts_leaves_whole_versions_only(disk: Disk, stage: Stage) -> None:
    full = disk()
    scene = stage(root=full.path / "root", state_dir=full.path.parent / "state")
    server = scene.serve()
    files = full.path.parent / "files"
    files.mkdir()
    for name in ("first", "second", "third"):
        (files / name).write_bytes(name.encode() * 200_000)
    saver = subprocess.Popen(
        [sys.executable, "-c", SAVER, str(scene.root), str(files)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def tell(what: str, name: str) -> str:
        assert saver.stdin is not None
        saver.stdin.write(f"{what} {name}\n")
        saver.stdin.flush()
        return answer()

    def answer() -> str:
        assert saver.stdout is not None
        return saver.stdout.readline().strip()

    assert answer() == "ready"
    assert tell("save", "first") == "1"
    full.fill(saver.pid)
    assert tell("save", "second").startswith("refused")
    assert tell("purge", "1").startswith("refused")
    full.make_room()
    assert tell("save", "third") == "2"
    saver.communicate(timeout=END_S)

    versions = "/api/artifacts/net/versions"
    wait_until(lambda: server.http.get(versions).status_code == 200, "the artifact")
    wait_until(lambda: len(server.http.get(versions).json()) == 2, "both versions")
    for number, name in ((1, "first"), (2, "third")):
        shown = server.http.get(f"/api/artifacts/net/v{number}/files").json()
        assert [(file["path"], file["size"]) for file in shown["files"]] == [(name, 200_000 * len(name))]
    scene.verify()
    assert list((scene.root / "artifacts" / ".tmp").iterdir()) == []
    served = {path: server.http.get(path).content for path in ("/api/artifacts", versions)}
    replayed = scene.replayed(tuple(served))
    assert replayed == served
