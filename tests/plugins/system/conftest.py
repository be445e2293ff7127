"""A `nvidia-smi` of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins.system.fake_nvidia_smi import FakeNvidiaSmi


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvidiaSmi:
    """On `PATH`; it does not exist until the test says what it does."""
    command = FakeNvidiaSmi(tmp_path / "bin")
    monkeypatch.setenv("PATH", command.path)
    return command
