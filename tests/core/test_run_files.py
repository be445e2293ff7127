"""What 0.4.0's files of a run are called and mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from runicorn.events.discovery import run_at
from runicorn.run_files import is_inside, stored_status


@pytest.mark.parametrize(
    ("value", "status"),
    [(None, "finished"), ("", "finished"), ("odd", "odd"), (5, "5"), ("\ud800", "\ufffd"), ("x" * 200, "x" * 200)],
)
def test_any_text_is_a_status_and_nothing_means_finished(value: object, status: str):
    assert stored_status(value) == status


def test_a_status_that_is_no_text_is_shown_shortened():
    assert stored_status(["x" * 200]) == str(["x" * 200])[:128]


@pytest.mark.parametrize(
    ("key", "said", "names"),
    [
        ("p/n/runs/r", ("q", "m"), ("q", "m")),
        ("p/n/runs/r", (None, ""), ("p", "n")),
        ("p/n/runs/r", (5, ["m"]), ("p", "n")),
        ("runs/r", (None, None), (None, None)),
        ("runs/r", ("q", None), ("q", None)),
    ],
)
def test_what_meta_says_wins_over_the_names_of_directories(
    key: str, said: tuple[object, object], names: tuple[str | None, str | None]
):
    assert run_at(key).names(*said) == names


def test_a_link_is_where_it_leads_to(tmp_path: Path):
    root, outside = tmp_path / "root", tmp_path / "root-too"
    root.mkdir()
    outside.mkdir()
    (root / "out").symlink_to(outside)
    (tmp_path / "in").symlink_to(root)
    assert is_inside(root, root)
    assert is_inside(root, root / "not" / "there")
    assert is_inside(root, tmp_path / "in" / "x")
    assert is_inside(tmp_path / "in", root / "x")
    assert not is_inside(root, root / "out" / "x")
    assert not is_inside(root, outside)
    assert not is_inside(root, root / "..")
