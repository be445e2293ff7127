"""`runicorn remote download`, against a real server of ours that is in smart mode with a real SSH server."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands import runicorn
from tests.contract.test_remote import login, ok
from tests.contract.test_remote_smart import synced, write_files
from tests.serving import Server, serve, wait_until
from tests.sshd import Sshd

__all__ = ["serve"]

PAGE = Path(__file__).parents[2] / "docs" / "remote.md"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "there"


@pytest.fixture
def server(serve: Callable[..., Server], sshd: Sshd, there: Path, tmp_path: Path) -> Server:
    """Connected to a machine with an artifact."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    write_files(there, 1, {"w.bin": b"x" * 100_000, "sub/c.json": b"{}"})
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "SSH_AUTH_SOCK": ""}
    server = serve(tmp_path / "root", "--rate-limit", "off", environment=environment)
    ok(server.http.post("/api/remote/connect", json=login(sshd, remote_root=str(there), auto_sync=False)))
    synced(server.http)
    return server


def command(url: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "runicorn", *words(url, *arguments)]


def words(url: str, *arguments: str) -> list[str]:
    return ["remote", "download", *arguments, "--url", url]


def download(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    return runicorn(*words(server.url, *arguments))


def test_the_files_of_a_version_are_brought_and_verified(server: Server, tmp_path: Path) -> None:
    done = download(server, "net:v1", "--target-dir", "weights/net")
    assert (done.returncode, done.stderr) == (0, "")
    target = tmp_path / "root/weights/net"
    assert done.stdout == f"2 files, 100002 bytes: verified, in {target}\n"
    assert (target / "w.bin").read_bytes() == b"x" * 100_000
    assert (target / "sub/c.json").read_bytes() == b"{}"
    report = json.loads(download(server, "model/net:v1", "--json").stdout)
    assert (report["status"], report["downloaded_files"], report["progress_percent"]) == ("completed", 2, 100.0)


def test_the_commands_of_the_documentation_work(server: Server, there: Path) -> None:
    shutil.copytree(there / "artifacts/model/net/v1", there / "artifacts/model/resnet/v3")
    synced(server.http)
    documented = re.findall(r"^\$ runicorn remote download (.*)$", PAGE.read_text(), re.M)
    assert len(documented) == 2
    for line in documented:
        done = download(server, *line.split())
        assert (done.returncode, done.stderr, bool(done.stdout)) == (0, "", True)


def test_what_is_not_as_the_manifest_says_fails_and_a_repeat_goes_on(
    server: Server, there: Path, tmp_path: Path
) -> None:
    file = there / "artifacts/model/net/v1/files/sub/c.json"
    file.write_bytes(b"[]")
    done = download(server, "net:v1", "--target-dir", "d")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Failed to download sub/c.json: Checksum mismatch" in done.stderr
    assert "Repeat the command" in done.stderr
    before = (tmp_path / "root/d/w.bin").stat().st_ino
    file.write_bytes(b"{}")
    assert download(server, "net:v1", "--target-dir", "d").returncode == 0
    assert (tmp_path / "root/d/w.bin").stat().st_ino == before
    failed = json.loads(download(server, "net:v1", "--target-dir", "d", "--json").stdout)
    assert failed["status"] == "completed"


def test_ctrl_c_cancels_it_on_the_server(server: Server, there: Path, tmp_path: Path) -> None:
    folder = write_files(there, 2, {"w.bin": b"abcd"})
    with (folder / "w.bin").open("wb") as file:
        file.truncate(8 << 30)
    manifest = {"files": [{"path": "w.bin", "size": 8 << 30, "digest": "sha256:" + "0" * 64}]}
    (folder.parent / "manifest.json").write_text(json.dumps(manifest))
    synced(server.http)

    def downloads() -> list[dict[str, Any]]:
        return ok(server.http.get("/api/remote/downloads"))["downloads"]

    with subprocess.Popen(
        command(server.url, "net:v2"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: any(item["downloaded_bytes"] for item in downloads()), timeout_s=60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "Cancelled. Repeat the command to go on.\n"
    assert [item["error"] for item in downloads()] == ["Cancelled by user"]


@pytest.mark.slow(2)
def test_what_cannot_begin_says_why(server: Server) -> None:
    for arguments, text in (
        (["absent:v1"], "Please sync metadata first"),
        (["net:latest"], "a version is expected"),
        (["net"], "a version is expected"),
        (["net:v1", "--target-dir", "../out"], "Invalid target directory"),
        (["toy/net:v1"], "Invalid artifact type: toy"),
    ):
        done = download(server, *arguments)
        assert done.returncode != 0
        assert text in done.stderr, done.stderr
    for url, text in (
        ("http://127.0.0.1:1", "No server answers"),
        ("ftp://x", "address of a server"),
        ("http://a:b@c", "address"),
    ):
        done = subprocess.run(command(url, "net:v1"), capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        assert text in done.stderr, done.stderr
    ok(server.http.post("/api/remote/disconnect"))
    assert "Not connected to remote server" in download(server, "net:v1").stderr
