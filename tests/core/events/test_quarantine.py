"""`runicorn events verify --repair`: what is no use is copied and known from then on; no log is edited."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runicorn.cli.events.verify import verify
from runicorn.events.append import StreamWriter
from runicorn.events.log import FileLog, Stream
from runicorn.events.quarantine import Quarantine
from runicorn.files import file_lock
from tests.stores import make_run, metrics_event

RUN = "p/n/runs/a"
GOOD = metrics_event(global_step=1).encode()


def check(root: Path, *options: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, what was found, and what was said on standard error."""
    done = CliRunner().invoke(verify, ["--storage", str(root), "--no-replay", "--json", *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def places(found: list[dict[str, Any]]) -> list[tuple[str, int, str]]:
    return [(one["severity"], one["offset"], one["reason"]) for one in found]


def quarantined(root: Path) -> list[dict[str, Any]]:
    """The lines of all files of the quarantine."""
    paths = sorted((root / ".runicorn/quarantine").glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def test_lines_are_copied_with_their_places_and_the_log_stays_as_it_is(tmp_path: Path) -> None:
    lines = [GOOD, b"nonsense \xff\n", GOOD, b'{"type": "metrics"}\n', b'{"torn']
    run = make_run(tmp_path, RUN, events=b"".join(lines))
    before = (run / "events.jsonl").read_bytes(), (run / "events.jsonl").stat().st_mtime_ns

    status, found, said = check(tmp_path, "--repair")

    assert (status, [one["repaired"] for one in found]) == (0, [True] * 3)
    assert "3 repaired, none left." in said
    assert before == ((run / "events.jsonl").read_bytes(), (run / "events.jsonl").stat().st_mtime_ns)
    starts = [sum(map(len, lines[:at])) for at in (1, 3, 4)]
    copies = quarantined(tmp_path)
    assert [(one["stream"], one["offset"]) for one in copies] == [(RUN, start) for start in starts]
    for one, at in zip(copies, (1, 3, 4), strict=True):
        content = lines[at].removesuffix(b"\n")
        assert base64.b64decode(one["content"]) == content
        assert (one["length"], one["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert one["reason"] in [problem["reason"] for problem in found]


def test_what_is_quarantined_is_a_remark_from_then_on(tmp_path: Path) -> None:
    make_run(tmp_path, RUN, events=GOOD + b"nonsense\n")
    assert check(tmp_path)[0] == 1
    check(tmp_path, "--repair")

    status, found, _ = check(tmp_path)
    assert (status, places(found)) == (0, [("remark", len(GOOD), "quarantined: not JSON")])
    check(tmp_path, "--repair")
    assert len(quarantined(tmp_path)) == 1


def test_a_torn_line_stays_quarantined_when_the_next_append_ends_it(tmp_path: Path) -> None:
    run = make_run(tmp_path, RUN, events=GOOD + b'{"ts": 5, "ty')
    check(tmp_path, "--repair")
    StreamWriter(run / "events.jsonl").append(GOOD)

    status, found, _ = check(tmp_path)
    assert (status, [one["offset"] for one in found]) == (0, [len(GOOD)])
    assert found[0]["reason"].startswith("quarantined: ")


def test_other_bytes_at_the_same_place_are_damage_again(tmp_path: Path) -> None:
    run = make_run(tmp_path, RUN, events=GOOD + b"nonsense\n")
    check(tmp_path, "--repair")
    (run / "events.jsonl").write_bytes(GOOD + b"nonsensf\n")
    assert check(tmp_path)[0] == 1


def test_a_long_line_is_copied_in_pieces(tmp_path: Path) -> None:
    line = bytes(at % 251 for at in range((3 << 20) + 5)).replace(b"\n", b" ")
    make_run(tmp_path, RUN, events=line + b"\n" + GOOD)
    assert check(tmp_path, "--repair")[0] == 0
    *rest, first = quarantined(tmp_path)
    whole = base64.b64decode(first["content"])
    for piece in rest:
        assert piece["from"] == len(whole)
        whole += base64.b64decode(piece["content"])
    assert (whole, first["length"]) == (line, len(line))
    assert check(tmp_path)[0] == 0


def test_what_cannot_be_repaired_is_said_so_and_leaves_no_file(tmp_path: Path) -> None:
    make_run(tmp_path, RUN, events=GOOD, meta="{")
    status, found, _ = check(tmp_path, "--repair")
    assert (status, [one["repaired"] for one in found]) == (1, [False])
    assert "cannot be repaired" in found[0]["repair"]
    assert not (tmp_path / ".runicorn").exists()


def test_only_one_at_a_time(tmp_path: Path) -> None:
    run = make_run(tmp_path, RUN, events=b"nonsense\n")
    check(tmp_path, "--repair")
    (run / "events.jsonl").write_bytes(b"nonsense\n" * 2)
    with file_lock(tmp_path / ".runicorn/quarantine/lock"):
        done = CliRunner().invoke(verify, ["--storage", str(tmp_path), "--repair"])
    assert "Somebody else is repairing" in str(done.exception)


def test_a_root_that_cannot_be_written_has_its_quarantine_in_the_state_directory(tmp_path: Path) -> None:
    root, state = tmp_path / "root", tmp_path / "state"
    make_run(root, RUN, events=b"nonsense\n")
    (root / ".runicorn").mkdir()
    (root / ".runicorn/quarantine").write_bytes(b"")  # to the superuser every directory can be written
    log = FileLog(root, state)
    with Quarantine(log).adding() as adding:
        adding.add(Stream("run", RUN), 0, "not JSON")
    assert (state / "quarantine/00000001.jsonl").is_file()
    assert Quarantine(log).holds(Stream("run", RUN), 0)


@pytest.mark.slow
def test_killed_in_the_middle_there_is_no_file_and_the_next_repair_works(tmp_path: Path) -> None:
    run = make_run(tmp_path, RUN, events=b"nonsense\n" * 200_000)
    command = [sys.executable, "-m", "runicorn", "events", "verify", "--storage", str(tmp_path), "--no-replay"]
    with subprocess.Popen([*command, "--repair"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in (tmp_path / ".runicorn").glob("quarantine/*.tmp")):
            assert process.poll() is None
            assert time.monotonic() < deadline
        os.kill(process.pid, signal.SIGKILL)
    assert list((tmp_path / ".runicorn/quarantine").glob("*.jsonl")) == []

    (run / "events.jsonl").write_bytes(b"nonsense\n")
    assert check(tmp_path, "--repair")[0] == 0
    assert sorted(path.name for path in (tmp_path / ".runicorn/quarantine").iterdir()) == ["00000001.jsonl", "lock"]
