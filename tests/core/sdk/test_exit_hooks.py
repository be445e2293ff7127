from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.core.sdk.run_files import data_of, events_of, json_of, only_run_in, run_python, start_python
from tests.serving import wait_until

BEGIN = """
import os, signal, sys, threading, time
import runicorn as rn
run = rn.init("p", sys.argv[1], name="n", capture_env=False)
rn.set_primary_metric("acc")
rn.log(acc=0.5)
"""


def status_in(root: Path) -> tuple[str, str | None]:
    status = json_of(only_run_in(root) / "status.json")
    assert ("ended_at" in status) == (status["status"] != "running")
    return status["status"], status.get("exit_reason")


def last_event_in(root: Path) -> dict[str, object]:
    return events_of(only_run_in(root))[-1]


@pytest.mark.parametrize(
    ("end", "expected", "exit_status"),
    [
        ("raise ValueError('mine')", ("failed", "exception"), 1),
        ("raise KeyboardInterrupt", ("interrupted", "keyboard_interrupt"), -signal.SIGINT),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", ("interrupted", "keyboard_interrupt"), -signal.SIGINT),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", ("interrupted", "sigterm"), -signal.SIGTERM),
        ("pass", ("running", None), 0),
        ("sys.exit(3)", ("running", None), 3),
        ("rn.finish(); raise ValueError('mine')", ("finished", None), 1),
        ("rn.finish('odd'); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", ("odd", None), -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGKILL)", ("running", None), -signal.SIGKILL),
        ("threading.Thread(target=lambda: 1 / 0).start()", ("running", None), 0),
    ],
)
def test_what_becomes_of_a_run_whose_process_ends(root: Path, end: str, expected, exit_status: int):
    done = run_python(BEGIN + end, root)
    assert done.returncode == exit_status, done.stderr
    assert status_in(root) == expected
    if "mine" in end:
        assert "ValueError: mine" in done.stderr
    event = last_event_in(root)
    if expected[0] == "running":
        assert event["type"] != "run.finished"
    else:
        status = json_of(only_run_in(root) / "status.json")
        finished = [event for event in events_of(only_run_in(root)) if event["type"] == "run.finished"]
        assert finished[-1]["data"] == {
            "status": expected[0],
            "exit_reason": expected[1],
            "ended_at": status["ended_at"],
        }
    if "SIGKILL" not in end:
        assert json_of(only_run_in(root) / "summary.json")["best_metric_value"] == 0.5


def test_a_normal_exit_writes_a_best_value_that_waits_for_its_second(root: Path):
    done = run_python(BEGIN + "\nfor i in range(100): rn.log(acc=i)", root)
    assert done.returncode == 0
    assert json_of(only_run_in(root) / "summary.json")["best_metric_value"] == 99


def test_a_kill_keeps_every_event_and_the_best_value_up_to_a_second_before(root: Path):
    process = start_python(
        BEGIN + "rn.log(acc=0.75); print(time.time(), flush=True); time.sleep(60)",
        root,
    )
    assert process.stdout is not None
    process.stdout.readline()
    run_dir = only_run_in(root)
    # It improved, and then nothing more was logged.
    wait_until(
        lambda: (run_dir / "summary.json").exists() and json_of(run_dir / "summary.json")["best_metric_value"] == 0.75
    )
    process.kill()
    process.communicate()
    assert [data["acc"] for data in data_of(run_dir)] == [0.5, 0.75]


def test_an_earlier_excepthook_is_called_too(root: Path):
    code = (
        "import sys\n"
        "sys.excepthook = lambda kind, error, tb: print('theirs', kind.__name__)\n" + BEGIN + "raise ValueError"
    )
    done = run_python(code, root)
    assert done.stdout == "theirs ValueError\n"
    assert status_in(root) == ("failed", "exception")


def test_every_unfinished_run_of_the_process_ends(root: Path):
    code = BEGIN + "rn.init('p', sys.argv[1], 'second', 'n', False); raise ValueError"
    run_python(code, root)
    assert {json_of(path)["status"] for path in root.glob("*/*/runs/*/status.json")} == {"failed"}
    assert len(list(root.glob("*/*/runs/*"))) == 2


def test_a_run_that_was_begun_again_and_finished_stays_finished(root: Path):
    run_python(BEGIN + "rn.init('p', sys.argv[1], run.id, 'n', False); rn.finish(); raise ValueError", root)
    assert status_in(root) == ("finished", None)


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "lambda *_: print('theirs', flush=True)"])
def test_a_sigterm_handler_of_the_training_is_left_alone(root: Path, handler: str):
    code = (
        f"import signal; signal.signal(signal.SIGTERM, {handler})\n" + BEGIN + "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = run_python(code, root)
    assert done.returncode == 0
    assert ("theirs" in done.stdout) == ("theirs" in handler)
    assert status_in(root) == ("running", None)


def test_a_handler_that_the_training_installs_later_wins(root: Path):
    code = BEGIN + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); os.kill(os.getpid(), signal.SIGTERM)"
    assert run_python(code, root).returncode == 7


