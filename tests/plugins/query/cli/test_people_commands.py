"""`runicorn runs`, `show`, `compare` and `search`, with a running server and without one.

What somebody beside them, a terminal or a shell sees is asked of processes; what they answer otherwise, in this one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn_query.cli.compare import side_by_side
from runicorn_query.cli.output import age, clean, duration, value
from runicorn_query.cli.plots import braille, labelled, sparkline
from tests import commands, terminal
from tests.recorded import ARCHIVE, RUNS, wait_until_live
from tests.serving import Server, serve, wait_until
from tests.stores import make_run, metrics_event

__all__ = ["serve"]

RUN = "20261123_082208_9db135"
OTHER = "20261123_082230_afafbd"
ESCAPE = "\x1b"


def runicorn(
    root: Path, command: str, *arguments: str, status: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "runicorn", command, *arguments, "--storage", str(root)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def called(root: Path, command: str, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """The same, without a process of its own."""
    done = commands.runicorn(command, *arguments, "--storage", root)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def answer(root: Path, command: str, *arguments: str, status: int = 0) -> Any:
    return json.loads(called(root, command, *arguments, "--json", status=status).stdout)


def as_json(root: Path, command: str, *arguments: str, status: int = 0, **environment: str) -> Any:
    return json.loads(runicorn(root, command, *arguments, "--json", status=status, **environment).stdout)


def on_terminal(root: Path, command: str, *arguments: str) -> str:
    """What a terminal of 200 columns is sent."""
    return terminal.on_terminal(command, *arguments, "--storage", str(root))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded store, without a server; commands of all tests share its state."""
    root = tmp_path_factory.mktemp("commands") / "recorded"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(root, filter="data")
    return root


class TestBesideAServer:
    """The answers are those without one."""

    @pytest.mark.slow(4)
    def test_every_command_answers_alike(self, root: Path, tmp_path: Path) -> None:
        commands = [
            ("runs", "-n", "100", "--where", "status = finished"),
            ("show", RUN[:-3]),
            ("compare", RUN, OTHER),
            ("search", "LOSS=1.6", "--kind", "log"),
        ]
        alone = [as_json(root, *command) for command in commands]
        copy = tmp_path / "copy"
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns(".runicorn"))
        server = Server(copy)
        try:
            wait_until_live(server)
            wait_until(lambda: server.http.get("/api/v2/search?q=zzz").json()["logs"]["state"] == "ready", "the index")
            assert [_placeless(as_json(copy, *command), copy) for command in commands] == [
                _placeless(answer, root) for answer in alone
            ]
        finally:
            server.stop()


def _placeless(answer: Any, root: Path) -> Any:
    """Without what differs from place to place and time to time."""
    text = json.dumps(answer).replace(str(root), "")
    return json.loads(re.sub(r'"(query_time_ms|updated_at|index_bytes)": [0-9.e+-]+', r'"\1": 0', text))


