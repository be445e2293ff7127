"""The pages on faults and threats name a test in each line: those tests exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("page", ["faults.md", "security.md"])
def test_each_line_names_a_test_that_exists(page: str) -> None:
    text = (TOP / "docs" / page).read_text()
    rows = [
        line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| fault", "| threat"))
    ]
    assert len(rows) > 10
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, f"names no test: {row}"
        for path, name in named:
            assert name in functions(TOP / path), f"{path} has no {name}"


def test_every_scenario_of_faults_is_in_the_table() -> None:
    text = (TOP / "docs" / "faults.md").read_text()
    for name in ("test_full_disk", "test_limits", "test_clock_and_disk", "test_two_servers", "test_kill"):
        for function in functions(TOP / "tests" / "faults" / f"{name}.py"):
            if function.startswith("test_"):
                assert f"::{function}`" in text, f"{function} is not in docs/faults.md"
