"""docs/http.md: its commands are run in order, on a store as the page says, and no request of the API is missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import runicorn
from tests.serving import Server
from tests.sshd import Sshd

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
SCRIPT = "\n".join(re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S))


@pytest.fixture
def server(serve: Callable[..., Server], tmp_path: Path) -> Server:
    """A server on the store that the page speaks of: two runs, with an image and a log."""
    pillow = pytest.importorskip("PIL.Image")
    root = tmp_path / "my_runs"
    for name in ("first", "second"):
        with runicorn.init("vision", storage=str(root), name=name, capture_env=False) as run:
            run.set_primary_metric("loss", mode="min")
            run.log({"loss": 0.25})
            run.log_text("epoch 1")
            run.log_image("picture", pillow.new("RGB", (2, 2)))
    environment = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    (tmp_path / "home").mkdir()
    server = serve(root, "--rate-limit", "off", environment=environment)
    server.wait_until_visible()
    return server


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A storage root on the other machine, with a data set."""
    (tmp_path / "there").mkdir()
    (tmp_path / "images.bin").write_bytes(b"pixels")
    with runicorn.init("vision", storage=str(tmp_path / "there"), capture_env=False):
        runicorn.log_artifact(tmp_path / "images.bin", name="images", type="dataset")
    return tmp_path / "there"


@pytest.mark.slow(3)
def test_all_commands_work_one_after_the_other(server: Server, there: Path, tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd") as sshd:
        login = {"host": sshd.host, "port": sshd.port, "username": sshd.username, "use_agent": False}
        login["private_key_path"] = str(sshd.private_key_path)
        done = subprocess.run(
            ["bash", "-c", f"set -eEuo pipefail; trap 'echo \"$BASH_COMMAND\" >&2' ERR\n{SCRIPT}".replace(
                "URL=http://127.0.0.1:23300", f"URL={server.url}"
            )],
            cwd=tmp_path,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "RUNICORN_DIR": str(server.root),
                "LOGIN": json.dumps(login),
                "THERE": str(there),
            },
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )  # fmt: skip
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout[-1000:]}"
    assert (tmp_path / "again.bin").read_text() == "weights\n"
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert "loss" in (tmp_path / "run.csv").read_text()


def test_every_request_of_the_api_is_shown(server: Server) -> None:
    shown = [
        (method_of(line), re.sub(r"\$\(.*?\)\)?|\$\w+|\$\{\w+[^}]*\}", "X", path))
        for line in SCRIPT.splitlines()
        for path in re.findall(r"\$URL(/[^\s\"?]*)", line)
    ]
    missing: list[str] = []
    for path, operations in server.http.get("/openapi.json").json()["paths"].items():
        pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)).replace("media/[^/]+", ".+"))
        for method in operations:
            is_socket = path.endswith("/ws")
            if is_socket and path in PAGE:
                continue
            if is_socket or not any(verb == method.upper() and pattern.fullmatch(place) for verb, place in shown):
                missing.append(f"{method.upper()} {path}")
    assert not missing


def method_of(line: str) -> str:
    """What curl sends for a line of the page."""
    named = re.search(r"-X (\w+)", line)
    if named:
        return named[1]
    return "POST" if re.search(r" -d | -F ", line) else "GET"