class TestRuns:
    def test_the_newest_runs_come_first(self, root: Path) -> None:
        shown = answer(root, "runs", "--limit", "100")
        assert len(shown) == RUNS
        assert [run["created_at"] for run in shown] == sorted((run["created_at"] for run in shown), reverse=True)
        plain = called(root, "runs", "-n", "100").stdout
        assert [line.split()[0] for line in plain.splitlines()] == ["RUN", *(run["id"] for run in shown)]
        assert ESCAPE not in plain

    def test_what_is_left_out_is_said(self, root: Path) -> None:
        done = called(root, "runs", "-n", "3")
        assert len(done.stdout.splitlines()) == 4
        assert done.stderr == f"3 of {RUNS} runs; --limit shows more.\n"

    def test_filters_are_combined(self, root: Path) -> None:
        every = answer(root, "runs", "-n", "100")
        failed = [run["id"] for run in every if run["status"] == "failed" and run["project"] == "digits"]
        assert failed
        assert [run["id"] for run in answer(root, "runs", "--status", "failed", "--project", "digits")] == failed
        where = "status = failed and project = digits"
        assert [run["id"] for run in answer(root, "runs", "--where", where)] == failed
        assert answer(root, "runs", "--tag", "nobody has this") == []
        assert [run["id"] for run in answer(root, "runs", "--search", RUN[-6:].upper())] == [RUN]

    def test_runs_are_sorted_by_any_field(self, root: Path) -> None:
        best = [run["best_metric_value"] for run in answer(root, "runs", "--sort", "best_metric_value", "-n", "5")]
        assert best == sorted(best, reverse=True)
        worst = [run["best_metric_value"] for run in answer(root, "runs", "--sort", "best_metric_value", "--ascending")]
        assert worst[:5] == sorted(worst[:5])
        assert best[0] > worst[0]

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (
                ("--where", "status = "),
                "Invalid value for --where: expected a value (column 10)\nstatus = \n         ^\n",
            ),
            (("--sort", "nonsense"), "Invalid value for --sort: nonsense. Runs are sorted by created_at, "),
        ],
    )
    def test_what_is_wrong_is_said_on_standard_error(self, root: Path, arguments: tuple[str, ...], text: str) -> None:
        done = called(root, "runs", *arguments, status=1)
        assert text in done.stderr
        assert done.stdout == ""

    def test_a_running_run_that_is_silent_is_called_stale(self, tmp_path: Path) -> None:
        make_run(tmp_path, "p/n/runs/silent", meta={"created_at": 5.0}, status={"status": "running"})
        (shown,) = answer(tmp_path, "runs")
        assert (shown["status"], shown["stale"], shown["last_activity"]) == ("running", True, 5.0)
        assert "running (stale)" in called(tmp_path, "runs").stdout
        assert "silent since then" in called(tmp_path, "show", "silent").stdout
        (shown,) = as_json(tmp_path, "runs", RUNICORN_STALE_AFTER="1e11")
        assert "stale" not in shown

    def test_a_terminal_gets_colours(self, root: Path) -> None:
        sent = on_terminal(root, "runs", "-n", "2", "--status", "failed")
        assert ESCAPE in sent
        assert "failed" in sent


class TestShow:
    def test_a_run_is_shown_on_one_page(self, root: Path) -> None:
        plain = called(root, "show", RUN).stdout
        assert plain.splitlines()[0] == f"{RUN}  digits / sgd_logreg"
        assert re.search(r"^lr +0\.00145898$", plain, re.M)
        assert re.search(r"^val_loss +1\.49667 +1\.49667 +2\.00339 +6  [▁▂▃▄▅▆▇█]{6}$", plain, re.M)
        assert plain.endswith("08:22:08 | step 20/30 loss=1.6025\n")
        assert ESCAPE not in plain

    def test_a_terminal_gets_plots(self, root: Path) -> None:
        sent = on_terminal(root, "show", RUN)
        assert sum("⠀" <= c <= "⣿" for c in sent) > 500
        assert "2.003 " in sent

    def test_json_has_everything(self, root: Path) -> None:
        shown = answer(root, "show", RUN, "--lines", "1")
        assert shown["experiment"]["id"] == RUN
        assert shown["summary"]["model"] == "sgd"
        assert {metric["name"] for metric in shown["metrics"]} == {"lr", "train_loss", "val_accuracy", "val_loss"}
        assert shown["log"] == ["08:22:08 | step 20/30 loss=1.6025"]

    def test_the_beginning_of_an_id_or_a_path_is_enough(self, root: Path) -> None:
        for name in (RUN[:-3], f"digits/sgd_logreg/runs/{RUN}"):
            assert answer(root, "show", name)["experiment"]["id"] == RUN
        done = called(root, "show", "20261123_082208", status=1)
        assert RUN in done.stderr
        assert "20261123_082208_3a5823" in done.stderr
        assert "No run has the id nope" in called(root, "show", "nope", status=1).stderr
        assert "No run has the id" in called(root, "show", "", status=1).stderr


