from __future__ import annotations

import contextlib
import copy
import json
import logging
import math
import os
import pickle
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from runicorn.names import is_run_id
from runicorn.sdk.run import Run
from tests.core.sdk.conftest import MakeRun
from tests.core.sdk.run_files import data_of, events_of, json_of, run_python, types_of
from tests.core.sdk.test_appender import file_size_limit
from tests.serving import wait_until


class TestBeginning:
    def test_a_new_run_has_the_files_and_fields_of_0_4_0(self, run: Run, root: Path):
        assert is_run_id(run.id)
        assert run.run_dir == root / "p" / "default" / "runs" / run.id
        assert sorted(path.name for path in run.run_dir.iterdir() if path.suffix != ".lock") == [
            "events.jsonl",
            "media",
            "meta.json",
            "status.json",
        ]
        meta = json_of(run.run_dir / "meta.json")
        assert meta["id"] == run.id
        assert (meta["project"], meta["name"]) == ("p", "default")
        assert meta["python"] == "{}.{}.{}".format(*sys.version_info)
        assert re.fullmatch(r"\S+ \S+ \(\S+\)", meta["platform"])
        assert meta["hostname"] == os.uname().nodename
        assert meta["pid"] == os.getpid()
        assert meta["storage_dir"] == str(root)
        assert meta["pid_started_at"] < meta["created_at"] <= time.time()
        assert json_of(run.run_dir / "status.json") == {"status": "running", "started_at": meta["created_at"]}
        assert (run.run_dir / "meta.json").stat().st_mode & 0o777 == 0o644
        assert (run.run_dir / "meta.json").read_text().startswith('{\n  "id"')

    def test_the_first_event_says_what_meta_json_says(self, run: Run):
        (event,) = events_of(run.run_dir)
        meta = json_of(run.run_dir / "meta.json")
        assert event["type"] == "run.created"
        assert event["ts"] == meta["created_at"]
        expected = {key: value for key, value in meta.items() if key not in ("id", "storage_dir")}
        assert event["data"] == {"run_id": run.id, **expected}

    def test_a_run_knows_its_directories(self, run: Run, root: Path):
        assert run.storage_root == root
        assert run.project_dir == root / "p"
        assert run.experiment_dir == root / "p" / "default"
        assert run.runs_dir == run.experiment_dir / "runs"
        assert run.media_dir == run.run_dir / "media"
        assert all(isinstance(path, Path) and path.is_absolute() for path in (run.run_dir, run.media_dir))
        assert (run.project, run.name) == ("p", "default")
        assert run.storage_backend is None
        assert run.artifact_storage.storage_root == root

    def test_an_existing_id_keeps_its_events_and_starts_anew(self, make_run: MakeRun):
        first = make_run("mine")
        first.log(a=1)
        first.log(a=2)
        first.finish()
        second = make_run("mine")
        assert json_of(second.run_dir / "status.json").keys() == {"status", "started_at"}
        second.log(a=3)
        assert [data["global_step"] for data in data_of(second.run_dir)] == [1, 2, 1]
        assert types_of(second.run_dir) == [
            "run.created",
            "metrics",
            "metrics",
            "run.finished",
            "run.created",
            "metrics",
        ]

    def test_beginning_again_is_never_before_the_end_that_it_follows(self, make_run: MakeRun):
        first = make_run("mine")
        first.finish()
        ahead = time.time() + 3600  # the clock was set back since
        (first.run_dir / "status.json").write_text(json.dumps({"status": "finished", "ended_at": ahead}))
        second = make_run("mine")
        assert json_of(second.run_dir / "status.json")["started_at"] == ahead
        second.finish()
        assert json_of(second.run_dir / "status.json")["ended_at"] == ahead
        assert events_of(second.run_dir)[-1]["ts"] == ahead

    @pytest.mark.parametrize("ended_at", [1e300, math.inf, math.nan, "x", -1e300, 10**400, None])
    def test_damaged_times_of_an_existing_run_are_not_believed(self, make_run: MakeRun, ended_at):
        first = make_run("mine")
        (first.run_dir / "status.json").write_text(json.dumps({"ended_at": ended_at}))
        assert json_of(make_run("mine").run_dir / "status.json")["started_at"] <= time.time()

    def test_without_modern_storage_the_stream_has_only_what_0_4_0_knows(self, make_run: MakeRun, monkeypatch):
        monkeypatch.setenv("RUNICORN_DISABLE_MODERN_STORAGE", "1")
        run = make_run()
        assert not (run.run_dir / "events.jsonl").exists()
        run.set_primary_metric("a")
        run.log(a=1)
        run.log_image("i", b"x")
        run.summary({"s": 1})
        run.finish()
        assert types_of(run.run_dir) == ["metrics", "image"]
        assert json_of(run.run_dir / "summary.json")["best_metric_value"] == 1
        assert json_of(run.run_dir / "status.json")["status"] == "finished"


