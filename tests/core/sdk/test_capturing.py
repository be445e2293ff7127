from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from tests.core.sdk.conftest import MakeRun
from tests.core.sdk.run_files import json_of, only_run_in, run_python
from tests.serving import wait_until


def test_the_environment_is_written_in_the_background(make_run: MakeRun):
    run = make_run(capture_env=True)
    wait_until((run.run_dir / "environment.json").exists, "environment.json")
    environment = json_of(run.run_dir / "environment.json")
    assert environment["platform"] == json_of(run.run_dir / "meta.json")["platform"]
    assert any(package.startswith("msgspec==") for package in environment["pip_packages"])


def test_runs_in_quick_succession_each_get_one_with_their_own_variables(make_run: MakeRun, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    first = make_run(capture_env=True)
    wait_until((first.run_dir / "environment.json").exists, "the first")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    others = [make_run(capture_env=True) for _ in range(10)]
    wait_until(lambda: all((run.run_dir / "environment.json").exists() for run in others), "the others")
    assert json_of(first.run_dir / "environment.json")["env_variables"]["CUDA_VISIBLE_DEVICES"] == "1"
    assert json_of(others[-1].run_dir / "environment.json")["env_variables"]["CUDA_VISIBLE_DEVICES"] == "2"


def test_a_purged_run_is_not_made_again(make_run: MakeRun):
    purged = make_run(capture_env=True)
    shutil.rmtree(purged.run_dir)
    later = make_run(capture_env=True)
    wait_until((later.run_dir / "environment.json").exists, "the run after it")
    assert not purged.run_dir.exists()


def test_a_short_script_has_it_as_well(root: Path):
    done = run_python("import sys, runicorn as rn; rn.init('p', sys.argv[1]); rn.finish()", root)
    assert done.stderr == ""
    assert json_of(only_run_in(root) / "environment.json")["python_version"]


def test_a_slow_tool_delays_neither_init_nor_exit(root: Path, tmp_path: Path):
    tool = tmp_path / "bin" / "git"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nsleep 4\ntouch {tmp_path}/ended\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    code = f"""
import os, sys, time
import runicorn as rn
rn.init("p", sys.argv[1])
rn.log(a=1)
rn.finish()
while not os.path.exists("{tmp_path}/started"):
    time.sleep(0.01)
"""
    done = run_python(code, root, PATH=f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    assert not (tmp_path / "ended").exists()
    assert done.returncode == 0
    assert done.stderr == ""
    assert json_of(only_run_in(root) / "status.json")["status"] == "finished"


def test_a_fork_in_the_middle_of_a_capture_can_import_everything(root: Path):
    code = """
import os, signal, sys, time
import runicorn as rn
rn.init("p", sys.argv[1])
statuses = []
for delay in range(40):
    time.sleep(0.005)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a deadlock ends it
        import email.parser, importlib.metadata, platform, subprocess, runicorn.sdk.environment
        rn.log(a=1)
        os._exit(0)
    statuses.append(os.waitpid(child, 0)[1])
print(set(statuses))
"""
    done = run_python(code, root)
    assert done.stdout == "{0}\n", done.stderr
