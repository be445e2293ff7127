"""A root, its state directory, and projectors that are ended with the test."""

from __future__ import annotations

import pytest

from tests.plugin_on_path import PluginDirectory
from tests.projector_process import RunningProjector


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def plugins(tmp_path):
    """A directory of third-party plugins; see `start`."""
    return PluginDirectory(tmp_path / "plugins")


@pytest.fixture
def start(root, state, plugins):
    """A function that starts a projector process; all are killed at the end."""
    started: list[RunningProjector] = []

    def run(*arguments: str, plugins_selected: str = "runs") -> RunningProjector:
        projector = RunningProjector(root, state, *arguments, environment=plugins.environment, plugins=plugins_selected)
        started.append(projector)
        return projector

    yield run
    for projector in started:
        projector.kill()
