"""docs/artifacts.md: all that can be run is run in order, on one store and its server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from runicorn.artifacts import create_artifact_storage
from tests.serving import Server, serve

__all__ = ["serve"]

PAGE = (Path(__file__).parents[2] / "docs" / "artifacts.md").read_text()
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", PAGE, re.M | re.S)
HOSTS = re.compile(r"http://(127\.0\.0\.1|gpu1):23300")


@pytest.mark.slow(5)
def test_everything_works_one_after_the_other(serve: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "figure.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    root = tmp_path / "my_runs"
    server = serve(root, "--rate-limit", "off")
    environment = {
        **os.environ,
        "RUNICORN_DIR": str(root),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    for language, block in BLOCKS:
        code = HOSTS.sub(server.url, block)
        command = ["bash", "-c", f"set -eo pipefail\n{code}"] if language == "bash" else [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    storage = create_artifact_storage(root)
    assert [(item["name"], item["num_versions"], item["aliases"]) for item in storage.list_artifacts()] == [
        ("net", 3, {"latest": 3, "best": 3}), ("figures", 3, {"latest": 3, "best": 3}), ("images", 1, {"latest": 1}),
    ]  # fmt: skip
    assert (tmp_path / "weights/weights.bin").read_bytes() == b"0" * 1000


def test_every_request_of_the_page_is_one_of_the_api(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(tmp_path / "root")
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    known = {(method.upper(), re.sub(r"\{\w+\}", "*", path)) for path, methods in paths.items() for method in methods}
    shown = re.findall(r"`(GET|POST|PUT|DELETE) (/api/[^`?]+)[^`]*`", PAGE)
    assert len(shown) > 20
    for method, path in shown:
        assert (method, re.sub(r"\{\w+\}|/v\d+(?=/|$)", lambda m: "/*" if m[0][0] == "/" else "*", path)) in known, path
