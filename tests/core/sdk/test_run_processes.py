"""Several processes and threads record into one run: forked ones, spawned ones, independent ones."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from runicorn.files import file_lock
from runicorn.sdk.run import Run
from tests.core.sdk.conftest import MakeRun
from tests.core.sdk.run_files import data_of, events_of, json_of, only_run_in, run_python, start_python, types_of
from tests.core.sdk.test_appender import file_size_limit

THREADS, PROCESSES, EVENTS = 8, 4, 100

# Python 3.12 warns of forks in processes with threads; that they work is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def test_threads_of_independent_processes_lose_no_line(root: Path):
    code = """
import sys, threading
import runicorn as rn
rn.init("p", sys.argv[1], "shared", "n", False)
def work(thread):
    for number in range(int(sys.argv[4])):
        rn.log({"who": f"{sys.argv[2]}.{thread}", "number": number, "text": "x" * (number * 7 % 300)})
        if number % 10 == 0:
            rn.log_text(f"{sys.argv[2]}.{thread}.{number}")
threads = [threading.Thread(target=work, args=(thread,)) for thread in range(int(sys.argv[3]))]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    processes = [start_python(code, root, name, THREADS, EVENTS) for name in range(PROCESSES)]
    for process in processes:
        _, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
    data = data_of(only_run_in(root))
    expected = {f"{p}.{t}": list(range(EVENTS)) for p in range(PROCESSES) for t in range(THREADS)}
    found: dict[str, list[int]] = {}
    for row in data:
        found.setdefault(row["who"], []).append(row["number"])
    assert found == expected
    entries = (only_run_in(root) / "logs.txt").read_text().splitlines()
    assert len(entries) == len(set(entries)) == PROCESSES * THREADS * EVENTS // 10


def test_spawned_workers_get_the_run_as_an_argument(run: Run):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_log_many, args=(run, name)) for name in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sorted((row["name"], row["number"]) for row in data_of(run.run_dir)) == [
        (name, number) for name in range(2) for number in range(50)
    ]
    assert json_of(run.run_dir / "status.json")["status"] == "running"


def _log_many(run: Run, name: int) -> None:
    for number in range(50):
        run.log(name=name, number=number)


def in_fork(work) -> int:
    """Exit status of a forked child that calls `work` and then exits like a script would, hooks included."""
    script = os.fork()
    if script == 0:
        status = 70
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(script, 0)[1])


def test_a_forked_child_goes_on_logging(run: Run):
    run.log(who="parent")
    assert in_fork(lambda: [run.log(who="child") for _ in range(100)]) == 0
    run.log(who="parent")
    data = data_of(run.run_dir)
    assert [row["who"] for row in data] == ["parent", *["child"] * 100, "parent"]
    assert [row["global_step"] for row in data] == [1, *range(2, 102), 2]


def test_forks_while_other_threads_log_neither_hang_nor_lose(run: Run):
    run.set_primary_metric("x")
    stop = threading.Event()
    logged = [0, 0]

    def work(name: int) -> None:
        while not stop.is_set():
            run.log(x=logged[name], name=name)
            run.log_text("t")
            run.summary({"a": 1})
            logged[name] += 1

    threads = [threading.Thread(target=work, args=(name,)) for name in range(2)]
    for thread in threads:
        thread.start()

    def child() -> None:
        signal.alarm(30)  # a deadlock ends it
        run.log(child=1)
        run.log_text("c")
        run.summary({"child": 1})
        run.save()

    try:
        assert [in_fork(child) for _ in range(20)] == [0] * 20
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    data = data_of(run.run_dir)
    assert sum("child" in row for row in data) == 20
    for name in range(2):
        assert [row["x"] for row in data if row.get("name") == name] == list(range(logged[name]))


def test_what_waits_in_memory_is_written_by_the_parent_alone(run: Run):
    run.log(x=0)
    with file_size_limit(1):
        run.log(x=1)
        run.summary({"s": 1})
    assert in_fork(lambda: (run.log(x=2), run.save(is_last=True))) == 0
    run.save()
    assert sorted(row["x"] for row in data_of(run.run_dir)) == [0, 1, 2]
    assert types_of(run.run_dir).count("run.summarized") == 1


