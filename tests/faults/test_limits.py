"""A root that must not be written, and processes that run out of descriptors or of inotify."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.faults.harness import Scene, projector_pid
from tests.recorded import wait_until_live
from tests.serving import wait_until


def in_namespace(script: str, *arguments: str) -> tuple[str, ...]:
    """A command that does something in namespaces of its own, and then becomes the command behind it."""
    return ("unshare", "--map-root-user", "--mount", "sh", "-ec", f'{script}; shift $1; exec "$@"', "sh", *arguments)


def has_namespaces() -> bool:
    return shutil.which("unshare") is not None and (
        subprocess.run([*in_namespace("true", "1"), "true"], capture_output=True, check=False).returncode == 0
    )


needs_namespaces = pytest.mark.skipif(not has_namespaces(), reason="the system gives nobody namespaces of their own")


@pytest.mark.slow
@needs_namespaces
def test_a_root_that_the_server_must_not_write_is_served_and_takes_commands(tmp_path: Path) -> None:
    root, state = tmp_path / "root", tmp_path / "state"
    root.mkdir()
    with Scene(tmp_path, root=root, state_dir=state) as scene:
        early = scene.train(20)
        early.wait()
        before = files_in(root)
        read_only = in_namespace('mount --bind "$2" "$2"; mount -o remount,bind,ro "$2"', "2", str(root))
        server = scene.serve(wrapper=read_only)
        wait_until_live(server)
        assert server.http.get("/api/health").json()["status"] == "degraded"
        commander = scene.command(server, early)
        wait_until(lambda: commander.count(200) >= 5, "commands")
        commander.end()
        assert files_in(root) == before
        assert list((state / "log").glob("*.jsonl"))
        trainer = scene.train()  # elsewhere the root is still written
        trainer.log_on()
        trainer.end()
        scene.check(server)


def files_in(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.slow
@needs_namespaces
@pytest.mark.parametrize("limit", ["max_inotify_instances", "max_inotify_watches"])
def test_without_inotify_the_log_is_polled(scene: Scene, limit: str) -> None:
    server = scene.serve(wrapper=in_namespace(f"echo 0 > /proc/sys/user/{limit}", "1"))
    wait_until_live(server)
    trainers = [scene.train(), scene.train(50)]
    commander = scene.command(server, trainers[0])
    wait_until(lambda: len(server.http.get("/api/runs").json()) == 2, "runs in the list")
    wait_until(lambda: commander.count(200) >= 5, "commands")
    commander.end()
    trainers[0].end()
    trainers[1].wait()
    assert "polling" in server.log
    scene.check(server)


@pytest.mark.slow
def test_where_changes_raise_no_notice_the_log_is_polled(scene: Scene) -> None:
    """As on a network file system that Runicorn does not know by its name."""
    server = scene.serve(environment={"RUNICORN_POLL": "1"})
    wait_until_live(server)
    trainers = [scene.train(), scene.train(50)]
    commander = scene.command(server, trainers[0])
    wait_until(lambda: len(server.http.get("/api/runs").json()) == 2, "runs in the list")
    wait_until(lambda: commander.count(200) >= 5, "commands")
    descriptors = os.listdir(f"/proc/{projector_pid(server)}/fd")
    links = [os.readlink(f"/proc/{projector_pid(server)}/fd/{number}") for number in descriptors]
    assert not any("inotify" in link for link in links)
    commander.end()
    trainers[0].end()
    trainers[1].wait()
    scene.check(server)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["api", "projector", "trainer"])
def test_without_descriptors_nothing_is_lost(scene: Scene, victim: str) -> None:
    server = scene.serve()
    wait_until_live(server)
    trainer = scene.train()
    commander = scene.command(server, trainer)
    wait_until(lambda: commander.count(200) >= 3, "commands")
    pids = {"api": server.process.pid, "projector": projector_pid(server), "trainer": trainer.process.pid}
    process = psutil.Process(pids[victim])
    soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)

    process.rlimit(psutil.RLIMIT_NOFILE, (3, hard))
    late = scene.train(50)
    late.wait()
    trainer.log_on()
    process.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))

    done = commander.count(200)
    wait_until(lambda: commander.count(200) > done + 3, "commands that are carried out again")
    commander.end()
    trainer.end()
    scene.check(server)