class TestCompare:
    def test_differences_and_results_are_side_by_side(self, root: Path) -> None:
        shown = answer(root, "compare", RUN, OTHER)
        assert shown["runs"] == [RUN, OTHER]
        assert shown["summary"]["model"] == ["sgd", "mlp"]
        assert "best_metric_name" not in shown["summary"]
        assert shown["metrics"]["val_loss.last"] == pytest.approx([1.49667, 0.345756], abs=1e-5)
        assert answer(root, "compare", "--all", RUN, OTHER)["summary"]["best_metric_name"] == ["val_accuracy"] * 2
        plain = called(root, "compare", RUN, OTHER).stdout
        assert re.search(r"^model +sgd +mlp$", plain, re.M)
        assert re.search(rf"^METRICS +{RUN}  {OTHER}$", plain, re.M)

    def test_it_takes_two_different_runs(self, root: Path) -> None:
        assert "two runs" in called(root, "compare", RUN, status=1).stderr
        assert "named twice" in called(root, "compare", RUN, RUN[:-1], status=1).stderr

    def test_booleans_are_no_numbers(self) -> None:
        assert side_by_side([{"a": 1, "b": 1, "c": None}, {"a": True, "b": 1.0}], every=False) == {"a": [1, True]}


class TestSearch:
    def test_lines_are_found_with_run_and_number(self, root: Path) -> None:
        lines = called(root, "search", "LOSS=1.6", "--kind", "log").stdout.splitlines()
        assert f"{RUN}:2: 08:22:08 | step 20/30 loss=1.6025" in lines
        expected = sum(
            line.count("loss=1.6")
            for path in root.glob("*/*/runs/*/logs.txt")
            for line in path.read_text().splitlines()
        )
        assert len(lines) == expected

    def test_json_has_places_and_more_pages_than_one(self, root: Path) -> None:
        found = answer(root, "search", "step", "--limit", "300", "--kind", "log")
        assert len(found["hits"]) > 200
        assert len({(hit["run_id"], hit["line"]) for hit in found["hits"]}) == len(found["hits"])
        assert answer(root, "search", "step", "--run", RUN[:-2], "--kind", "log")["hits"][0]["run_id"] == RUN

    def test_nothing_found_is_status_1(self, root: Path) -> None:
        done = called(root, "search", "zzz", status=1)
        assert (done.stdout, done.stderr) == ("", "Nothing found.\n")
        assert answer(root, "search", "zzz", status=1)["hits"] == []

    def test_matches_are_marked_on_a_terminal(self, root: Path) -> None:
        assert f"{ESCAPE}[1;31msgd{ESCAPE}[0m" in on_terminal(root, "search", "sgd", "--kind", "name", "-n", "1")


class TestCompletion:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("runicorn show 20261123_082208_", {RUN, "20261123_082208_3a5823"}),
            ("runicorn runs --project di", {"digits"}),
            ("runicorn show nope", set()),
        ],
    )
    def test_ids_and_projects_are_completed(self, root: Path, words: str, expected: set[str]) -> None:
        runicorn(root, "runs")
        environment = {
            "_RUNICORN_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
            "RUNICORN_DIR": str(root),
        }
        line = [str(Path(sys.executable).parent / "runicorn")]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
        assert {entry.partition(",")[2] for entry in done.stdout.split()} == expected
        assert done.stderr == ""

    def test_without_a_store_there_is_nothing_to_complete(self, tmp_path: Path) -> None:
        environment = {"_RUNICORN_COMPLETE": "bash_complete", "COMP_WORDS": "runicorn show 2", "COMP_CWORD": "2"}
        line = [str(Path(sys.executable).parent / "runicorn")]
        where = {"RUNICORN_DIR": str(tmp_path / "nowhere")}
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=60, env={**os.environ, **environment, **where}
        )
        assert (done.stdout.strip(), done.stderr) == ("", "")