def test_sigterm_during_logging_in_threads_ends_the_process_and_loses_no_event(root: Path):
    process = start_python(
        BEGIN
        + """
def work(name):
    for i in range(10**9):
        rn.log({name: i})
for name in "ab":
    threading.Thread(target=work, args=(name,), daemon=True).start()
print("ready", flush=True)
work("main")
""",
        root,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert status_in(root) == ("interrupted", "sigterm")
    assert sum(event["type"] == "run.finished" for event in events_of(only_run_in(root))) == 1


NATIVE = "import hashlib; print(flush=True); hashlib.pbkdf2_hmac('sha256', b'', b'', (1 << 31) - 1)"  # many minutes


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("", "sigterm"),
        ("rn.finish()", None),
        # One that forks goes on listening, and hears nothing of what its children are sent.
        ("import subprocess; subprocess.run(['true'], preexec_fn=int)", "sigterm"),
        ("child = os.fork() or os.kill(os.getpid(), signal.SIGTERM); os.waitpid(child, 0)", "sigterm"),
    ],
)
def test_sigterm_ends_a_training_that_hangs_in_native_code(root: Path, before: str, reason: str | None):
    process = start_python(f"{BEGIN}\n{before}\n{NATIVE}", root)
    assert process.stdout is not None
    process.stdout.readline()
    started = psutil.Process(process.pid).cpu_times().user
    wait_until(lambda: psutil.Process(process.pid).cpu_times().user > started + 0.1, "the computation")
    process.terminate()
    assert process.wait(60) == -signal.SIGTERM
    assert status_in(root) == ("interrupted" if reason else "finished", reason)
    process.communicate()


def test_the_sigterm_of_a_child_ends_no_training(root: Path):
    code = (
        BEGIN
        + """
children = [os.fork() or time.sleep(60) for _ in range(5)]
for child in children:
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
time.sleep(2)
rn.finish()
"""
    )
    done = run_python(code, root)
    assert done.returncode == 0, done.stderr
    assert status_in(root) == ("finished", None)


def test_where_an_event_loop_listens_to_signals_it_goes_on(root: Path):
    code = """
import asyncio, os, signal, sys
import runicorn as rn

async def main():
    heard = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.set)
    rn.init("p", sys.argv[1], name="n", capture_env=False)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(heard.wait(), 30)
    rn.finish()

asyncio.run(main())
"""
    done = run_python(code, root)
    assert done.returncode == 0, done.stderr
    assert status_in(root) == ("finished", None)


def test_sigterm_sent_twice_still_records_the_end(root: Path):
    code = BEGIN + "os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"
    done = run_python(code, root)
    assert done.returncode == -signal.SIGTERM
    assert status_in(root) == ("interrupted", "sigterm")


def test_sigterm_in_the_middle_of_finish_lets_it_finish(root: Path):
    code = (
        BEGIN
        + """
def terminate(*_): os.kill(os.getpid(), signal.SIGTERM)
sync = os.fsync
os.fsync = lambda descriptor: (terminate(), time.sleep(0.2), sync(descriptor))
rn.finish("done")
time.sleep(60)
"""
    )
    done = run_python(code, root)
    assert done.returncode == -signal.SIGTERM
    assert status_in(root) == ("done", None)


def test_ctrl_c_in_the_middle_of_finish_is_an_interruption(root: Path):
    code = (
        BEGIN
        + """
from runicorn.sdk import side_file
def interrupted(*_): raise KeyboardInterrupt
write, side_file.write_json = side_file.write_json, interrupted
try:
    rn.finish()
finally:
    side_file.write_json = write
"""
    )
    run_python(code, root)
    assert status_in(root) == ("interrupted", "keyboard_interrupt")


def test_the_first_run_may_be_begun_by_another_thread(root: Path):
    code = """
import os, signal, sys, threading, time
import runicorn as rn
thread = threading.Thread(target=rn.init, args=("p", sys.argv[1], None, "n", False))
thread.start(); thread.join()
raise ValueError
"""
    run_python(code, root)
    assert status_in(root) == ("failed", "exception")


def test_exceptions_at_an_interactive_prompt_end_nothing(root: Path):
    process = subprocess.run(
        [sys.executable, "-i", "-q", "-c", BEGIN, str(root)],
        input="1/0\nrn.log(a=1)\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "ZeroDivisionError" in process.stderr
    assert status_in(root) == ("running", None)
    assert data_of(only_run_in(root))[-1]["a"] == 1


def test_what_could_not_be_written_is_named_at_exit(root: Path):
    code = (
        BEGIN
        + """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
for i in range(5): rn.log(a=i)
"""
    )
    done = run_python(code, root)
    assert done.returncode == 0
    assert "lines of the run" in done.stderr
    assert "are lost" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_system_that_recovers_before_exit_loses_nothing(root: Path):
    code = (
        BEGIN
        + """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
for i in range(5): rn.log(a=i)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""
    )
    done = run_python(code, root)
    assert done.returncode == 0
    assert [data["a"] for data in data_of(only_run_in(root)) if "a" in data] == list(range(5))
    assert "are lost" not in done.stderr
