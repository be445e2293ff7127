"""A remote root, a mirror of it, and what they must have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runicorn.plugin import recorder_of
from runicorn_remote.connection import Connection
from runicorn_remote.connector import Target
from runicorn_remote.credentials import Credentials
from runicorn_remote.host_keys import HostKeyPolicy
from runicorn_remote.mirror.source import RemoteSource
from runicorn_remote.mirror.task import MirrorTask
from tests.serving import wait_until
from tests.sshd import Sshd

RUN = "vision/resnet/runs/20250114_153045_a1b2c3"


def target_of(sshd: Sshd) -> Target:
    return Target(sshd.host, sshd.port, sshd.username)


def connect_to(sshd: Sshd) -> Connection:
    credentials = Credentials(private_key_path=str(sshd.private_key_path), use_agent=False)
    return Connection(target_of(sshd), credentials, HostKeyPolicy())


@contextmanager
def mirroring(sshd: Sshd, remote: Path, local: Path, *, interval_s: float = 0.5) -> Iterator[MirrorTask]:
    """A task from `remote` to `local`, stopped at the end."""
    local.mkdir(exist_ok=True)
    connection = connect_to(sshd)
    source = RemoteSource(target_of(sshd), str(remote))
    task = MirrorTask(connection, connection.connection_id, source, local, interval_s, recorder_of(local))
    task.start()
    try:
        yield task
    finally:
        task.stop()
        connection.close()


def wait_for_scans(task: MirrorTask, count: int = 2) -> None:
    """Until that many scans have ended that began after this call."""
    wanted = task.report().stats.scans + count
    wait_until(lambda: task.report().stats.scans >= wanted, f"{count} scans: {task.report()}", timeout_s=60)


def mirrored(root: Path) -> dict[str, bytes]:
    """The files of a root that a mirror brings, by path."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and path.suffix != ".lock"
        and not path.relative_to(root).as_posix().startswith((".mirrors", ".runicorn"))
    }


def write_run(root: Path, key: str = RUN, *, status: str = "finished", events: int = 3, **meta: object) -> Path:
    """A run as 0.4.0 leaves it."""
    run = root / key
    run.mkdir(parents=True, exist_ok=True)
    (run / "meta.json").write_text(json.dumps({"id": run.name, "created_at": 1736868645.0, **meta}))
    (run / "status.json").write_text(json.dumps({"status": status, "started_at": 1736868645.0}))
    lines = (
        json.dumps(
            {"ts": 1736868645.0 + step, "type": "metrics", "data": {"loss": 1 / (step + 1), "global_step": step}}
        )
        for step in range(events)
    )
    (run / "events.jsonl").write_text("".join(line + "\n" for line in lines))
    (run / "logs.txt").write_text("15:30:45 | hello\n")
    return run
