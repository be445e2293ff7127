"""What is remembered of the files of runs, from one process to the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from runicorn.projection.signatures import Signatures


def test_signatures_of_any_size_are_found_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = {"a": (1 << 63) - 1, "b": (1 << 63) - 1, "c": -(1 << 63)}
    Signatures(tmp_path / "observed.db", "signature").remember(values)
    again = Signatures(tmp_path / "observed.db", "signature")
    assert {key: again.get(key) for key in again.known()} == values
    assert not caplog.records


def test_a_damaged_file_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "observed.db").write_bytes(b"no database at all" * 100)
    assert not list(Signatures(tmp_path / "observed.db", "signature").known())
    assert "observed.db is damaged" in caplog.text
