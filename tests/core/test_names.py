"""Names and ids that may become a path segment."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn.errors import InvalidName
from runicorn.names import check_project, check_segment, is_run_id, is_segment, new_run_id


@pytest.mark.parametrize("name", ["a", "resnet 50", "模型", "x" * 100, "a.b", "-x", "é", "runs2", "$HOME", "~"])
def test_ordinary_names_are_accepted(name):
    assert check_segment(name, "project name") == name
    assert check_project(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("模" * 43, "\ud800"),
        "",
        " ",
        "\t",
        ".",
        "..",
        ".x",
        "a/b",
        "a\\b",
        "/abs",
        "../x",
        "a..b",
        "a\0b",
        "a\nb",
        "a\x7f",
        "a\x85",
        "x" * 101,
    ],
)
def test_names_that_could_leave_their_place_are_refused_with_one_text(name):
    with pytest.raises(InvalidName, match="Invalid project name: '"):
        check_segment(name, "project name")
    with pytest.raises(ValueError, match="Invalid project name"):
        check_project(name)


@pytest.mark.parametrize("name", ["runs", "webui", "artifacts"])
def test_reserved_projects_are_refused(name):
    with pytest.raises(InvalidName, match="reserved"):
        check_project(name)
    assert is_segment(name)


@given(st.text(st.characters(codec=None, categories=None), max_size=140))
def test_an_accepted_name_stays_inside_its_directory(name):
    if is_segment(name):
        path = os.path.normpath(os.path.join("/root/here", name))
        assert os.path.dirname(path) == "/root/here"
        assert len(name.encode()) <= 128


def test_a_generated_id_has_the_documented_form_and_sorts_by_time():
    assert is_run_id(new_run_id())
    assert new_run_id(1e9)[:15] < new_run_id(1e9 + 1)[:15]
    assert len({new_run_id(1e9) for _ in range(100)}) > 90


@pytest.mark.parametrize(
    "text",
    ["20250114_153045_A1B2C3", "20250114_153045_a1b2c3\n", "x20250114_153045_a1b2c3", "２０250114_153045_a1b2c3", ""],
)
def test_anything_else_is_no_generated_id(text):
    assert not is_run_id(text)
