"""Capturing the environment, and the form in which `environment.json` keeps it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from runicorn.files import write_json
from runicorn.sdk.environment.git import git_info
from runicorn.sdk.environment.gpu import gpu_info
from runicorn.sdk.environment.packages import conda_environment, conda_packages, pip_packages
from runicorn.sdk.environment.remotes import without_credentials

logger = logging.getLogger("runicorn")

T = TypeVar("T")

ENVIRONMENT_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "CUDNN_VERSION",
    "NCCL_VERSION",
    "PYTORCH_VERSION",
    "TF_VERSION",
    "KERAS_BACKEND",
    "JAX_PLATFORM_NAME",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "PATH",
    "VIRTUAL_ENV",
    "CONDA_DEFAULT_ENV",
    "CONDA_PREFIX",
    "RUNICORN_DIR",
    "WANDB_MODE",
    "MLFLOW_TRACKING_URI",
)
"""The variables that are recorded, if they are set; no others."""

_MAX_VALUE = 500


class EnvironmentInfo(msgspec.Struct):
    """What a run ran on. A part that is not there, or could not be found out, is None."""

    python_version: str
    platform: str | None = None
    platform_details: dict[str, str] | None = None
    pip_packages: list[str] | None = None
    conda_packages: list[str] | None = None
    conda_env: str | None = None
    git_info: dict[str, Any] | None = None
    env_variables: dict[str, str] | None = None
    gpu_info: list[dict[str, Any]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The content of `environment.json`."""
        return msgspec.structs.asdict(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Replace the file `path` atomically. OSError if that fails, also if its directory is not (or no longer) there."""
        write_json(os.fspath(path), self.to_dict())


class EnvironmentCapture:
    """Finds out about the environment; `working_dir` (default: the current one) tells which git repository is meant.

    Programs and files that are slow, missing or damaged cost only their own part. Asking all takes from 50 ms to many
    seconds: the SDK does it in a background thread.
    """

    def __init__(self, working_dir: str | os.PathLike[str] | None = None) -> None:
        self.working_dir = Path(os.path.abspath(working_dir) if working_dir is not None else _current_directory())

    def capture_all(self) -> EnvironmentInfo:
        """Everything. Never raises."""
        return EnvironmentInfo(
            python_version=self.get_python_version(),
            platform=_attempt(self.get_platform),
            platform_details=_attempt(self.get_platform_details),
            pip_packages=_attempt(self.get_pip_packages),
            conda_packages=_attempt(self.get_conda_packages),
            conda_env=_attempt(self.get_conda_env),
            git_info=_attempt(self.get_git_info),
            env_variables=_attempt(self.get_env_variables),
            gpu_info=_attempt(self.get_gpu_info),
        )

    def get_python_version(self) -> str:
        """Version, build and compiler of the interpreter."""
        return sys.version

    def get_platform(self) -> str:
        """System, release and machine: `Linux 6.1 (x86_64)`."""
        import platform

        return f"{platform.system()} {platform.release()} ({platform.machine()})"

    def get_platform_details(self) -> dict[str, str]:
        """System, host name, processor and Python implementation."""
        import platform

        return {
            "system": platform.system(),
            "node": platform.node(),
            "release": platform.release(),
            "version": platform.version(),
            "machine": platform.machine(),
            "processor": platform.processor(),
            "python_implementation": platform.python_implementation(),
            "python_compiler": platform.python_compiler(),
        }

    def get_pip_packages(self) -> list[str] | None:
        """`name==version` of every installed distribution."""
        return pip_packages()

    def get_conda_packages(self) -> list[str] | None:
        """`name==version` of every package in the active conda environment."""
        return conda_packages()

    def get_conda_env(self) -> str | None:
        """Name of the active conda environment."""
        return conda_environment()

    def get_git_info(self) -> dict[str, Any] | None:
        """Commit, branch, changes and remote of the repository around the working directory."""
        return git_info(self.working_dir)

    def get_env_variables(self) -> dict[str, str]:
        """Those of `ENVIRONMENT_VARIABLES` that are set: at most 500 characters each, credentials in URLs removed."""
        return {name: _recorded(value) for name in ENVIRONMENT_VARIABLES if (value := os.environ.get(name))}

    def get_gpu_info(self) -> list[dict[str, Any]] | None:
        """Index, name, memory, utilization and temperature of each GPU."""
        return gpu_info()


def _current_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # removed since this process went there; git will say so, too
        return "."


def _recorded(value: str) -> str:
    if "://" in value:
        value = without_credentials(value)
    return value if len(value) <= _MAX_VALUE else value[: _MAX_VALUE - 3] + "..."


def _attempt(part: Callable[[], T]) -> T | None:
    try:
        return part()
    except Exception:
        logger.debug("%s failed", part.__name__, exc_info=True)
        return None
