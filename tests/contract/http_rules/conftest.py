"""One server with the plugin of the tests, for all that do not change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugin_on_path import PluginDirectory
from tests.serving import Server

PROBE = (Path(__file__).parents[1] / "http_plugin.py").read_text()


@pytest.fixture(scope="package")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> PluginDirectory:
    directory = PluginDirectory(tmp_path_factory.mktemp("plugins"))
    directory.add("probe", PROBE)
    return directory


@pytest.fixture(scope="package")
def server(plugins: PluginDirectory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server without rate limits, for all tests that do not change it."""
    root = tmp_path_factory.mktemp("storage") / "root"
    config = {"XDG_CONFIG_HOME": str(tmp_path_factory.mktemp("config"))}
    server = Server(root, "--rate-limit", "off", environment={**plugins.environment, **config})
    yield server
    server.stop()
