"""`runicorn plugins new`: what it makes works as it is, and nothing is overwritten."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def new(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "runicorn", "plugins", "new", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_the_tests_of_a_new_plugin_pass_where_it_is_installed(tmp_path: Path) -> None:
    done = new("slow-runs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = tmp_path / "runicorn-slow-runs"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*pip, str(tmp_path / "site"), str(made)], check=True, capture_output=True, timeout=100)
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'tests'}"],
        cwd=made,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert tested.returncode == 0, tested.stdout[-4000:]
    assert "2 passed" in tested.stdout


@pytest.mark.slow
def test_what_the_page_on_testing_shows_works_for_a_new_plugin(tmp_path: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "plugins" / "testing.md"
    conftest, test = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
    assert new("endings", cwd=tmp_path).returncode == 0
    tests = tmp_path / "runicorn-endings" / "tests"
    (tests / "conftest.py").write_text(conftest)
    (tests / "test_plugin.py").write_text(test)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*pip, str(tmp_path / "site"), str(tests.parent)], check=True, capture_output=True, timeout=100)
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'tests'}"],
        cwd=tests.parent,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout[-4000:]
    assert "1 passed" in tested.stdout


def test_all_of_it_is_python_that_compiles_and_names_no_placeholder(tmp_path: Path) -> None:
    assert new("endings", "--into", "deep/er", cwd=tmp_path).returncode == 0
    made = tmp_path / "deep/er/runicorn-endings"
    found = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
    package = [f"runicorn_endings/{name}.py" for name in ("__init__", "command", "projection", "routes")]
    assert found == ["README.md", "pyproject.toml", *package, "tests/conftest.py", "tests/test_plugin.py"]
    for name in found:
        text = (made / name).read_text()
        assert "$" not in text
        if name.endswith(".py"):
            compile(text, name, "exec")


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "runicorn-endings").mkdir()
    done = new("endings", cwd=tmp_path)
    assert (done.returncode, "exists already" in done.stderr) == (1, True)
    assert list((tmp_path / "runicorn-endings").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "../x", "Upper", "a b", "a--b", "-a", "a-", "1a", "x" * 41, "runs", "serve", "lambda", "ä"]
)
def test_a_name_that_cannot_be_used_is_refused_and_nothing_is_made(tmp_path: Path, name: str) -> None:
    done = new("--", name, cwd=tmp_path)
    assert done.returncode == 2
    assert "name" in done.stderr
    assert list(tmp_path.iterdir()) == []
