"""`runicorn events`: tail, show, verify and replay, as processes on real stores."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from runicorn.cli.events.opening import read_from
from runicorn.events.append import StreamWriter
from runicorn.events.log import FileLog, Stream
from tests.commands import runicorn
from tests.recorded import RUNS, recorded, wait_until_live
from tests.serving import Server, serve
from tests.stores import make_run, metrics_event, write
from tests.terminal import on_terminal

__all__ = ["recorded", "serve"]

RUN = "20261123_082208_9db135"
STREAM = f"digits/sgd_logreg/runs/{RUN}"
ESCAPE = "\x1b"
CONTROLS = (ESCAPE, "\x9b", "\x07")


def objects(done: subprocess.CompletedProcess[str]) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def events(*arguments: str, root: Path) -> subprocess.CompletedProcess[str]:
    command, *rest = arguments
    return runicorn("events", command, "--storage", str(root), *rest)


class TestShow:
    def test_every_event_of_a_run_is_shown_with_stream_and_offset(self, recorded: Path) -> None:
        shown = objects(events("show", RUN, "--json", root=recorded))

        content = (recorded / STREAM / "events.jsonl").read_bytes()
        assert len(shown) == content.count(b"\n")
        for event in shown:
            assert event["stream"] == STREAM
            line = json.loads(content[event["offset"] :].split(b"\n", 1)[0])
            assert {key: event[key] for key in ("ts", "type", "data")} == line

    def test_limit_offset_and_type_choose(self, recorded: Path) -> None:
        whole = objects(events("show", STREAM, "--json", root=recorded))
        part = events("show", STREAM, "--json", "--offset", str(whole[1]["offset"] - 5), "-n", "2", root=recorded)
        assert objects(part) == whole[1:3]
        images = events("show", STREAM, "--json", "--type", "image", root=recorded)
        assert objects(images) == [event for event in whole if event["type"] == "image"]

    def test_an_unknown_stream_is_an_error_in_one_line(self, recorded: Path) -> None:
        done = events("show", "nope", root=recorded)
        assert (done.returncode, done.stdout) == (1, "")
        assert "No stream nope" in done.stderr
        assert "Traceback" not in done.stderr

    def test_an_ambiguous_id_names_the_streams(self, tmp_path: Path) -> None:
        for project in "ab":
            make_run(tmp_path, f"{project}/n/runs/same", events=metrics_event(global_step=1))
        done = events("show", "same", root=tmp_path)
        assert done.returncode == 1
        assert "a/n/runs/same" in done.stderr
        assert "b/n/runs/same" in done.stderr

    def test_values_that_strict_json_lacks_are_shown(self, tmp_path: Path) -> None:
        make_run(tmp_path, "p/n/runs/a", events='{"ts": 1, "type": "x", "data": {"v": NaN, "n": 1' + "0" * 30 + "}}\n")
        assert '"data":{"v":NaN,"n":1' + "0" * 30 + "}" in events("show", "a", "--json", root=tmp_path).stdout

    def test_all_streams_are_shown_one_after_the_other(self, recorded: Path) -> None:
        shown = objects(events("show", "--all", "--json", root=recorded))
        lines = [path.read_bytes().count(b"\n") for path in recorded.glob("**/events.jsonl")]
        assert len(shown) == sum(lines)
        streams = list(dict.fromkeys(event["stream"] for event in shown))
        assert streams == sorted(streams)
        assert len(streams) == len(lines)

    def test_a_project_chooses_the_streams_of_its_runs(self, tmp_path: Path) -> None:
        for key in ("a/n/runs/1", "a/m/runs/2", "b/n/runs/3", "runs/4"):
            make_run(tmp_path, key, events=metrics_event(global_step=1))
        shown = objects(events("show", "--project", "a", "--json", root=tmp_path))
        assert [event["stream"] for event in shown] == ["a/m/runs/2", "a/n/runs/1"]
        assert len(objects(events("show", "--all", "-n", "3", "--json", root=tmp_path))) == 3
        done = events("show", "--project", "c", root=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert "No run of the project c" in done.stderr

    def test_stream_all_and_project_exclude_each_other(self, tmp_path: Path) -> None:
        for arguments in ([], ["a", "--all"], ["--all", "--project", "p"], ["--all", "--offset", "5"]):
            done = events("show", *arguments, root=tmp_path)
            assert done.returncode == 2
            assert "Usage:" in done.stderr

    def test_a_long_stream_takes_no_more_memory_than_a_short_one(self, tmp_path: Path) -> None:
        make_run(tmp_path, "p/n/runs/a", events=metrics_event(global_step=1, loss=0.5) * 300_000)
        log = FileLog(tmp_path, tmp_path / "state")
        tracemalloc.start()
        count = sum(1 for _ in read_from(log, Stream("run", "p/n/runs/a"), 0))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == 300_000
        assert peak < 16 << 20, "the stream has 21 MB, and its events are more"


class TestTail:
    def test_since_shows_all_since_then(self, tmp_path: Path) -> None:
        now = time.time()
        for run in range(2):
            times = [now - 90_000 + step for step in range(3000)] + [now - 200 + step for step in range(100)]
            lines = (metrics_event(ts=ts + run / 10, global_step=1, text="x" * 40) for ts in times)
            make_run(tmp_path, f"p/n/runs/{run}", events="".join(lines))
        make_run(tmp_path, "p/n/runs/old", events=metrics_event(ts=now - 90_000))
        shown = events("tail", "--json", "--since", "1h", root=tmp_path)
        times = [event["ts"] for event in objects(shown)]
        assert len(times) == 200
        assert times == sorted(times)
        assert min(times) >= now - 201
        assert "Left out" not in shown.stderr

    def test_with_a_limit_it_is_said_what_was_left_out(self, tmp_path: Path) -> None:
        now = time.time()
        lines = [metrics_event(ts=now - 50 + step, global_step=step) for step in range(30)]
        make_run(tmp_path, "p/n/runs/a", events="".join(lines))
        shown = events("tail", "--json", "--since", "1h", "-n", "10", root=tmp_path)
        assert [event["data"]["global_step"] for event in objects(shown)] == list(range(20, 30))
        assert "Left out: 20 earlier events since then. Without -n all are shown." in shown.stderr
        assert "Left out" not in events("tail", "--since", "1h", "-n", "30", root=tmp_path).stderr
        one = events("tail", "--since", "1h", "-n", "29", root=tmp_path)
        assert "Left out: 1 earlier event since then." in one.stderr

    def test_the_last_events_of_all_streams_are_shown_by_time(self, tmp_path: Path) -> None:
        for run in range(3):
            lines = (metrics_event(ts=float(100 * step + run), global_step=step) for step in range(50))
            make_run(tmp_path, f"p/n/runs/{run}", events="".join(lines))
        shown = objects(events("tail", "--json", "-n", "5", root=tmp_path))
        assert [event["ts"] for event in shown] == [4801.0, 4802.0, 4900.0, 4901.0, 4902.0]

    def test_run_and_type_choose(self, recorded: Path) -> None:
        shown = objects(events("tail", "--json", "--run", RUN, "--type", "image", root=recorded))
        assert [(event["stream"], event["type"]) for event in shown] == [(STREAM, "image")]

    def test_a_type_is_found_behind_thousands_of_newer_events(self, tmp_path: Path) -> None:
        created = json.dumps({"ts": 5.0, "type": "run.created", "data": {}}) + "\n"
        metrics = "".join(metrics_event(ts=6.0 + step, global_step=step) for step in range(5000))
        make_run(tmp_path, "p/n/runs/a", events=created + metrics)
        shown = objects(events("tail", "--json", "--type", "run.created", root=tmp_path))
        assert [(event["type"], event["ts"]) for event in shown] == [("run.created", 5.0)]

    def test_following_shows_new_events_and_new_runs_as_they_appear(self, tmp_path: Path) -> None:
        root = tmp_path / "root"
        first = make_run(root, "p/n/runs/a", events=metrics_event(global_step=0) + '{"torn": ')
        command = [sys.executable, "-m", "runicorn", "events", "tail", "--storage", str(root), "--follow", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            killer = threading.Timer(30, process.kill)
            killer.start()
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["data"] == {"global_step": 0}
            writer = StreamWriter(first / "events.jsonl")
            writer.append(metrics_event(global_step=1).encode())
            assert json.loads(process.stdout.readline())["data"] == {"global_step": 1}
            make_run(root, "p/n/runs/b", events=metrics_event(global_step=2))
            found = json.loads(process.stdout.readline())
            assert (found["stream"], found["data"]) == ("p/n/runs/b", {"global_step": 2})
            write(first / "events.jsonl", metrics_event(global_step=3))  # replaced by something shorter
            assert json.loads(process.stdout.readline())["data"] == {"global_step": 3}
            process.kill()
            killer.cancel()

    def test_lines_for_people_name_type_and_place(self, recorded: Path) -> None:
        line = events("tail", "-n", "1", "--run", RUN, root=recorded).stdout
        assert f"{STREAM}@" in line
        assert "image" in line


class TestColours:
    @pytest.mark.parametrize("command", [("tail", "-n", "1"), ("show", "a")])
    def test_time_and_type_have_colours_on_a_terminal_alone(self, tmp_path: Path, command: tuple[str, ...]) -> None:
        make_run(tmp_path, "p/n/runs/a", events=json.dumps({"ts": 5.0, "type": f"{ESCAPE}[31mx", "data": {}}) + "\n")
        plain = events(*command, root=tmp_path).stdout
        moment, kind = plain[:19], "\ufffd[31mx"
        assert plain.startswith(f"{moment}  {kind} ")
        sent = on_terminal("events", *command, "--storage", str(tmp_path))
        assert f"{ESCAPE}[2m{moment}{ESCAPE}[0m  {ESCAPE}[36m{kind}{ESCAPE}[0m " in sent
        assert re.sub(r"\x1b\[\d+m", "", sent).rstrip() == plain.rstrip()
        assert ESCAPE not in on_terminal("events", *command, "--storage", str(tmp_path), NO_COLOR="1")

    def test_a_narrow_terminal_cuts_text_and_no_colours(self, tmp_path: Path) -> None:
        make_run(tmp_path, "p/n/runs/a", events=metrics_event(ts=5.0, value=1))
        for columns in (10, 24, 40):
            sent = on_terminal("events", "tail", "--storage", str(tmp_path), columns=columns)
            assert len(re.sub(r"\x1b\[\d+m", "", sent).rstrip()) == columns
            assert sent.count(ESCAPE) == 4


class TestVerify:
    def test_a_sound_store_has_no_problems(self, recorded: Path) -> None:
        done = events("verify", root=recorded)
        assert (done.returncode, done.stdout) == (0, "")
        assert f"{RUNS} streams" in done.stderr

    def test_what_is_wrong_goes_to_standard_output_and_what_helps_to_standard_error(self, recorded: Path) -> None:
        assert events("replay", root=recorded).returncode == 0
        size = (recorded / STREAM / "events.jsonl").stat().st_size
        with (recorded / STREAM / "events.jsonl").open("a") as stream:
            stream.write('nonsense\n{"ts": 9e9, "type": "coffee.made"}\n')
        done = events("verify", root=recorded)
        assert (done.returncode, done.stdout) == (1, f"{STREAM} @ {size}: not JSON\n")
        said = done.stderr.splitlines()
        assert said[0] == f"remark: {STREAM} @ {size + 9}: no plugin knows the event type 'coffee.made'"
        assert (
            "1 of them: Readers skip it and apply everything around it. `runicorn events verify --repair`"
            in done.stderr
        )
        assert said[-1].startswith("Read models compared with a replay: runs; ")
        assert said[-1].endswith(", no differences.")

    def test_everything_damaged_is_named_and_the_exit_status_is_1(self, tmp_path: Path) -> None:
        good = metrics_event(global_step=1)
        lines = [good, "nonsense\n", "[1]\n", good, '{"ts": "x", "type": "metrics", "data": {}}\n']
        bad_payload = '{"ts": 1, "type": "run.finished", "data": {"status": 5}}\n'
        make_run(tmp_path, "p/n/runs/a", events="".join([*lines, bad_payload, '{"torn']), meta="{broken", status="[]")
        done = events("verify", "--json", root=tmp_path)

        assert done.returncode == 1
        starts = [0]
        for line in [*lines, bad_payload]:
            starts.append(starts[-1] + len(line))
        found = [(problem["stream"], problem["offset"]) for problem in objects(done)]
        assert sorted(found, key=str) == sorted(
            [
                ("p/n/runs/a", starts[1]),
                ("p/n/runs/a", starts[2]),
                ("p/n/runs/a", starts[4]),
                ("p/n/runs/a", starts[5]),
                ("p/n/runs/a", starts[6]),
                ("p/n/runs/a/meta.json", None),
                ("p/n/runs/a/status.json", None),
            ],
            key=str,
        )


class TestStats:
    def test_one_is_no_plural(self, tmp_path: Path) -> None:
        make_run(tmp_path, "p/n/runs/a", events=metrics_event(ts=5.0))
        size = len(metrics_event(ts=5.0))
        shown = events("stats", root=tmp_path).stdout
        assert shown.startswith(f"1 stream, 1 event, {size} bytes, 0 lines that are no events\n")
        with (tmp_path / "p/n/runs/a/events.jsonl").open("a") as file:
            file.write(metrics_event(ts=6.0) + "nonsense\n")
        shown = events("stats", root=tmp_path).stdout
        assert shown.startswith(f"1 stream, 2 events, {2 * size + 9} bytes, 1 line that is no event\n")


class TestReplay:
    def test_read_models_are_built_again_without_a_server(self, recorded: Path, serve: Callable[..., Server]) -> None:
        done = events("replay", "--json", root=recorded)
        assert done.returncode == 0, done.stderr
        (report,) = objects(done)
        assert report["events"] == 3983
        assert "runs" in report["plugins"]
        server = serve(recorded)
        wait_until_live(server)
        assert len(server.http.get("/api/runs").json()) == RUNS

    def test_a_running_server_moves_over_and_answers_the_same(
        self, recorded: Path, serve: Callable[..., Server]
    ) -> None:
        server = serve(recorded, "--rate-limit", "off")
        wait_until_live(server)
        before = server.http.get("/api/runs")
        models = set((recorded / ".runicorn/state").glob("runs-*.db"))

        done = events("replay", root=recorded)
        assert done.returncode == 0, done.stderr

        after = server.http.get("/api/runs")
        assert after.content == before.content
        assert set((recorded / ".runicorn/state").glob("runs-*.db")) != models

    def test_an_unknown_plugin_is_an_error(self, recorded: Path) -> None:
        done = events("replay", "--plugin", "nope", root=recorded)
        assert (done.returncode, done.stderr.strip()) == (1, "Error: No such plugin: nope")


def test_a_missing_root_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    for command in ("tail", "verify", "replay"):
        done = events(command, root=tmp_path / "nowhere")
        assert done.returncode == 1
        assert "--storage" in done.stderr


def test_help_has_examples() -> None:
    for command in ("tail", "show", "verify", "replay", "undo"):
        assert "Examples:" in runicorn("events", command, "--help").stdout


def test_stored_text_cannot_control_the_terminal(tmp_path: Path) -> None:
    line = json.dumps({"ts": 5.0, "type": f"{ESCAPE}[2Jx", "data": {}}) + "\n"
    key = f"p/n{ESCAPE}]0;owned/runs/a"
    make_run(tmp_path, key, events=line + '{"ts": 6, "type": "x", "data": {"k": "\u009b2J"}}\nnonsense\n')

    tail, show, stats = (events(*words, root=tmp_path) for words in (["tail"], ["show", "a"], ["stats"]))
    verify = events("verify", "--no-replay", root=tmp_path)
    for done, status in ((tail, 0), (show, 0), (stats, 0), (verify, 1)):
        assert done.returncode == status, done.stderr
        assert "\ufffd]0;owned/runs/a" in done.stdout
        assert not any(control in done.stdout + done.stderr for control in CONTROLS)
    for done in (tail, show, stats):
        assert "\ufffd[2Jx" in done.stdout
    assert '{"k": "\ufffd2J"}' in tail.stdout
    make_run(tmp_path, "q/n/runs/a", events=line)
    several = events("show", "a", root=tmp_path)
    assert (several.returncode, CONTROLS[0] in several.stderr) == (1, False)

    as_json = events("tail", "--json", root=tmp_path)
    assert not any(control in as_json.stdout for control in CONTROLS)
    assert {"k": "\x9b2J"} in [json.loads(line)["data"] for line in as_json.stdout.splitlines()]

    for command in ("tail", "stats", "verify"):
        sent = on_terminal("events", command, "--storage", str(tmp_path), status=command == "verify")
        for dangerous in (f"{ESCAPE}[2J", f"{ESCAPE}]0", "\x9b"):
            assert dangerous not in sent


def test_output_to_a_closed_pipe_is_no_traceback(recorded: Path) -> None:
    command = f"{sys.executable} -m runicorn events show {RUN} --storage {recorded} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ)
    assert "Traceback" not in done.stderr


def test_the_state_of_another_root_is_left_alone(recorded: Path, tmp_path: Path) -> None:
    state = ("--state-dir", str(tmp_path / "state"))
    assert events("replay", *state, root=recorded).returncode == 0
    (tmp_path / "other").mkdir()

    for command in (["replay"], ["tail"], ["show", RUN], ["verify"]):
        done = events(*command, *state, root=tmp_path / "other")
        assert done.returncode == 1
        assert f"belongs to the storage root {recorded}" in done.stderr