class TestLogging:
    def test_an_event_has_the_users_keys_then_step_time_and_stage(self, run: Run):
        before = time.time()
        run.log({"loss": 2.5, "note": "é", "none": None}, stage="train", flag=True)
        (event,) = events_of(run.run_dir)[1:]
        assert event["type"] == "metrics"
        assert before <= event["ts"] <= time.time()
        assert list(event["data"].items()) == [
            ("loss", 2.5),
            ("note", "é"),
            ("none", None),
            ("flag", True),
            ("global_step", 1),
            ("time", event["ts"]),
            ("stage", "train"),
        ]

    def test_each_call_writes_one_event_even_without_values(self, run: Run):
        run.log()
        run.log({})
        run.log(None, step=7)
        assert [data["global_step"] for data in data_of(run.run_dir)] == [1, 2, 7]
        assert all(data.keys() == {"global_step", "time"} for data in data_of(run.run_dir))

    def test_steps_count_on_from_the_one_given_and_may_go_back(self, run: Run, caplog):
        for step in (None, 10, None, 3.9, None, "12", None, np.int64(2), "x", math.nan):
            run.log(step=step)
        assert [data["global_step"] for data in data_of(run.run_dir)] == [1, 10, 11, 3, 4, 12, 13, 2, 3, 4]
        assert caplog.text.count("step is not a whole number") == 1

    def test_keywords_beat_data_and_the_argument_stage_beats_the_key(self, run: Run):
        run.log({"a": 1, "stage": "data", "step": 50, "global_step": 60}, a=2)
        run.log({"stage": "data"}, stage="argument")
        run.log({"stage": np.float32(2)})
        run.log(stage=b"x")
        first, second, third, fourth = data_of(run.run_dir)
        assert (first["a"], first["stage"], first["global_step"]) == (2, "data", 1)
        assert "step" not in first
        assert second["stage"] == "argument"
        assert third["stage"] == 2.0
        assert "stage" not in fourth

    def test_a_metric_may_have_any_name(self, run: Run):
        run.log(self=1, values=2, kw=3)
        run.log({"data": 4, "": 5, "a b,\n": 6, 7: 8})
        assert {"self": 1, "values": 2, "kw": 3}.items() <= data_of(run.run_dir)[0].items()
        assert {"data": 4, "": 5, "a b,\n": 6, "7": 8}.items() <= data_of(run.run_dir)[1].items()

    def test_the_data_of_the_caller_is_not_changed(self, run: Run):
        data = {"a": np.float32(1), "step": 3, "stage": "s"}
        run.log(data)
        assert list(data) == ["a", "step", "stage"]
        assert isinstance(data["a"], np.float32)

    def test_values_that_cannot_be_stored_are_dropped_with_one_warning_per_key(self, run: Run, caplog):
        for _ in range(3):
            run.log({"bytes": b"x", "set": {1}, "object": object(), "good": 1}, array=np.zeros(2), huge=10**5000)
        run.log(5)  # type: ignore[arg-type]  # as wrong as a caller can be, or rows of a known table
        assert [set(data) - {"global_step", "time"} for data in data_of(run.run_dir)] == [{"good"}] * 3 + [set()]
        texts = [record.getMessage() for record in caplog.records]
        assert len(texts) == 6
        assert {re.search(r"'(\w+)'", text).group(1) for text in texts[:5]} == {  # type: ignore[union-attr]  # there is one
            "bytes",
            "set",
            "object",
            "array",
            "huge",
        }
        assert all(record.name == "runicorn" for record in caplog.records)

    def test_nan_and_infinity_are_written_bare(self, run: Run):
        run.log(a=math.nan, b=math.inf, c=-math.inf, d=np.float32("nan"))
        text = (run.run_dir / "events.jsonl").read_text()
        assert '"a":NaN,"b":Infinity,"c":-Infinity,"d":NaN' in text

    def test_huge_integers_keep_every_digit_also_as_steps(self, run: Run):
        run.log(a=10**30, step=10**40)
        (data,) = data_of(run.run_dir)
        assert (data["a"], data["global_step"]) == (10**30, 10**40)

    def test_lone_surrogates_do_not_hurt(self, run: Run):
        run.log({"a\udc00": "b\ud800"}, stage="\udfff")
        run.log_text("t\udc00")
        run.summary({"k\udc00": "v\udc00"})
        run.log_image("i\udc00", b"x", caption="c\udc00")
        run.finish()
        for path in run.run_dir.glob("*.*"):
            path.read_text("utf-8")
        assert data_of(run.run_dir)[0]["a\ufffd"] == "b\ufffd"

    def test_logging_from_threads_counts_every_step_once_and_in_order(self, run: Run):
        def work() -> None:
            for _ in range(200):
                run.log(x=1)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [data["global_step"] for data in data_of(run.run_dir)] == list(range(1, 1601))

    def test_a_signal_handler_may_log_and_finish_in_the_middle_of_logging(self, run: Run):
        handled = 0

        def handler(signum: int, frame: object) -> None:
            nonlocal handled
            handled += 1
            run.log(handled=handled)
            run.log_text("handled")
            run.summary({"handled": handled})
            run.finish("interrupted")

        before = signal.signal(signal.SIGALRM, handler)
        logged = 0
        try:
            while handled < 200:
                if logged % 20 == 0:  # at one of the places that these calls come along
                    signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + logged % 97))
                logged += 1
                run.log(x=logged)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        run.save()
        data = data_of(run.run_dir)
        assert [row["x"] for row in data if "x" in row] == list(range(1, logged + 1))
        assert sorted(row["handled"] for row in data if "handled" in row) == list(range(1, handled + 1))
        assert json_of(run.run_dir / "status.json")["status"] == "interrupted"
        assert json_of(run.run_dir / "summary.json") == {"handled": handled}