class TestFreshness:
    def test_what_was_logged_a_moment_ago_is_shown_without_a_server(self, tmp_path: Path) -> None:
        make_run(tmp_path, "p/n/runs/first", events=metrics_event(loss=1.0, global_step=1))
        assert [run["id"] for run in as_json(tmp_path, "runs")] == ["first"]
        make_run(tmp_path, "p/n/runs/second", events=metrics_event(loss=2.0, global_step=1))
        (tmp_path / "p/n/runs/second/logs.txt").write_text("12:00:00 | a needle\n")
        assert {run["id"] for run in as_json(tmp_path, "runs")} == {"first", "second"}
        assert as_json(tmp_path, "show", "second")["metrics"][0]["last"] == 2.0
        assert [hit["run_id"] for hit in as_json(tmp_path, "search", "needle")["hits"]] == ["second"]

    @pytest.mark.slow(3)
    def test_what_was_logged_a_moment_ago_is_shown_with_a_server(
        self, tmp_path: Path, serve: Callable[..., Server]
    ) -> None:
        root = tmp_path / "root"
        run = make_run(root, "p/n/runs/first", events=metrics_event(loss=1.0, global_step=1))
        wait_until_live(serve(root))
        for step in range(2, 5):
            with (run / "events.jsonl").open("a") as file:
                file.write(metrics_event(loss=float(step), global_step=step))
            assert as_json(root, "show", "first")["metrics"][0]["last"] == step
            make_run(root, f"p/n/runs/run{step}", events=metrics_event(loss=1.0, global_step=1))
            assert len(as_json(root, "runs")) == step

    def test_several_commands_at_once_wait_for_each_other(self, tmp_path: Path) -> None:
        for number in range(50):
            make_run(tmp_path, f"p/n/runs/run{number}", events=metrics_event(loss=1.0, global_step=1))
        line = [sys.executable, "-m", "runicorn", "runs", "--json", "-n", "100", "--storage", str(tmp_path)]
        processes = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        for process in processes:
            out, _ = process.communicate(timeout=60)
            assert len(json.loads(out)) == 50

    def test_watching_shows_changes_as_they_come(self, tmp_path: Path) -> None:
        make_run(tmp_path, "p/n/runs/first", events=metrics_event(loss=1.0, global_step=1))
        line = [sys.executable, "-m", "runicorn", "runs", "--watch", "--storage", str(tmp_path)]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("RUN")
            assert process.stdout.readline().startswith("first")
            make_run(tmp_path, "p/n/runs/second", events=metrics_event(loss=1.0, global_step=1))
            assert process.stdout.readline().startswith("RUN")
            assert {process.stdout.readline().split()[0] for _ in range(2)} == {"first", "second"}
            process.send_signal(2)
            assert process.wait(20) == 0

    def test_a_root_that_is_not_there_is_an_error_in_one_line(self, tmp_path: Path) -> None:
        done = runicorn(tmp_path / "nowhere", "runs", status=1)
        assert done.stderr.startswith("There is no storage root at ")
        assert not (tmp_path / "nowhere").exists()

    @pytest.mark.slow(2)
    def test_a_server_can_start_while_commands_run(self, tmp_path: Path, serve: Callable[..., Server]) -> None:
        root = tmp_path / "root"
        make_run(root, "p/n/runs/first", events=metrics_event(loss=1.0, global_step=1))
        line = [sys.executable, "-m", "runicorn", "runs", "--watch", "--storage", str(root)]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
            server = serve(root)
            wait_until_live(server)
            make_run(root, "p/n/runs/second", events=metrics_event(loss=1.0, global_step=1))
            wait_until(lambda: server.http.get("/api/v2/experiments").json()["total"] == 2, "the server's list")
            assert process.stdout is not None
            while not process.stdout.readline().startswith("second"):
                pass
            process.send_signal(2)
            process.wait(20)


class TestText:
    @given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=500))
    def test_plots_have_their_size_and_a_dot_in_every_column(self, values: list[float]) -> None:
        array = np.array(values)
        plot = braille(array, 30, 3)
        assert [len(line) for line in plot] == [30] * 3
        for column in range(30):
            assert any(line[column] != "⠀" for line in plot)
        assert 1 <= len(sparkline(array)) <= 40
        assert len({len(line) for line in labelled(plot, array)}) == 1

    def test_a_plot_shows_the_curve(self) -> None:
        assert sparkline(np.arange(8.0)) == "▁▂▃▄▅▆▇█"
        assert braille(np.arange(8.0), 4, 1) == ["⣀⠤⠒⠉"]

    def test_stored_text_does_not_reach_the_terminal_as_it_is(self) -> None:
        assert clean("a\x1b[2Jb\tc\n训练") == "a\ufffd[2Jb c 训练"

    def test_figures_are_short(self) -> None:
        assert [value(item) for item in (1.23456789, 10**20, True, None, "x", [1, 2])] == [
            "1.23457", "100000000000000000000", "true", "–", "x", "[1,2]",
        ]  # fmt: skip
        assert [duration(seconds) for seconds in (None, 1.26, 61, 3723)] == ["–", "1.3 s", "1:01 min", "1:02:03"]
        assert age(None) == "–"
        assert age(0.0) in ("1970-01-01", "1969-12-31")
