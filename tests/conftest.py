"""What all tests share: nothing of the user's own configuration is read, and CI knows which tests may be skipped."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import WorkStealingScheduling

from tests.scheduling import longest_first
from tests.serving import serve
from tests.ssh_server import sshd

__all__ = ["serve", "sshd"]

ALLOWED_SKIPS = Path(__file__).parent.parent / ".ci" / "allowed-skips"

# A shell ignores Ctrl-C for what it starts in the background, and every process that tests start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests never touch the keyring of whoever runs them.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"

# Hundreds of processes that each compile all modules again would take a third of the suite's time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Hundreds of processes that load numpy: each would start a thread for every processor, and has no use for it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True)
# In CI the same examples each time: a change is judged by what it changes. Elsewhere others are looked for.
settings.load_profile("ci" if os.environ.get("RUNICORN_CI") else "default")

_skipped: dict[str, str] = {}
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _own_configuration(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty configuration directory, and none of the variables by which a user configures Runicorn."""
    for name in [name for name in os.environ if name.startswith("RUNICORN_") and name != "RUNICORN_CI"]:
        monkeypatch.delenv(name)
    directory = tmp_path_factory.getbasetemp() / "configurations" / str(next(_numbers))
    directory.mkdir(parents=True)  # `mktemp` looks at all directories of all tests before
    monkeypatch.setenv("XDG_CONFIG_HOME", str(directory))


def pytest_xdist_auto_num_workers() -> int:
    """Two per processor and two more: most tests wait for servers, files and clocks; the long ones do little else."""
    return 2 * (os.cpu_count() or 1) + 2


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WorkStealingScheduling | None:
    """Who has nothing to do takes tests over: what comes after a long one does not wait for it."""
    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that say how long they take, `slow(seconds)`, begin first, each in another process."""
    if hasattr(config, "workerinput"):
        items[:] = longest_first(items, _seconds, config.workerinput["workercount"])


def _seconds(item: pytest.Item) -> float:
    return max((float(mark.args[0]) for mark in item.iter_markers("slow") if mark.args), default=0.0)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):  # an expected failure has run
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        _skipped[report.nodeid] = reason


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test that is not listed fails the run: a test that never runs protects nothing."""
    if os.environ.get("RUNICORN_CI") and not hasattr(session.config, "workerinput"):
        lines = ALLOWED_SKIPS.read_text().splitlines()
        allowed = {line.partition("#")[0].strip() for line in lines}
        unlisted = {node: reason for node, reason in _skipped.items() if node not in allowed}
        for node, reason in sorted(unlisted.items()):
            print(f"\nskipped, but not listed in {ALLOWED_SKIPS.name}: {node}: {reason}")
        if unlisted and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