class TestText:
    def test_entries_have_the_local_time_of_day(self, run: Run):
        run.log_text("one")
        run.log_text("two\nlines")
        run.log_text(3)  # type: ignore[arg-type]  # as wrong as a caller can be, or rows of a known table
        text = (run.run_dir / "logs.txt").read_text()
        assert re.fullmatch(r"\d\d:\d\d:\d\d \| one\n\d\d:\d\d:\d\d \| two\nlines\n\d\d:\d\d:\d\d \| 3\n", text)

    def test_an_unfinished_line_of_other_output_is_ended_first(self, run: Run):
        (run.run_dir / "logs.txt").write_bytes(b"\xff progress 50%")
        run.log_text("mine")
        first, second = (run.run_dir / "logs.txt").read_bytes().splitlines()
        assert first == b"\xff progress 50%"
        assert second.endswith(b" | mine")

    def test_alerts_are_written_to_the_log(self, run: Run):
        run.log(loss=math.nan)
        run.log(loss=1.0, other=math.nan)
        assert re.fullmatch(r"\d\d:\d\d:\d\d \| ⚠️ Alert: loss is NAN\n", (run.run_dir / "logs.txt").read_text())
        assert run.monitor.get_statistics("loss")["last"] == 1.0
        assert run.monitor.get_statistics("global_step") == {}

    def test_an_alert_may_log_itself(self, run: Run):
        from runicorn.sdk.monitor import AlertRule

        run.monitor.add_rule(AlertRule("x", "gt", 1.0, callback=lambda message, value: run.log(seen=value)))
        run.log(x=2.0)
        assert data_of(run.run_dir)[1]["seen"] == 2.0


class TestSummary:
    def test_updates_are_merged_and_told_to_the_log(self, run: Run):
        run.summary({"a": 1, "b": [1, np.int8(2)]})
        run.summary({"a": 2, "odd": b"x"})
        run.summary(None)
        assert json_of(run.run_dir / "summary.json") == {"a": 2, "b": [1, 2]}
        assert data_of(run.run_dir, "run.summarized") == [{"update": {"a": 1, "b": [1, 2]}}, {"update": {"a": 2}}]

    def test_nan_is_kept(self, run: Run):
        run.summary({"a": math.nan, "b": 10**40})
        assert json.dumps(json_of(run.run_dir / "summary.json")) == '{"a": NaN, "b": ' + str(10**40) + "}"
        assert (
            json.dumps(data_of(run.run_dir, "run.summarized")) == '[{"update": {"a": NaN, "b": ' + str(10**40) + "}}]"
        )


