"""JSON on a terminal: it means the same, and moves no cursor."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from runicorn.cli.json_output import print_json, without_controls

TOP = Path(__file__).parents[3]
HOSTILE = "a\x1b[2J\x9b2J\x7f\u0085é中"


@pytest.mark.parametrize("indented", [False, True])
def test_no_control_character_is_printed_and_none_is_lost(indented: bool, capsys: pytest.CaptureFixture[str]) -> None:
    print_json({HOSTILE: [HOSTILE]}, indented=indented)
    printed = capsys.readouterr().out
    assert json.loads(printed) == {HOSTILE: [HOSTILE]}
    assert "é中" in printed
    assert [c for c in printed.replace("\n", "") if not c.isprintable()] == []


def test_other_text_stays_as_it_is() -> None:
    assert without_controls('{"a": "é\\n"}') == '{"a": "é\\n"}'


def test_no_command_prints_json_on_another_way() -> None:
    paths = [*TOP.glob("core/runicorn/cli/**/*.py"), *TOP.glob("plugins/*/runicorn_*/**/*.py")]
    assert len(paths) > 100
    for path in paths:
        if path.name == "json_output.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "click.echo":
                printed = ast.unparse(node)
                # `json.dumps` escapes whatever is not ASCII, unless it is told not to.
                assert "msgspec.json" not in printed, f"{path}: {printed}"
                assert "ensure_ascii" not in printed or "without_controls" in printed, f"{path}: {printed}"
