"""A store of damaged runs: lists never fail, everything else is still there, and `events verify` names each defect."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.recorded import recorded, run_directories, wait_until_live
from tests.serving import Server, serve

__all__ = ["recorded", "serve"]

COPIES = 200
SEED = 20260101
SIDE_FILES = ("meta.json", "status.json", "summary.json", "environment.json", "artifacts_used.json", ".deleted")
HUGE = "1" + "0" * 400

Rng = random.Random
Defect = str | None
"""The path of what has to be reported, below the run directory; None if nothing is wrong with it."""


def content(rng: Rng, run: Path) -> Defect:
    """A side file holds something else than a JSON object."""
    name = rng.choice(SIDE_FILES)
    deep = b'{"a":' * 400 + b"1" + b"}" * 400
    whole = (run / name).read_bytes() if (run / name).exists() else b'{"a": 1}'
    cut = whole.rstrip()[: -rng.randint(1, 3)]
    odd = [b"", b" \n", b"[]", b"null", b'"text"', b"5", b"NaN", rng.randbytes(200), deep, cut, b"\xff\xfe{\x00}\x00"]
    (run / name).write_bytes(rng.choice(odd))
    return name


def kind(rng: Rng, run: Path) -> Defect:
    """In the place of a file lies something that is none."""
    name = rng.choice((*SIDE_FILES, "events.jsonl", "logs.txt"))
    (run / name).unlink(missing_ok=True)
    make: list[Callable[[], object]] = [
        lambda: os.mkfifo(run / name),
        lambda: (run / name).mkdir(),
        lambda: (run / name).symlink_to("nowhere"),
        lambda: (run / name).symlink_to(name),
    ]
    rng.choice(make)()
    return name


def field(rng: Rng, run: Path) -> Defect:
    """A field of a side file has another type than everybody expects."""
    fields = {
        "meta.json": ("project", "name", "created_at", "pid", "hostname"),
        "status.json": ("status", "started_at", "ended_at"),
        "summary.json": ("best_metric_value", "best_metric_name"),
        ".deleted": ("deleted_at", "reason"),
        "artifacts_used.json": ("artifacts",),
    }
    name = rng.choice(list(fields))
    value = rng.choice(["[1, 2]", '{"a": {}}', HUGE if name == "meta.json" else "[null]", "[[]]", '{"": []}'])
    chosen = rng.choice(fields[name])
    if (name, chosen) == ("meta.json", "pid"):
        value = rng.choice([value, "1.5", '"12"', "true"])
    if (name, chosen) == ("meta.json", "created_at"):
        value = rng.choice([value, "NaN", "-Infinity", '"yesterday"', "true", "1e999"])
    known: dict[str, Any] = json.loads((run / name).read_bytes()) if (run / name).exists() else {}
    known.pop(chosen, None)
    whole = json.dumps(known)[:-1] + (", " if known else "") + f'"{chosen}": {value}}}'
    (run / name).write_text(whole)
    return name


def lines(rng: Rng, run: Path) -> Defect:
    """Lines of the stream are no events."""
    path = run / "events.jsonl"
    whole = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    odd = [b"nonsense\n", b"[1]\n", rng.randbytes(80).replace(b"\n", b"") + b"\n", b'{"ts": 1, "type"\n', b"5\n"]
    whole.insert(rng.randint(0, len(whole)), rng.choice(odd))
    path.write_bytes(b"".join(whole))
    return ""


def torn(rng: Rng, run: Path) -> Defect:
    """The last line of the stream has no end."""
    with open(run / "events.jsonl", "ab") as file:
        file.write(b'{"ts": 17, "type": "metrics", "da')
    return ""


def missing(rng: Rng, run: Path) -> Defect:
    """Files are not there: 0.4.0 is used to that."""
    for name in rng.sample((*SIDE_FILES, "events.jsonl", "logs.txt"), 3):
        (run / name).unlink(missing_ok=True)
    return None


def bytes_in_log(rng: Rng, run: Path) -> Defect:
    """Any bytes may be in a log."""
    (run / "logs.txt").write_bytes(rng.randbytes(3000))
    return None


MUTATIONS = (content, content, kind, field, field, lines, torn, missing, bytes_in_log)
ODD_NAMES = ("späce d", "名前", "a'b\"c", "%2e%2e", "x" * 120, "-rf", "line\u2028break", "tab\there", "🦄", "#?&=")


@pytest.fixture
def garbage(recorded: Path, tmp_path: Path) -> tuple[Path, dict[str, Defect]]:
    """A store with 200 mutated runs, one sound run, and what is wrong with each, by key."""
    rng = random.Random(SEED)
    originals = run_directories(recorded)
    root = tmp_path / "garbage"
    defects: dict[str, Defect] = {}
    for number in range(COPIES):
        odd = rng.random() < 0.2
        name = rng.choice(ODD_NAMES) if odd else "n"
        run_id = f"{number}-{rng.choice(ODD_NAMES)}" if odd else f"20260101_000000_{number:06x}"
        key = f"p{number % 7}/{name}/runs/{run_id}"
        shutil.copytree(rng.choice(originals), root / key, symlinks=True)
        found = rng.choice(MUTATIONS)(rng, root / key)
        defects[key] = found if found is None else f"{key}/{found}".rstrip("/")
    shutil.copytree(originals[0], root / "sound/n/runs/20260101_000000_ffffff")
    return root, defects


@pytest.mark.slow(3)
def test_lists_show_every_run_and_every_answer_is_one(
    garbage: tuple[Path, dict[str, Defect]], serve: Callable[..., Server]
) -> None:
    root, defects = garbage
    server = serve(root, "--rate-limit", "off")
    wait_until_live(server)

    listed = {run["run_dir"].removeprefix(f"{root}/"): run for run in server.http.get("/api/runs").json()}
    deleted = {key for key in defects if os.path.exists(root / key / ".deleted")}  # a link to nothing deletes nothing
    assert set(listed) == {*defects, "sound/n/runs/20260101_000000_ffffff"} - deleted
    for run in listed.values():
        assert isinstance(run["status"], str)
        assert run["best_metric_value"] is None or isinstance(run["best_metric_value"], float)
    binned = server.http.get("/api/recycle-bin").json()["deleted_runs"]
    assert {run["run_dir"].removeprefix(f"{root}/") for run in binned} == deleted
    searched = server.http.get("/api/experiments/search").json()["experiments"]
    assert sorted(run["id"] for run in searched) == sorted(run["id"] for run in listed.values())
    assert server.http.post("/api/status/check").status_code == 200
    for path, may_lack in paths_of(server, [run["id"] for run in listed.values()]):
        answer = server.http.get(path)
        expected = (200, 404) if may_lack else (200,)
        assert answer.status_code in expected, f"{path}: {answer.status_code} {answer.text}"
        assert "Traceback" not in answer.text
    sound = server.http.get("/api/runs/20260101_000000_ffffff/metrics_step").json()
    assert len(sound["rows"]) > 1
    assert server.http.get("/api/health").json()["projector"]["state"] == "live"
    server.stop()
    assert "Traceback" not in server.log


ELSEWHERE = ("/api/events/", "/api/gpu/", "/api/unified/", "/api/ssh/", "/api/remote/")
"""Answers that do not end, and those about something else than this store."""


REQUIRED = {"/api/v2/analytics/performance-trends": "?metric_name=loss", "/api/v2/search": "?q=loss"}
"""What a GET has to be asked with, although the document does not say so."""


def paths_of(server: Server, run_ids: list[str]) -> Iterator[tuple[str, bool]]:
    """Everything that can be read: each list, and of each run all that has an id in it; whether a run may lack that."""
    from urllib.parse import quote

    for template, item in server.http.get("/openapi.json").json()["paths"].items():
        if "get" not in item or template.startswith(ELSEWHERE) or template.endswith("/ws"):
            continue
        if any(
            parameter.get("required") and parameter["in"] == "query" for parameter in item["get"].get("parameters", ())
        ):
            continue
        if "{" not in template:
            yield template + REQUIRED.get(template, ""), False
        for name in ("{run_id}", "{exp_id}"):
            if name in template and template.count("{") == 1:
                for run_id in run_ids[::7]:
                    yield template.replace(name, quote(run_id, safe="")), True


def test_verify_names_every_defect(garbage: tuple[Path, dict[str, Defect]]) -> None:
    root, defects = garbage
    command = [sys.executable, "-m", "runicorn", "events", "verify", "--storage", str(root), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    problems = [json.loads(line) for line in done.stdout.splitlines()]
    reported = {problem["stream"] for problem in problems}
    assert {defect for defect in defects.values() if defect is not None} - reported == set()
    sound = {key for key, defect in defects.items() if defect is None} | {"sound/n/runs/20260101_000000_ffffff"}
    assert [problem for problem in problems if any(problem["stream"].startswith(key) for key in sound)] == []
    for problem in problems:
        assert problem["reason"]
        assert str(root) not in problem["stream"] + problem["reason"]


def test_names_that_are_no_text_are_reported_and_hide_nothing(recorded: Path) -> None:
    odd = os.fsencode(run_directories(recorded)[0].parent) + b"/odd\xff"
    os.mkdir(odd)
    (recorded / "digits" / "broken").symlink_to("nowhere")
    command = [sys.executable, "-m", "runicorn", "events", "verify", "--storage", str(recorded)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "odd\ufffd: the name is not UTF-8" in done.stdout
    assert "digits/broken: a link to nothing" in done.stdout


def test_damaged_artifact_and_experiment_files_are_named(recorded: Path) -> None:
    artifact = next(recorded.glob("artifacts/*/*"))
    (artifact / "versions.json").write_text('{"versions": {}}')
    (artifact / "v1" / "metadata.json").write_text("[]")
    (artifact / "v1" / "manifest.json").write_bytes(b"")
    (recorded / ".experiments_metadata.json").write_text('{"a": {"tags": "x"}, "b": 5}')
    command = [sys.executable, "-m", "runicorn", "events", "verify", "--storage", str(recorded)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    key = artifact.relative_to(recorded)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{key}/versions.json: versions: not a list",
        f"{key}/v1/manifest.json: empty",
        f"{key}/v1/metadata.json: not a JSON object",
        ".experiments_metadata.json: a: tags: not a list of texts",
        ".experiments_metadata.json: b: not a JSON object",
    ]