class TestBestMetric:
    def test_without_a_primary_metric_there_is_none(self, run: Run):
        run.log(loss=1.0)
        run.finish()
        assert not (run.run_dir / "summary.json").exists()

    def test_it_is_saved_soon_without_further_calls(self, run: Run):
        run.set_primary_metric("acc")
        run.log(acc=0.5)
        wait_until((run.run_dir / "summary.json").exists, "the first best value")
        run.log(acc=0.75)
        wait_until(lambda: json_of(run.run_dir / "summary.json")["best_metric_value"] == 0.75, "a better one")
        assert json_of(run.run_dir / "summary.json") == {
            "best_metric_value": 0.75,
            "best_metric_name": "acc",
            "best_metric_step": 2,
            "best_metric_mode": "max",
        }

    def test_it_is_saved_at_most_once_per_second_and_at_finish(self, run: Run):
        run.set_primary_metric("loss", "min")
        start = time.monotonic()
        for value in range(2000, 0, -1):
            run.log(loss=value)
        run.finish()
        saved = data_of(run.run_dir, "run.summarized")
        assert len(saved) <= time.monotonic() - start + 2
        assert saved[-1]["update"]["best_metric_value"] == 1
        assert json_of(run.run_dir / "summary.json")["best_metric_value"] == 1

    def test_another_primary_metric_starts_anew(self, run: Run):
        run.set_primary_metric("a")
        run.log(a=10, b=1)
        run.set_primary_metric("b", "min")
        run.log(a=20, b=2)
        run.finish()
        assert [data["update"]["best_metric_value"] for data in data_of(run.run_dir, "run.summarized")] == [10, 2]

    def test_values_are_compared_as_they_are_stored(self, run: Run):
        run.set_primary_metric("acc")
        for value in (math.nan, np.float32(0.5), "9", np.array(0.25), True, b"x", 10**400):
            run.log(acc=value)
        run.finish()
        summary = json_of(run.run_dir / "summary.json")
        assert (summary["best_metric_value"], summary["best_metric_step"]) == (1, 5)


class TestFinishing:
    def test_the_status_and_the_log_say_so(self, run: Run):
        run.finish("custom status")
        status = json_of(run.run_dir / "status.json")
        assert status.keys() == {"status", "started_at", "ended_at"}
        assert status["status"] == "custom status"
        event = events_of(run.run_dir)[-1]
        assert event["type"] == "run.finished"
        assert event["data"] == {"status": "custom status", "ended_at": status["ended_at"], "exit_reason": None}

    def test_it_may_be_said_again_and_logging_goes_on(self, run: Run):
        run.finish("failed")
        run.log(a=1)
        run.log_text("more")
        run.finish()
        assert json_of(run.run_dir / "status.json")["status"] == "finished"
        assert types_of(run.run_dir) == ["run.created", "run.finished", "metrics", "run.finished"]

    def test_what_others_wrote_into_the_status_stays(self, run: Run):
        path = run.run_dir / "status.json"
        path.write_text(json.dumps({**json_of(path), "exit_reason": "process_not_found", "theirs": 1}))
        run.finish()
        assert json_of(path).keys() == {"status", "started_at", "ended_at", "theirs"}

    def test_descriptors_are_released(self, run: Run):
        run.log(a=1)
        before = len(os.listdir("/proc/self/fd"))
        run.finish()
        assert len(os.listdir("/proc/self/fd")) == before - 2

    @pytest.mark.parametrize(
        ("error", "status", "reason"),
        [
            (None, "finished", None),
            (ValueError, "failed", "exception"),
            (KeyboardInterrupt, "interrupted", "keyboard_interrupt"),
            (SystemExit, "finished", None),
            (SystemExit(1), "failed", "exception"),
        ],
    )
    def test_the_end_of_a_with_block_is_that_of_the_run(self, run: Run, error, status, reason):
        def block() -> None:
            with run as entered:
                assert entered is run
                if error is not None:
                    raise error

        if error is None:
            block()
        else:
            with pytest.raises(error if isinstance(error, type) else type(error)):
                block()
        found = json_of(run.run_dir / "status.json")
        assert (found["status"], found.get("exit_reason")) == (status, reason)

    def test_an_explicit_finish_in_a_with_block_stands(self, run: Run):
        with contextlib.suppress(ValueError), run:
            run.finish("enough")
            raise ValueError
        assert json_of(run.run_dir / "status.json")["status"] == "enough"


