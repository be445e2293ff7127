"""Zip files that are made while they are sent."""

from __future__ import annotations

import io
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn_artifacts.manifest import FileEntry
from runicorn_artifacts.zipped import zip_pieces

PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\0\\"), min_size=1, max_size=8)
NAMES = st.lists(PARTS, min_size=1, max_size=3)


@given(
    st.dictionaries(NAMES.map("/".join), st.binary(max_size=300), max_size=5),
    st.sampled_from([None, 0.0, -1e12, 1e9, 1e10, 1e300, float("nan")]),
    st.booleans(),
)
def test_any_files_come_back(files: dict[str, bytes], modified_at: float | None, deflate: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sources = {path: Path(folder) / str(number) for number, path in enumerate(files)}
        for path, content in files.items():
            sources[path].write_bytes(content)
        entries = [FileEntry(path, len(content), "", modified_at) for path, content in files.items()]
        data = b"".join(zip_pieces(entries, lambda entry: sources[entry.path].open("rb"), deflate=deflate))
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.testzip() is None
    assert {item.filename: archive.read(item) for item in archive.infolist()} == files


@pytest.mark.parametrize("deflate", [False, True])
def test_memory_does_not_grow_with_the_content(tmp_path: Path, deflate: bool) -> None:
    size = 32 << 20
    source = tmp_path / "large"
    with source.open("wb") as file:
        file.truncate(size)
    sent = 0
    tracemalloc.start()
    try:
        entries = [FileEntry(name, size, "") for name in ("first", "second")]
        for piece in zip_pieces(entries, lambda _: source.open("rb"), deflate=deflate):
            sent += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sent > (0 if deflate else 2 * size)
    assert peak < 4 << 20
