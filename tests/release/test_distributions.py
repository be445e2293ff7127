"""What is published: a wheel and a source distribution that hold everything, and a quiet import."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import runicorn.version
from tests.examples.installing import PIP
from tests.release.building import TOP, build

PACKAGES = ("runicorn", "runicorn_runs", "runicorn_artifacts", "runicorn_remote", "runicorn_query", "runicorn_system")


def test_the_import_warns_of_nothing() -> None:
    for module in (*PACKAGES, "runicorn.plugin", "runicorn.cli"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", f"import {module}"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), module


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_wheel_and_source_distribution_install_and_work_without_a_compiler(tmp_path: Path) -> None:
    """From both, without the network: dependencies are those that are here, and the build's tools, too."""
    wheel, archive = build(TOP, tmp_path)
    assert wheel.name.endswith("-py3-none-any.whl")  # nothing in it was compiled
    assert "runicorn/py.typed" in zipfile.ZipFile(wheel).namelist()
    with tarfile.open(archive) as tar:
        assert any(name.endswith("core/runicorn/py.typed") for name in tar.getnames())

    environment = {**os.environ, "CC": "false", "CXX": "false"}
    for distribution in (wheel, archive):
        target = tmp_path / f"installed-{distribution.suffix[1:]}"
        subprocess.run([*PIP, "--no-index", "--target", str(target), str(distribution)], check=True, env=environment)
        code = "import runicorn, sys; from runicorn.cli import main; print(runicorn.__file__); main()"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, "--version"],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(target)},
        )
        where, version = done.stdout.splitlines()
        assert Path(where).is_relative_to(target)
        assert version == f"runicorn {runicorn.version.__version__}"