@pytest.mark.parametrize(
    "end",
    [
        "sys.exit(0)",
        "raise ValueError",
        "raise KeyboardInterrupt",
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
    ],
)
@pytest.mark.parametrize("in_block", [False, True])
def test_the_end_of_a_forked_child_does_not_end_the_run(root: Path, end: str, in_block: bool):
    code = f"""
import os, signal, sys, time
import runicorn as rn
run = rn.init("p", sys.argv[1], name="n", capture_env=False)
rn.log(a=1)
def main():
    child = os.fork()
    if child == 0:
        rn.log(a=2)
        {end}
    os.waitpid(child, 0)
    rn.log(a=3)
    print(open(run.run_dir / "status.json").read())
if {in_block}:
    with run:
        main()
else:
    main()
"""
    done = run_python(code, root)
    assert done.returncode == 0, done.stderr
    assert '"status": "running"' in done.stdout
    assert [row["a"] for row in data_of(only_run_in(root))] == [1, 2, 3]
    assert json_of(only_run_in(root) / "status.json")["status"] == ("finished" if in_block else "running")


def test_a_terminated_forked_worker_dies_by_the_signal(root: Path):
    code = """
import multiprocessing, sys, time
import runicorn as rn
rn.init("p", sys.argv[1], name="n", capture_env=False)
def work(ready):
    rn.log(a=1)
    ready.set()
    time.sleep(60)
context = multiprocessing.get_context("fork")
ready = context.Event()
process = context.Process(target=work, args=(ready,))
process.start()
ready.wait(30)
process.terminate()
process.join()
print(process.exitcode)
rn.finish()
"""
    done = run_python(code, root)
    assert done.stdout == "-15\n", done.stderr
    assert types_of(only_run_in(root)) == ["run.created", "metrics", "run.finished"]


def test_a_forked_child_may_begin_and_end_a_run_of_its_own(root: Path):
    code = """
import os, sys
import runicorn as rn
rn.init("p", sys.argv[1], "parent", "n", False)
child = os.fork()
if child == 0:
    rn.init("p", sys.argv[1], "child", "n", False)
    rn.log(a=1)
    raise ValueError
os.waitpid(child, 0)
"""
    assert run_python(code, root).returncode == 0
    statuses = {path.parent.name: json_of(path)["status"] for path in root.glob("p/n/runs/*/status.json")}
    assert statuses == {"parent": "running", "child": "failed"}


@pytest.mark.slow
def test_finishing_always_wins_against_a_liveness_check(make_run: MakeRun, tmp_path: Path):
    """Another process does what the check does, all the time: lock, read again, write if it still runs."""
    code = """
import sys
from runicorn.files import file_lock, read_json_object, write_json
unfinished = {f"{directory}/status.json" for directory in sys.argv[1:]}
print("ready", flush=True)
while unfinished:
    for path in list(unfinished):
        with file_lock(path + ".lock"):
            status = read_json_object(path)
            if status["status"] == "finished":
                unfinished.remove(path)
            else:
                write_json(path, {**status, "status": "failed", "exit_reason": "process_not_found"})
"""
    runs = [make_run() for _ in range(1000)]
    process = start_python(code, *[run.run_dir for run in runs])
    assert process.stdout is not None
    process.stdout.readline()
    for run in runs:
        run.finish()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    for run in runs:
        status = json_of(run.run_dir / "status.json")
        assert status["status"] == "finished"
        assert "exit_reason" not in status
        assert events_of(run.run_dir)[-1]["data"]["status"] == "finished"


def test_a_forked_child_keeps_no_lock_that_its_parent_held(tmp_path: Path):
    path = tmp_path / "lock"
    with file_lock(path):
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
    try:
        # The child gives its copy of the descriptor up before anything else runs there.
        with file_lock(path, timeout_s=20):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
