"""Which filters the newest runs are found for without looking at every run."""

from __future__ import annotations

import pytest

from runicorn_query.filters import Filter, split_list


@pytest.mark.parametrize("status", [None, "", " , ", "running"])
def test_what_a_request_without_other_conditions_asks_for_is_counted(status: str | None) -> None:
    assert Filter(statuses=split_list(status), tags=split_list(None)).is_counted
    assert Filter(project="vision", statuses=split_list(status), tags=split_list("")).is_counted


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(statuses=split_list("running,failed")),
        Filter(tags=split_list("baseline")),
        Filter(search="vis"),
        Filter(name="resnet"),
        Filter(include_deleted=True),
        Filter(created_after=0.0),
    ],
)
def test_other_conditions_need_a_look_at_every_run(wanted: Filter) -> None:
    assert not wanted.is_counted