class TestTrouble:
    def test_a_full_disk_stops_nothing_and_loses_nothing(self, run: Run, caplog):
        run.log(x=0)
        size = (run.run_dir / "events.jsonl").stat().st_size
        with file_size_limit(size + 20):
            for number in range(1, 200):
                run.log(x=number)
            run.log_text("x" * 10_000)
            run.summary({"a": "x" * 10_000})
            assert run.log_image("i", b"x" * 10_000).startswith("media/")
            run.finish("x" * 10_000)
        run.save()
        assert [data["x"] for data in data_of(run.run_dir)] == list(range(200))
        assert types_of(run.run_dir)[-2:] == ["run.summarized", "run.finished"]
        assert json_of(run.run_dir / "summary.json")["a"] == "x" * 10_000
        assert json_of(run.run_dir / "status.json")["status"] == "x" * 10_000
        assert len((run.run_dir / "logs.txt").read_text()) > 10_000
        assert list(run.media_dir.iterdir()) == []
        assert len(caplog.records) == 5
        assert str(run.run_dir) not in caplog.text

    @pytest.mark.parametrize("trash", [True, False])
    def test_a_purged_run_stays_gone(self, run: Run, trash: bool, caplog):
        run.set_primary_metric("x")
        run.log(x=1)
        wait_until((run.run_dir / "summary.json").exists, "the best value")
        if trash:
            (run.run_dir / ".deleted").write_text("{}")
        shutil.rmtree(run.run_dir)
        for number in range(2, 5):
            run.log(x=number)
            run.log_text("t")
            run.summary({"a": number})
            run.log_image("i", b"x")
        run.finish()
        run.log(x=9)
        assert not run.run_dir.exists()
        assert run.runs_dir.exists()
        assert [record.getMessage() for record in caplog.records] == [
            "the run was removed: nothing more is recorded in it"
        ]

    def test_a_run_being_purged_gets_no_new_files(self, run: Run):
        run.log(x=1)
        for name in ("events.jsonl", "meta.json", "status.json", "events.jsonl.lock", "status.json.lock"):
            (run.run_dir / name).unlink()
        run.log(x=2)
        run.log_text("t")
        run.summary({"a": 1})
        run.log_image("i", b"x")
        run.finish()
        assert [path.name for path in run.run_dir.iterdir()] == ["media"]

    def test_a_hostile_monitor_or_text_does_not_raise(self, run: Run, caplog):
        class Hostile:
            def check_metrics(self, metrics: object) -> list[str]:
                raise ZeroDivisionError

            def __str__(self) -> str:
                raise ZeroDivisionError

        run.monitor = Hostile()  # type: ignore[assignment]  # a double stands in
        run.log(x=1)
        run.log(x=2)
        run.log_text(Hostile())  # type: ignore[arg-type]  # as wrong as a caller can be, or rows of a known table
        assert [data["x"] for data in data_of(run.run_dir)] == [1, 2]
        assert len(caplog.records) == 2

    def test_a_logging_handler_may_write_into_the_run(self, run: Run):
        class ToRun(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                run.log_text(record.getMessage())

        handler = ToRun()
        logging.getLogger("runicorn").addHandler(handler)
        try:
            run.log(x=b"odd")
        finally:
            logging.getLogger("runicorn").removeHandler(handler)
        assert "'x'" in (run.run_dir / "logs.txt").read_text()


class TestCopies:
    def test_copies_within_the_process_are_the_run_itself(self, run: Run):
        assert copy.copy(run) is run
        assert copy.deepcopy({"run": run})["run"] is run
        assert pickle.loads(pickle.dumps(run)) is run

    def test_a_pickled_run_records_into_the_same_run_from_another_process(self, run: Run, tmp_path: Path):
        run.log(a=1)
        (tmp_path / "run.pickle").write_bytes(pickle.dumps(run))
        done = run_python(
            """
import pickle, sys
run = pickle.load(open(sys.argv[1], "rb"))
run.log(a=2)
run.summary({"child": 1})
raise ValueError
""",
            tmp_path / "run.pickle",
        )
        assert done.returncode == 1
        run.log(a=3)
        assert [(data["a"], data["global_step"]) for data in data_of(run.run_dir)] == [(1, 1), (2, 2), (3, 2)]
        assert json_of(run.run_dir / "summary.json") == {"child": 1}
        assert json_of(run.run_dir / "status.json")["status"] == "running"
        assert types_of(run.run_dir).count("run.created") == 1


def test_the_end_waits_for_a_best_value_that_is_just_being_saved(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch):
    run = make_run()
    run.set_primary_metric("a", mode="min")
    merge, has_begun, may_go_on = run._recording.merge_summary, threading.Event(), threading.Event()

    def slow(update):
        has_begun.set()
        assert may_go_on.wait(20)
        return merge(update)

    monkeypatch.setattr(run._best, "_write", slow)
    run.log({"a": 1})
    assert has_begun.wait(20)  # in the thread that saves what is best so far
    threading.Timer(0.2, may_go_on.set).start()
    run.finish()
    assert json_of(run.run_dir / "summary.json")["best_metric_value"] == 1
