"""Where things are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runicorn.config import config_file, state_directory, storage_root, user_config_dir


@pytest.fixture
def configure():
    """A function that writes the user's `config.json`."""

    def write(text: str) -> None:
        config_file().parent.mkdir(parents=True, exist_ok=True)
        config_file().write_text(text)

    return write


def test_the_argument_beats_the_environment_beats_the_configuration_beats_the_default(tmp_path, monkeypatch, configure):
    monkeypatch.chdir(tmp_path)
    assert storage_root() == tmp_path / ".runicorn"
    configure(json.dumps({"user_root_dir": str(tmp_path / "configured")}))
    assert storage_root() == tmp_path / "configured"
    monkeypatch.setenv("RUNICORN_DIR", "relative")
    assert storage_root() == tmp_path / "relative"
    assert storage_root("/given") == Path("/given")
    assert storage_root(Path("/given/../other")) == Path("/other")


def test_empty_values_count_as_unset_and_tilde_is_expanded(tmp_path, monkeypatch, configure):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("RUNICORN_DIR", "")
    configure(json.dumps({"user_root_dir": "~/runs"}))
    assert storage_root("") == Path("/home/somebody/runs")


@pytest.mark.parametrize("content", ["", "[]", '{"user_root_dir": 5}', "{", "null"])
def test_a_damaged_configuration_is_none(tmp_path, monkeypatch, configure, content):
    monkeypatch.chdir(tmp_path)
    configure(content)
    assert storage_root() == tmp_path / ".runicorn"


def test_read_models_are_below_the_root_unless_told_otherwise(tmp_path, monkeypatch):
    assert state_directory(tmp_path) == tmp_path / ".runicorn" / "state"
    monkeypatch.setenv("RUNICORN_STATE_DIR", str(tmp_path / "elsewhere"))
    assert state_directory(tmp_path).parent == tmp_path / "elsewhere"
    assert state_directory(tmp_path, "/given") == Path("/given")


def test_in_a_shared_directory_every_root_has_its_own_whatever_its_name_or_the_way_to_it(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNICORN_STATE_DIR", str(tmp_path / "shared"))
    roots = [tmp_path / "a" / "runs", tmp_path / "b" / "runs", tmp_path / ("x" * 255), Path("/")]
    (tmp_path / "a" / "runs").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    directories = [state_directory(root) for root in roots]

    assert len(set(directories)) == len(roots)
    assert all(directory.parent == tmp_path / "shared" for directory in directories)
    assert re.fullmatch("runs-[0-9a-f]{8}", directories[0].name)
    assert state_directory(tmp_path / "link" / "runs") == directories[0]
    directories[2].mkdir(parents=True)


def test_the_configuration_directory_follows_xdg(monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", "/somewhere")
    assert user_config_dir() == Path("/somewhere/runicorn")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert user_config_dir() == Path("/home/somebody/.config/runicorn")


def test_a_user_without_a_home_has_no_configuration_and_no_error():
    program = """
import pwd
def nobody(uid):
    raise KeyError(uid)  # what a container's user without an entry in /etc/passwd gets
pwd.getpwuid = nobody
from runicorn.config import config_file, storage_root
assert not config_file().exists()
print(storage_root("/given"))
"""
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CONFIG_HOME")}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout == "/given\n", result.stderr
