"""Waiting for the code of plugins: not for ever."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from runicorn.patience import Call, Patience, TookTooLong, last_call, patience_s

DIE = """
import sys, time
from pathlib import Path
from runicorn.patience import Deadly
patience = Deadly(Path(sys.argv[1]), 0.3)
with patience.call("quick", "apply"):
    pass
with patience.call("runs", "apply"):
    time.sleep(0.6)
print("waited for a plugin of ours", flush=True)
with patience.call("stuck", "apply"):
    {hang}
"""


def forever() -> None:
    while True:
        time.sleep(60)


def test_a_call_that_does_not_return_is_interrupted() -> None:
    handler, timer = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    with (
        pytest.raises(TookTooLong, match=re.escape("routes has not returned for 0.2 s")),
        Patience(0.2).call("x", "routes"),
    ):
        forever()
    assert signal.getsignal(signal.SIGALRM) == handler
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) == (timer[0] > 0)  # that of this test goes on


def test_a_call_that_catches_every_exception_is_interrupted_all_the_same() -> None:
    def stubborn() -> None:
        while True:
            try:
                forever()
            except Exception:
                continue

    with pytest.raises(TookTooLong), Patience(0.2).call("x", "import"):
        stubborn()


def test_plugins_of_ours_and_other_threads_are_waited_for() -> None:
    with Patience(0.05).call("runs", "apply"):
        time.sleep(0.2)
    done = threading.Event()

    def work() -> None:
        with Patience(0.05).call("x", "apply"):
            time.sleep(0.2)
            done.set()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done.is_set()


@pytest.mark.parametrize(
    "hang",
    [
        "time.sleep(60)",
        "import re; re.match('(a*)*b', 'a' * 60)",  # holds the interpreter's lock: no handler could run
        "import apsw; apsw.Connection('').execute('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT sum(i) FROM n').fetchall()",  # noqa: E501  # one line of code for another process
    ],
)
def test_deadly_patience_ends_the_process_whatever_it_is_doing_and_says_in_whose_call(
    tmp_path: Path, hang: str
) -> None:
    command = [sys.executable, "-c", DIE.format(hang=hang), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGALRM, done.stderr
    assert done.stdout == "waited for a plugin of ours\n"
    assert last_call(tmp_path) == Call("stuck", "apply")


def test_a_process_that_ends_in_no_call_has_nobody_to_blame(tmp_path: Path) -> None:
    assert last_call(tmp_path) is None
    command = [sys.executable, "-c", DIE.format(hang="pass"), str(tmp_path)]
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert last_call(tmp_path) is None


@pytest.mark.parametrize(
    ("given", "seconds"), [("2.5", 2.5), ("", 30), ("soon", 30), ("0", 30), ("nan", 30), ("-1", 30)]
)
def test_how_long_is_configured(monkeypatch: pytest.MonkeyPatch, given: str, seconds: float) -> None:
    monkeypatch.setenv("RUNICORN_PLUGIN_PATIENCE", given)
    assert patience_s() == seconds
