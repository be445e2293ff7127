"""A store, and files to save in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runicorn.artifacts import Artifact, ArtifactStorage, create_artifact_storage

Make = Callable[..., Path]
Save = Callable[..., int]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def storage(root: Path) -> ArtifactStorage:
    return create_artifact_storage(root)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a file outside of the store."""

    def make(name: str = "weights.bin", content: str | bytes = "x" * 100) -> Path:
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


@pytest.fixture
def save(storage: ArtifactStorage, make: Make) -> Save:
    """Save a version of `name` with one file of this content."""

    def save(
        content: str = "x" * 100, *, name: str = "net", type: str = "model", run: str = "r1", **metadata: object
    ) -> int:
        artifact = Artifact(name, type, metadata=metadata).add_file(make(content=content))
        return storage.save_artifact(artifact, run, *artifact.staged)

    return save
