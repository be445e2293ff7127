"""Files that are staged with an `Artifact`: all that are there, and as quickly as they are found."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

import runicorn as rn
from tests.plugins.artifacts.conftest import Make


def test_a_directory_that_cannot_be_read_is_not_left_out_silently(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    top = make("data/inner/a").parent.parent
    make("data/b")
    real = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("inner"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    artifact = rn.Artifact("net")
    with monkeypatch.context() as broken:
        broken.setattr(os, "scandir", refuse)
        with pytest.raises(PermissionError, match="inner"):
            artifact.add_dir(top)
    assert artifact.staged == ([], [])


def test_staging_one_more_file_costs_no_look_at_the_others(make: Make) -> None:
    artifact = rn.Artifact("net")
    steps = 0

    def count(frame: object, event: str, called: object) -> None:
        nonlocal steps
        steps += 1

    def steps_of_staging(name: str) -> int:
        nonlocal steps
        source = make(name)
        steps = 0
        sys.setprofile(count)
        try:
            artifact.add_file(source)
        finally:
            sys.setprofile(None)
        return steps

    few = steps_of_staging("first")
    for number in range(300):
        artifact.add_file(make("same"), f"file {number}")
    assert steps_of_staging("last") == few
    assert len(artifact.staged[0]) == 302
