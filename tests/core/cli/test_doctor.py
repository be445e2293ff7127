"""`runicorn doctor` finds what is wrong, says what to do, and changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from runicorn.doctor.examination import within
from runicorn.doctor.finding import Finding
from runicorn.doctor.machine import notices_changes
from runicorn.doctor.places import clock_is_right, has_room, root_is_usable
from runicorn.events.envelope import encode_event
from tests.plugin_on_path import PluginDirectory


def doctor(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, dict[str, dict[str, str]]]:
    command = [sys.executable, "-m", "runicorn", "doctor", "--json", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **(environment or {})}, check=False
    )
    assert done.stderr == ""
    return done.returncode, {finding["check"]: finding for finding in json.loads(done.stdout)}


def test_a_sound_place_has_no_problem_and_is_left_as_it_was(tmp_path: Path) -> None:
    root = tmp_path / "root"
    status, findings = doctor("--storage", str(root))
    assert status == 0, findings
    assert not root.exists()
    assert {"root", "state", "clock", "inotify", "sqlite", "plugin runs", "read models"} <= set(findings)
    assert all("advice" in finding for finding in findings.values() if finding["level"] != "ok")


def test_problems_are_named_with_advice_and_exit_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    plugins = PluginDirectory(tmp_path / "plugins")
    plugins.add("broken", "raise RuntimeError('no luck')")
    state = tmp_path / "state"
    state.mkdir()
    (state / "root.json").write_text(json.dumps({"root": "/elsewhere"}))
    status, findings = doctor(
        "--storage", str(tmp_path / "file"), "--state-dir", str(state), environment=plugins.environment
    )
    assert status == 1
    for name in ("root", "state", "plugin broken"):
        assert findings[name]["level"] == "problem"
        assert findings[name]["advice"]
    assert "no luck" in findings["plugin broken"]["detail"]


def test_lines_for_people_have_their_advice_below(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "runicorn", "doctor", "--storage", str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("problem  root: ")
    assert lines[1].strip().startswith("→ ")


def test_a_damaged_read_model_is_a_warning(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "runs.damaged").write_bytes(b"")
    status, findings = doctor("--storage", str(tmp_path / "root"), "--state-dir", str(state))
    assert (status, findings["read models"]["level"]) == (0, "warning")


def test_commands_from_the_future_are_noticed(tmp_path: Path) -> None:
    log = tmp_path / ".runicorn" / "log"
    log.mkdir(parents=True)
    (log / "00000001.jsonl").write_bytes(encode_event(time.time() + 3600, "run.purged", {}))
    assert clock_is_right(tmp_path, tmp_path / "state").level == "warning"


def test_limits_of_inotify_that_are_low_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "max_user_watches").write_text("5\n")
    found = notices_changes(tmp_path, tmp_path)
    assert found.level == "warning"
    assert found.advice is not None


def test_little_room_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, level in ((1 << 40, "ok"), (1 << 28, "warning"), (1 << 20, "problem")):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: _Usage(free))
        assert has_room("disk", tmp_path).level == level


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_a_check_that_gets_no_answer_or_fails_is_a_problem(tmp_path: Path) -> None:
    over = threading.Event()

    def hang() -> Finding:
        over.wait()
        return root_is_usable(tmp_path, tmp_path)

    def fail() -> Finding:
        raise OSError("an I/O error")

    try:
        assert within("root", hang, 0.05).level == "problem"
    finally:
        over.set()
    assert "an I/O error" in within("root", fail, 10).detail


@pytest.mark.parametrize(("shell", "mark"), [("bash", "complete"), ("zsh", "#compdef"), ("fish", "complete")])
def test_the_script_of_each_shell_is_printed(shell: str, mark: str) -> None:
    command = [sys.executable, "-m", "runicorn", "completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert mark in done.stdout
    assert "_RUNICORN_COMPLETE" in done.stdout
