"""Broken plugins, the end of a server, and what is in the wheel. Over real HTTP against a real server."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.contract.http_rules.answers import assert_is_error
from tests.plugin_on_path import PluginDirectory
from tests.promises import ENDED_S


def test_a_broken_plugin_is_named_and_the_server_runs_on(serve, tmp_path):
    plugins = PluginDirectory(tmp_path / "plugins")
    plugins.add("unloadable", "raise ImportError(f'nothing at {__file__}')")
    plugins.add(
        "unstartable",
        """
        from contextlib import asynccontextmanager
        from litestar import get
        from runicorn.plugin import hookimpl

        @get("/api/unstartable", sync_to_thread=False)
        def route() -> dict[str, int]:
            return {}

        @hookimpl
        def runicorn_routes():
            return [route]

        @hookimpl
        @asynccontextmanager
        async def runicorn_lifespan(store):
            raise RuntimeError("no luck")
            yield
        """,
    )
    server = serve(environment=plugins.environment)
    body = server.http.get("/api/health").json()

    assert body["status"] == "degraded"
    assert body["plugins"]["unloadable"]["status"] == "error"
    assert str(tmp_path) not in body["plugins"]["unloadable"]["detail"]
    assert body["plugins"]["unstartable"]["detail"].endswith("no luck")
    assert_is_error(server.http.get("/api/unstartable"), 503, "The plugin unstartable is not available")
    assert "plugin unloadable is disabled" in server.log


# ── the end ─────────────────────────────────────────────────────────────────


def test_sigterm_closes_websockets_with_1001_and_ends_with_status_0(serve, plugins):
    server = serve(environment=plugins.environment)
    with contextlib.ExitStack() as stack:
        url = f"ws://127.0.0.1:{server.port}/api/probe/ws"
        clients = [stack.enter_context(connect(url)) for _ in range(5)]
        for client in clients:
            client.recv(timeout=10)

        assert server.stop(signal.SIGTERM, timeout_s=ENDED_S) == 0
        for client in clients:
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001


def test_sigterm_ends_a_server_with_work_that_does_not_end(serve, plugins):
    server = serve(environment=plugins.environment)

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"{server.url}/api/probe/stuck", timeout=30)

    requests = threading.Thread(target=ask)
    requests.start()
    with connect(f"ws://127.0.0.1:{server.port}/api/probe/deaf") as client:
        client.recv(timeout=10)

        assert server.stop(signal.SIGTERM, timeout_s=ENDED_S) == 0
    requests.join()


def test_sigint_ends_with_status_0(serve):
    assert serve().stop(signal.SIGINT, timeout_s=ENDED_S) == 0


@pytest.mark.slow
def test_the_built_wheel_holds_the_assets_and_their_licences(tmp_path):
    source = Path(__file__).parents[3]
    tree = tmp_path / "source"
    ignore = shutil.ignore_patterns(".git", "__pycache__", ".pytest_cache", ".hypothesis", ".ruff_cache")
    shutil.copytree(source, tree, ignore=ignore)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    assets = {path.name for path in (source / "core/runicorn/server/assets").rglob("*") if path.is_file()}
    assert {"swagger-ui-bundle.js", "redoc.standalone.js", "LICENSE", "home.html"} <= assets
    for path in (source / "core/runicorn/server/assets").rglob("*"):
        if path.is_file():
            assert path.relative_to(source / "core").as_posix() in names
