from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn.sdk.environment import EnvironmentCapture, EnvironmentInfo
from runicorn.sdk.environment.command import output_of
from runicorn.sdk.environment.git import git_info
from runicorn.sdk.environment.gpu import gpu_info
from runicorn.sdk.environment.packages import conda_environment, conda_packages, pip_packages
from runicorn.sdk.environment.remotes import without_credentials


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with one commit on the branch `trunk`."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    directory = tmp_path / "code"
    directory.mkdir()
    git(directory, "init", "-q", "-b", "trunk")
    git(directory, "config", "user.name", "Ada Lovelace")
    git(directory, "config", "user.email", "ada@example.org")
    (directory / "train.py").write_text("print(1)\n")
    git(directory, "add", ".")
    git(directory, "commit", "-qm", "First model\n\nWith a body.")
    return directory


def git(directory: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=directory, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A function that puts a shell script with a given name first on the search path."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)

    def add(name: str, script: str) -> Path:
        program = directory / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    return add


class TestCapture:
    def test_finds_interpreter_machine_and_packages(self):
        info = EnvironmentCapture().capture_all()
        assert info.python_version == sys.version
        assert info.platform is not None
        assert info.platform.endswith(f"({os.uname().machine})")
        assert info.platform_details is not None
        assert info.platform_details["node"] == os.uname().nodename
        assert info.pip_packages is not None
        assert f"msgspec=={version('msgspec')}" in info.pip_packages

    def test_saves_the_documented_fields(self, tmp_path):
        info = EnvironmentCapture(tmp_path).capture_all()
        info.save(tmp_path / "environment.json")
        stored = json.loads((tmp_path / "environment.json").read_text("utf-8"))
        assert stored == info.to_dict()
        assert set(stored) == set(EnvironmentInfo.__struct_fields__)
        assert len(stored) == 9
        assert stored["git_info"] is None
        assert [path.name for path in tmp_path.iterdir()] == ["environment.json"]

    def test_saving_never_makes_a_removed_run_directory_again(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            EnvironmentInfo("3").save(str(tmp_path / "purged" / "environment.json"))
        assert list(tmp_path.iterdir()) == []

    def test_a_damaged_part_costs_only_itself(self, tmp_path, programs):
        programs("git", "exit 3")
        programs("nvidia-smi", "echo 'NVIDIA-SMI has failed'")
        info = EnvironmentCapture(tmp_path / "not there").capture_all()
        assert (info.git_info, info.gpu_info) == (None, None)
        assert info.pip_packages

    def test_only_listed_variables_that_are_set_are_recorded(self, monkeypatch):
        monkeypatch.setenv("OMP_NUM_THREADS", "4")
        monkeypatch.setenv("CUDA_HOME", "")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("PYTHONPATH", "x" * 501)
        monkeypatch.setenv("LD_LIBRARY_PATH", "y" * 500)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:secret@mlflow.example.org/1")
        variables = EnvironmentCapture().get_env_variables()
        assert variables["OMP_NUM_THREADS"] == "4"
        assert "CUDA_HOME" not in variables
        assert variables["PYTHONPATH"] == "x" * 497 + "..."
        assert variables["LD_LIBRARY_PATH"] == "y" * 500
        assert variables["MLFLOW_TRACKING_URI"] == "https://mlflow.example.org/1"
        assert "secret" not in str(variables)

    def test_a_removed_working_directory_is_no_repository(self, tmp_path):
        script = (
            "import os, sys; d = sys.argv[1]; os.mkdir(d); os.chdir(d); os.rmdir(d)\n"
            "from runicorn.sdk.environment import EnvironmentCapture\n"
            "print(EnvironmentCapture().capture_all().git_info)"
        )
        command = [sys.executable, "-c", script, str(tmp_path / "gone")]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "None\n"


class TestPackages:
    def test_pip_packages_are_those_of_pip(self):
        freeze = [sys.executable, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"]
        listed = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout.split()
        assert {line.lower().replace("_", "-") for line in pip_packages()} >= {
            line.lower().replace("_", "-") for line in listed
        }

    def test_a_damaged_distribution_is_left_out(self, tmp_path, monkeypatch):
        for name, text in ("whole", "Name: whole\nVersion: 1\n\nVersion: 2"), ("torn", "Name: torn"), ("empty", None):
            (tmp_path / f"{name}-1.dist-info").mkdir()
            if text is not None:
                (tmp_path / f"{name}-1.dist-info" / "METADATA").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        found = pip_packages()
        assert "whole==1" in found
        assert not [line for line in found if line.startswith(("torn", "empty"))]

    def test_conda_packages_are_read_from_their_records(self, tmp_path):
        (tmp_path / "conda-meta").mkdir()
        for name in ("python-3.11.7-h955ad1f_0.json", "scikit-learn-1.4.0-py311h1.json", "history"):
            (tmp_path / "conda-meta" / name).write_text("{}")
        environment = {"CONDA_PREFIX": str(tmp_path), "CONDA_DEFAULT_ENV": "vision"}
        assert conda_packages(environment) == ["python==3.11.7", "scikit-learn==1.4.0"]
        assert conda_environment(environment) == "vision"
        assert conda_environment({"CONDA_PREFIX": "/opt/conda/envs/nlp"}) == "nlp"

    def test_without_conda_there_is_nothing(self, tmp_path):
        assert conda_packages({}) is None
        assert conda_packages({"CONDA_PREFIX": str(tmp_path)}) is None
        assert conda_environment({}) is None


class TestGit:
    def test_a_clean_repository(self, repository):
        assert git_info(repository) == {
            "commit": git(repository, "rev-parse", "HEAD"),
            "branch": "trunk",
            "has_changes": False,
            "remote": None,
            "last_commit_message": "First model",
            "last_commit_author": "Ada Lovelace",
        }

    def test_changes_are_counted_by_file(self, repository):
        (repository / "train.py").write_text("print(2)\n")
        (repository / "new file.py").write_text("")
        (repository / "old.py").write_text("some content that git recognizes\n" * 5)
        git(repository, "add", "old.py")
        git(repository, "commit", "-qm", "Second", "old.py")
        git(repository, "mv", "old.py", "renamed.py")
        info = git_info(repository)
        assert info is not None
        assert (info["has_changes"], info["changed_files_count"]) == (True, 3)

    def test_the_storage_of_runs_is_no_change(self, repository):
        (repository / ".runicorn" / "default").mkdir(parents=True)
        (repository / ".runicorn" / "default" / "meta.json").write_text("{}")
        info = git_info(repository)
        assert info is not None
        assert info["has_changes"] is False

    def test_a_detached_head_and_a_repository_without_commits(self, repository, tmp_path):
        git(repository, "checkout", "-q", "--detach")
        info = git_info(repository)
        assert info is not None
        assert info["branch"] == "HEAD"
        git(tmp_path, "init", "-q", "-b", "main", "fresh")
        fresh = git_info(tmp_path / "fresh")
        assert fresh is not None
        assert (fresh["commit"], fresh["branch"], fresh["last_commit_author"]) == (None, "main", None)

    def test_the_remote_is_origin_without_credentials(self, repository):
        git(repository, "remote", "add", "fork", "git@example.org:ada/model.git")
        info = git_info(repository)
        assert info is not None
        assert info["remote"] == "example.org:ada/model.git"
        git(repository, "remote", "add", "origin", "https://ada:secret@example.org/model.git")
        info = git_info(repository)
        assert info is not None
        assert info["remote"] == "https://example.org/model.git"

    def test_a_subdirectory_belongs_to_the_repository_other_directories_do_not(self, repository, tmp_path):
        (repository / "src").mkdir()
        info = git_info(repository / "src")
        assert info is not None
        assert info["branch"] == "trunk"
        assert git_info(tmp_path) is None

    def test_looking_does_not_write_the_index(self, repository):
        os.utime(repository / "train.py", (1, 1))  # git would like to refresh its index now
        before = (repository / ".git" / "index").read_bytes()
        git_info(repository)
        assert (repository / ".git" / "index").read_bytes() == before


class TestCredentials:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("https://github.com/a/b.git", "https://github.com/a/b.git"),
            ("https://github.com:8443/a/b.git", "https://github.com:8443/a/b.git"),
            ("https://secret@github.com/a/b.git", "https://github.com/a/b.git"),
            ("https://user:secret@github.com/a/b.git", "https://github.com/a/b.git"),
            ("https://user:sec@ret@github.com/a", "https://github.com/a"),
            ("https://user:sec/ret@github.com/a", "https://github.com/a"),
            ("https://user:sec?r#et@github.com/a", "https://github.com/a"),
            ("https://user:secret@[::1]:8080/a", "https://[::1]:8080/a"),
            ("https://[::1]/a", "https://[::1]/a"),
            ("https://host/@scope/a", "https://host/@scope/a"),
            ("https://host/a?access_token=secret", "https://host/a"),
            ("https://host/a#secret", "https://host/a"),
            ("https://host?token=secret", "https://host"),
            ("HTTPS://user:secret@host/a", "HTTPS://host/a"),
            ("ssh://git@host:22/a", "ssh://host:22/a"),
            ("git@github.com:a/b.git", "github.com:a/b.git"),
            ("user:secret@host:a/b@c", "host:a/b@c"),
            ("ext::https://user:secret@host/a", "ext::https://host/a"),
            ("/srv/git/a@b.git", "/srv/git/a@b.git"),
            ("C:\\code\\a@b", "C:\\code\\a@b"),
            ("file:///srv/git/a.git", "file:///srv/git/a.git"),
            ("https://host/ghp_abcdefghijklmnopqrstuvwxyz0123456789/a", "https://host/***/a"),
            ("", ""),
        ],
    )
    def test_are_removed(self, url, expected):
        assert without_credentials(url) == expected

    @given(
        st.text(st.characters(exclude_characters="/@", codec="utf-8")),
        st.text(st.sampled_from("s3cr$t@?#%"), min_size=1) | st.text(st.sampled_from("s3cr$t/?#%"), min_size=1),
    )
    def test_a_password_never_stays(self, user, password):
        url = f"https://{user}:MARK{password}MARK@host.example.org/a"
        assert "MARK" not in without_credentials(url)

    @given(st.text())
    def test_removing_twice_changes_nothing_more(self, url):
        once = without_credentials(url)
        assert len(once) <= max(len(url), 3)
        if "@" not in once:
            assert without_credentials(once) == once


class TestGpus:
    def test_are_read_from_nvidia_smi(self, programs):
        programs(
            "nvidia-smi",
            "echo '0, NVIDIA H200, 143771, 142747, 37, 41'; echo '1, Odd, name, 1024, [N/A], [Not Supported], 40.5'",
        )
        assert gpu_info() == [
            {
                "index": 0,
                "name": "NVIDIA H200",
                "memory_total_mb": 143771,
                "memory_free_mb": 142747,
                "utilization_percent": 37,
                "temperature_c": 41,
            },
            {
                "index": 1,
                "name": "Odd, name",
                "memory_total_mb": 1024,
                "memory_free_mb": None,
                "utilization_percent": None,
                "temperature_c": 40.5,
            },
        ]

    @pytest.mark.parametrize("script", ["exit 9", "echo 'No devices were found'", "true"])
    def test_are_null_when_nvidia_smi_knows_none(self, programs, script):
        programs("nvidia-smi", script)
        assert gpu_info() is None

    def test_without_nvidia_smi_torch_is_asked_if_the_process_uses_it(self, tmp_path):
        package = tmp_path / "torch"  # stands in for torch, which is too large here
        package.mkdir()
        (package / "__init__.py").write_text("from torch import cuda, version\n")
        (package / "version.py").write_text("cuda = '12.4'\n")
        (package / "cuda.py").write_text(
            "from types import SimpleNamespace\n"
            "def device_count(): return 1\n"
            "def get_device_properties(i): return SimpleNamespace(name='Orin', total_memory=2**33, major=8, minor=7)\n"
        )
        script = "from runicorn.sdk.environment.gpu import gpu_info; print(gpu_info())"
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PATH": ""}
        for imports, expected in [
            ("", None),
            ("import torch; ", [{"index": 0, "name": "Orin", "memory_total_mb": 8192, "compute_capability": "8.7"}]),
        ]:
            command = [sys.executable, "-c", imports + script]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            assert done.stdout == f"{expected}\n"


class TestCommands:
    def test_output_of_a_program(self):
        assert output_of(["sh", "-c", "echo $GREETING"], timeout_s=30, env={"GREETING": "hello"}) == "hello\n"

    def test_missing_and_failing_programs_print_nothing(self, tmp_path):
        assert output_of(["no-such-program"], timeout_s=30) is None
        assert output_of(["sh", "-c", "echo half; exit 1"], timeout_s=30) is None
        assert output_of(["true"], timeout_s=30, cwd=tmp_path / "missing") is None

    def test_a_hanging_program_is_killed_with_its_children(self, tmp_path):
        pids = tmp_path / "pids"
        script = f"sleep 1000 & echo $! > {pids}.part; mv {pids}.part {pids}; wait"
        assert output_of(["sh", "-c", script], timeout_s=0.5) is None
        assert wait_until_gone(int(pids.read_text()))

    @pytest.mark.skipif(shutil.which("setsid") is None, reason="needs setsid")
    def test_a_child_that_left_the_group_and_keeps_the_output_open_does_not_hold_us_up(self, tmp_path):
        pids = tmp_path / "pids"
        assert output_of(["sh", "-c", f"setsid sleep 1000 & echo $! > {pids}; wait"], timeout_s=0.5) is None
        os.kill(int(pids.read_text()), 9)


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat")
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False
