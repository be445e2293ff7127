"""Installed as anybody would, into an empty environment, from what is published: everything is there, nothing was compiled.

Dependencies come from the index that pip is configured with; without one the tests are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.release.building import TOP, build

DRIVER = Path(__file__).with_name("drive_installation.py")
# Nothing of these environments is that of the tests; and whoever calls a compiler fails.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"CC": "false", "CXX": "false"}


def run(*command: str | Path, directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {**ENVIRONMENT, "XDG_CONFIG_HOME": str(directory / "config"), "RUNICORN_DIR": str(directory / "root")}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the source distribution."""
    wheel, archive = build(TOP, tmp_path_factory.mktemp("published"))
    return {"wheel": wheel, "source distribution": archive}


@pytest.mark.slow(25)
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["wheel", "source distribution"])
def test_a_clean_environment_gets_all_of_it_without_a_compiler(
    kind: str, published: dict[str, Path], tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    programs = tmp_path / "venv" / "bin"
    pip = (sys.executable, "-m", "pip", "--python", str(programs / "python"))
    found = run(*pip, "download", "--quiet", "--no-deps", "--dest", tmp_path / "probe", "msgspec", directory=tmp_path)
    if found.returncode:
        pytest.skip("pip has no index here")
    # What is imported is compiled then; compiling all of the dependencies takes longer than installing them.
    options = ("install", "--quiet", "--no-compile", "--only-binary", ":all:")
    installed = run(*pip, *options, published[kind], directory=tmp_path)
    assert installed.returncode == 0, installed.stderr

    where = "import runicorn, pathlib; print(pathlib.Path(runicorn.__file__).parent)"
    imported = run(programs / "python", "-W", "error", "-c", where, directory=tmp_path)
    assert (imported.returncode, imported.stderr) == (0, "")
    package = Path(imported.stdout.strip())
    assert package.is_relative_to(tmp_path)
    for name in (
        "runicorn",
        "runicorn_runs",
        "runicorn_artifacts",
        "runicorn_remote",
        "runicorn_query",
        "runicorn_system",
    ):
        assert (package.parent / name / "py.typed").is_file(), name

    completion = run(programs / "runicorn", "completion", "bash", directory=tmp_path)
    assert "_RUNICORN_COMPLETE" in completion.stdout
    (tmp_path / "root").mkdir()
    doctor = run(programs / "runicorn", "doctor", "--json", directory=tmp_path)
    assert len(json.loads(doctor.stdout)) > 5, doctor.stderr

    driven = run(programs / "python", DRIVER, tmp_path / "root", directory=tmp_path)
    assert driven.returncode == 0, driven.stderr
    answers = json.loads(driven.stdout)
    assert {answer["status"] for answer in answers.values()} == {200}
    assert len([path for path in answers if path.startswith("/docs/")]) >= 2
    assert int(answers["/api/runs"]["limit"]) > 0
    assert "/api/runs/{run_id}" in json.loads(answers["/openapi.json"]["text"])["paths"]
    plugins = json.loads(answers["/api/health"]["text"])["plugins"]
    assert {name: told["status"] for name, told in plugins.items()} == dict.fromkeys(
        ("runs", "artifacts", "remote", "query", "system"), "ok"
    )
