"""The results on the page of faults come from reports of the tests that it names."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
SCRIPT = TOP / "docs" / "generate_faults.py"
TESTS = """
import pytest
def test_good(): pass
def test_bad(): assert False
@pytest.mark.parametrize("case", [1, 2])
def test_one_of_two(case): assert case == 1
@pytest.mark.skip(reason="to be shown as skipped")
def test_skipped(): pass
"""
PAGE = "\n".join(
    [
        "| fault | what | test | result |",
        *(
            f"| x | | `tests/faults/test_some.py::{name}` | as before |"
            for name in ("test_good", "test_bad", "test_one_of_two", "test_skipped", "test_gone")
        ),
        "",
    ]
)
spec = importlib.util.spec_from_file_location("generate_faults", SCRIPT)
assert spec is not None
assert spec.loader is not None
generate_faults = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate_faults)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pytest says of four tests."""
    directory = tmp_path_factory.mktemp("reported")
    package = directory / "tests" / "faults"
    package.mkdir(parents=True)
    (package / "test_some.py").write_text(TESTS)
    (directory / "pytest.ini").write_text("[pytest]\njunit_family = xunit2\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=report.xml", "tests"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return directory / "report.xml"


def test_each_line_gets_what_became_of_all_cases_of_its_test(report: Path) -> None:
    text, missing = generate_faults.filled(PAGE, generate_faults.results([report]))
    said = [line.split(" | ")[-1].removesuffix(" |") for line in text.split("\n")[1:-1]]
    assert said == ["holds", "**fails**", "**fails**", "not run: it was skipped", "as before"]
    assert missing == ["tests/faults/test_some.py::test_gone"]


def test_the_check_names_what_no_report_tells(report: Path) -> None:
    before = generate_faults.PAGE.read_text()
    command = [sys.executable, str(SCRIPT), "--check", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "in no report: tests/faults/test_kill.py::" in done.stderr
    assert generate_faults.PAGE.read_text() == before


def test_a_test_that_was_skipped_is_named_and_is_no_failure(
    report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line.replace("as before", "holds") for line in PAGE.split("\n")]
    page = tmp_path / "faults.md"
    monkeypatch.setattr(generate_faults, "PAGE", page)
    page.write_text("\n".join(line for line in lines if "test_good" in line or "test_skipped" in line))
    assert generate_faults.main(["--check", str(report)]) == 0
    assert "was skipped: tests/faults/test_some.py::test_skipped" in capsys.readouterr().err
    page.write_text("\n".join(line for line in lines if "test_bad" in line))
    assert generate_faults.main(["--check", str(report)]) == 1
    assert generate_faults.main([str(report)]) == 0
    assert "**fails**" in page.read_text()
    assert generate_faults.main(["--check", str(report)]) == 0, "the page says what is so"


def test_every_line_of_the_page_is_understood() -> None:
    rows = [
        line for line in generate_faults.PAGE.read_text().splitlines() if "`tests/" in line and line.startswith("|")
    ]
    _, missing = generate_faults.filled("\n".join(rows), {})
    assert len(rows) > 20
    named = {row.split("`tests/")[1].split("`")[0] for row in rows}
    assert {f"tests/{name}" for name in named} == set(missing)
