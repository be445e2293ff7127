"""The examples in docs/queries.md are queries; its mistakes are found where it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runicorn_query.filters import Filter
from runicorn_query.language import InvalidQuery, parse
from runicorn_query.language.fields import KINDS, STATISTICS

PAGE = (Path(__file__).parents[2] / "docs" / "queries.md").read_text()


def blocks(language: str) -> list[str]:
    return [
        line for block in re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()
    ]


@pytest.mark.parametrize("query", blocks("query"))
def test_the_examples_are_queries(query: str) -> None:
    assert Filter(expression=parse(query)).condition().row


MISTAKES = blocks("query-error")


@pytest.mark.parametrize(("query", "caret"), list(zip(MISTAKES[::2], MISTAKES[1::2], strict=True)))
def test_the_mistakes_are_found_where_the_page_says(query: str, caret: str) -> None:
    with pytest.raises(InvalidQuery) as found:
        parse(query)
    assert found.value.pointer == f"{query}\n{caret}"


def test_every_field_is_explained() -> None:
    for name in [*KINDS, "tag"]:
        assert f"`{name}`" in PAGE
    for statistic in STATISTICS:
        assert f".{statistic}`" in PAGE
