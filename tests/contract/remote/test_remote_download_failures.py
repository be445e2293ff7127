"""Downloads over HTTP of what the server does not give, and of what finds no room here."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.remote_entries import REMOTE, body_for, leave_all, login_to, ok
from tests.serving import Server, wait_until
from tests.ssh_server import sshd_as_nobody, sshd_or_skip
from tests.sshd import Sshd


@pytest.fixture
def http(server: Server, home: Path) -> Iterator[httpx.Client]:
    """Nothing is connected or cached before and after a test."""
    yield server.http
    leave_all(server.http)
    shutil.rmtree(home / ".runicorn_remote_cache", ignore_errors=True)


@pytest.fixture
def there() -> Iterator[Path]:
    """A root that every account may enter, as pytest's own directories are not."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with sshd_or_skip(home=tmp_path / "remote-home") as server:
        yield server


@pytest.fixture
def as_nobody(tmp_path: Path, there: Path) -> Iterator[Sshd]:
    """A server that carries everything out as an account to which not all files belong."""
    with sshd_as_nobody(there, tmp_path / "remote-home") as server:
        yield server


@pytest.fixture
def small_disk(server: Server) -> Iterator[Path]:
    """A directory of the storage root on a disk of its own, of 24 MiB."""
    path = server.root / "small"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(path)], capture_output=True)
    if mounted.returncode:
        path.rmdir()
        pytest.skip("no disk can be mounted here")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)
    path.rmdir()


def write_version(root: Path, sizes: dict[str, int]) -> Path:
    """A version of `net`; its files are of zeros, and take no room there."""
    directory = root / "artifacts/model/net/v1"
    (directory / "files").mkdir(parents=True)
    entries: list[dict[str, object]] = []
    for name, size in sizes.items():
        with (directory / "files" / name).open("wb") as file:
            file.truncate(size)
        entries.append({"path": name, "size": size})
    (directory / "metadata.json").write_text(json.dumps({"name": "net", "type": "model", "version": 1}))
    (directory / "manifest.json").write_text(json.dumps({"files": entries}))
    index = {"artifact_name": "net", "versions": [{"version": 1, "status": "ready", "aliases": []}], "aliases": {}}
    (directory.parent / "versions.json").write_text(json.dumps(index))
    return directory / "files"


def show(http: httpx.Client, sshd: Sshd, root: Path) -> Path:
    """Have the root shown and synced; its cache."""
    cache = ok(http.post(REMOTE, json=body_for(REMOTE, **login_to(sshd, remote_root=str(root)))))["cache_dir"]
    assert ok(http.post("/api/remote/sync"))["started"] is True
    wait_until(lambda: ok(http.get("/api/remote/status"))["sync_progress"]["status"] != "running")
    return Path(cache)


def downloaded(http: httpx.Client, **body: object) -> Any:
    """A download that has ended."""
    task = ok(http.post("/api/remote/download/net/v1", json=body))["task_id"]
    status = f"/api/remote/download/{task}/status"
    wait_until(lambda: ok(http.get(status))["status"] != "running", "the end of the download")
    return ok(http.get(status))


def test_a_file_that_the_server_lets_nobody_read_is_named(http: httpx.Client, as_nobody: Sshd, there: Path) -> None:
    files = write_version(there, {"a.bin": 1000, "b.bin": 1000})
    (files / "b.bin").chmod(0)
    cache = show(http, as_nobody, there)
    status = downloaded(http)
    assert (status["status"], status["error"]) == ("failed", "Failed to download b.bin: Permission denied")
    assert (status["downloaded_files"], status["total_files"]) == (1, 2)
    assert {path.name for path in (cache / "downloads").rglob("*") if path.is_file()} == {"a.bin"}
    (files / "b.bin").chmod(0o644)
    assert downloaded(http)["status"] == "completed"  # with what is here already


def test_a_file_for_which_there_is_no_room_is_named_and_not_begun(http: httpx.Client, sshd: Sshd, there: Path) -> None:
    write_version(there, {"a.bin": 1000, "b.bin": shutil.disk_usage(there).free + (1 << 40)})
    cache = show(http, sshd, there)
    status = downloaded(http)
    assert (status["status"], status["error"]) == ("failed", "Failed to download b.bin: No space left on device")
    assert {path.name for path in (cache / "downloads").rglob("*") if path.is_file()} == {"a.bin"}
    assert status["downloaded_bytes"] == 1000


def test_the_room_that_counts_is_that_of_the_target(
    http: httpx.Client, sshd: Sshd, there: Path, small_disk: Path
) -> None:
    write_version(there, {"w.bin": 1 << 20})
    show(http, sshd, there)
    status = downloaded(http, target_dir="small/net")
    assert (status["status"], status["error"]) == ("failed", "Failed to download w.bin: No space left on device")
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []
    assert downloaded(http, target_dir="elsewhere/net")["status"] == "completed"


def test_a_disk_that_is_filled_by_somebody_else_meanwhile_keeps_no_half_file(
    http: httpx.Client, sshd: Sshd, there: Path, small_disk: Path
) -> None:
    """There was room when the file was begun."""
    subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
    write_version(there, {"w.bin": 300 << 20})
    show(http, sshd, there)
    task = ok(http.post("/api/remote/download/net/v1", json={"target_dir": "small/net"}))["task_id"]
    status = f"/api/remote/download/{task}/status"
    wait_until(lambda: ok(http.get(status))["downloaded_bytes"] > 0)
    sshd.freeze()
    try:
        # What is on the way still takes room meanwhile: piece by piece until there is none.
        with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(1 << 16)):
                pass
    finally:
        sshd.thaw()
    wait_until(lambda: ok(http.get(status))["status"] != "running", "the end of the download")
    found = ok(http.get(status))
    assert (found["status"], found["error"]) == ("failed", "Failed to download w.bin: No space left on device")
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["filler"]
