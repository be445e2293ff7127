"""A sound store with everything in it, and the kinds of damage that are planted in it, one at a time.

Each says what `runicorn events verify` has to say about it: where, from which byte on, why, and what helps.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from runicorn.artifacts import Artifact
from runicorn.events.log import FileLog
from runicorn.events.store import StoreStream
from runicorn.host import PluginHost, Selection
from runicorn.plugin import RunDescribed, RunTagged
from tests.projecting import InProcess
from tests.stores import make_run, metrics_event

RUN = "p/n/runs/20260101_000000_aaaaaa"
OTHER = "p/n/runs/20260101_000000_bbbbbb"
LEGACY = "runs/20250101_000000_cccccc"
ARTIFACT = "artifacts/model/net"
STORE = ".runicorn/log/00000001"
LATER_STORE = ".runicorn/log/00000003"
STATE = ".runicorn/state"

Plant = Callable[[Path], int | None]
"""Damages the store below a root; the offset that has to be named, or None."""


class Damage(NamedTuple):
    """One kind of damage."""

    name: str
    plant: Plant
    place: str
    """What `stream` has to be, or to begin with."""
    reason: str
    """A part of the reason."""
    repair: str = ""
    """A part of the proposal; empty for a remark, which needs none."""


def event(ts: float, kind: str, **data: Any) -> str:
    """One line."""
    return json.dumps({"ts": ts, "type": kind, "data": data}) + "\n"


def make_store(root: Path) -> None:
    """Runs with chunks of points, images and values, an artifact, three segments of commands, and level read models."""
    run = make_run(
        root,
        RUN,
        events=event(5.0, "run.created", run_id=RUN.rpartition("/")[2], project="p", name="n", created_at=5.0)
        + event(5.5, "run.configured", config={"lr": 0.1, "net": "small"})
        + "".join(
            metrics_event(6.0 + step, global_step=step, loss=1 / (step + 1), acc=step / 9) for step in range(5000)
        )
        + event(5100.0, "image", key="sample", path="media/a.png", step=3)
        + event(5200.0, "run.summarized", update={"best_metric_value": 0.5, "best_metric_name": "loss", "f1": 0.25})
        + event(5300.0, "run.finished", status="finished", ended_at=5300.0),
        meta={"id": RUN.rpartition("/")[2], "project": "p", "name": "n", "created_at": 5.0},
        status={"status": "finished", "started_at": 5.0, "ended_at": 5300.0},
        summary={"best_metric_value": 0.5},
        artifacts_used={"artifacts": [{"name": "net", "type": "model", "version": 1, "used_at": 7.0}]},
    )
    assert run.is_dir()
    make_run(root, OTHER, events=metrics_event(9.0, loss=1.0, global_step=1), meta={"project": "p", "name": "n"})
    make_run(root, LEGACY, meta={"created_at": 1.0})
    (root / ".experiments_metadata.json").write_text('{"20260101_000000_aaaaaa": {"pinned": true}}')
    _save_artifacts(root)
    store = StoreStream(FileLog(root, root / STATE), segment_bytes=1)  # a segment for each command
    name = RUN.rpartition("/")[2]
    for tag in "ab":
        store.append(RunTagged(run=RUN, run_id=name, tags=[tag]))
    store.append(
        RunDescribed(run=RUN, run_id=name, description="längst"), RunTagged(run=RUN, run_id=name, tags=["a", "b"])
    )
    projector = InProcess(root, root / STATE, PluginHost.load(Selection.resolve()))
    projector.sweep()
    projector.close()


def _save_artifacts(root: Path) -> None:
    from runicorn.artifacts import create_artifact_storage
    from runicorn_artifacts.promoting import set_alias

    files = root.parent / "files"
    files.mkdir(exist_ok=True)
    storage = create_artifact_storage(root)
    for content in ("first", "second"):
        (files / "weights.bin").write_text(content * 100)
        artifact = Artifact("net", "model").add_file(files / "weights.bin")
        storage.save_artifact(artifact, RUN.rpartition("/")[2], *artifact.staged)
    set_alias(storage.lookup.resolve("net:v1")[0], "best", 1)


# ── lines ───────────────────────────────────────────────────────────────────


def insert(stream: str, line: bytes, *, after: int = 1) -> Plant:
    """Put bytes behind the first lines of a stream; they are to be named."""

    def plant(root: Path) -> int:
        path = file_of(root, stream)
        lines = path.read_bytes().splitlines(keepends=True)
        lines.insert(after, line)
        rewrite(path, b"".join(lines))
        return sum(map(len, lines[:after]))

    return plant


def at_the_end(stream: str, data: bytes) -> Plant:
    """Append bytes to a stream; they are to be named."""

    def plant(root: Path) -> int:
        path = file_of(root, stream)
        size = path.stat().st_size
        with path.open("ab") as file:
            file.write(data)
        return size

    return plant


def file_of(root: Path, stream: str) -> Path:
    return root / (f"{stream}.jsonl" if stream.startswith(".runicorn") else f"{stream}/events.jsonl")


def rewrite(path: Path, data: bytes) -> None:
    """Write into the file that is there."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


QUARANTINE = "events verify --repair"


def bad_line(name: str, line: bytes, reason: str, *, stream: str = RUN) -> Damage:
    return Damage(name, insert(stream, line), stream, reason, QUARANTINE)


def odd_line(name: str, line: bytes, reason: str, *, stream: str = RUN, after: int = 1) -> Damage:
    """Nothing is damaged by it."""
    return Damage(name, insert(stream, line, after=after), stream, reason)


NAME = RUN.rpartition("/")[2]
LINES = [
    Damage(
        "torn", at_the_end(RUN, b'{"ts": 17, "type": "met'), RUN, "torn: the last line has no newline", "next append"
    ),
    Damage("torn within a character", at_the_end(RUN, b'{"ts": 1, "type": "\xc3'), RUN, "torn", "next append"),
    Damage("torn segment", at_the_end(STORE, b'{"ts":'), STORE, "torn", "next append"),
    Damage("torn artifact stream", at_the_end(ARTIFACT, b"{"), ARTIFACT, "torn", "next append"),
    bad_line("nonsense", b"nonsense\n", "not JSON"),
    bad_line("cut off", b'{"ts": 1, "type": "metrics", "da\n', "the end of the line is missing"),
    bad_line("two events in a line", b'{"ts": 1, "type": "x"}{"ts": 2, "type": "x"}\n', "something follows the event"),
    bad_line("glued to a torn line", b'{"ts": 1, "ty{"ts": 2, "type": "metrics", "data": {}}\n', "not JSON"),
    bad_line("an array", b"[1, 2]\n", "not a JSON object"),
    bad_line("a number", b"17\n", "not a JSON object"),
    bad_line("a text", b'"run.finished"\n', "not a JSON object"),
    bad_line("null", b"null\n", "not a JSON object"),
    bad_line("binary", bytes(range(128, 250)) + b"\n", "no UTF-8"),
    bad_line("UTF-16", '{"ts": 1}'.encode("utf-16-le") + b"\n", "NUL bytes"),
    bad_line("a hole of NUL bytes", b"\0" * 4096 + b"\n", "NUL bytes"),
    bad_line("nested too deeply", b'{"data":' * 300 + b"1" + b"}" * 300 + b"\n", "nested too deeply"),
    bad_line("beyond 64 MiB", b'{"a": "' + b"x" * (65 << 20) + b'"}\n', "too long"),
    bad_line("line in a segment", b"nonsense\n", "not JSON", stream=STORE),
    bad_line("line in an artifact stream", b"nonsense\n", "not JSON", stream=ARTIFACT),
    bad_line("no time", b'{"type": "metrics", "data": {}}\n', "no usable ts"),
    bad_line("time is a text", b'{"ts": "5", "type": "metrics", "data": {}}\n', "no usable ts"),
    bad_line("time is true", b'{"ts": true, "type": "metrics", "data": {}}\n', "no usable ts"),
    bad_line("time is NaN", b'{"ts": NaN, "type": "metrics", "data": {}}\n', "no usable ts"),
    bad_line("time is infinite", b'{"ts": 1e400, "type": "metrics", "data": {}}\n', "no usable ts"),
    bad_line("time has 400 digits", b'{"ts": 1' + b"0" * 400 + b', "type": "metrics"}\n', "no usable ts"),
    bad_line("no type", b'{"ts": 6, "data": {}}\n', "no type"),
    bad_line("type is a number", b'{"ts": 6, "type": 5, "data": {}}\n', "no type"),
    bad_line("type is empty", b'{"ts": 6, "type": "", "data": {}}\n', "no type"),
    bad_line("neither", b"{}\n", "no usable ts; no type"),
    bad_line("time twice", b'{"ts": 6, "ts": 7, "type": "metrics", "data": {}}\n', "the field 'ts' is there twice"),
    bad_line("type twice", b'{"ts": 6, "type": "x", "type": "metrics"}\n', "the field 'type' is there twice"),
    bad_line(
        "field of the payload twice",
        b'{"ts": 5300, "type": "run.finished", "data": {"status": "a", "status": "b", "ended_at": 1}}\n',
        "the field 'status' is there twice",
    ),
    bad_line("no payload", b'{"ts": 6, "type": "run.finished"}\n', "run.finished: Expected `object`, got `null`"),
    bad_line("field missing", b'{"ts": 6, "type": "run.finished", "data": {}}\n', "missing required field `status`"),
    bad_line(
        "a number of 400 digits",
        b'{"ts": 5300, "type": "run.finished", "data": {"status": "a", "ended_at": 1' + b"0" * 400 + b"}}\n",
        "run.finished: Number out of range",
    ),
    odd_line(
        "unknown type", event(6.0, "coffee.made", cups=2).encode(), "no plugin knows the event type 'coffee.made'"
    ),
    odd_line("time in milliseconds", event(6e12, "metrics", loss=1).encode(), "beyond the calendar"),
    odd_line("time before 1970", event(-5.0, "metrics", loss=1).encode(), "beyond the calendar"),
    odd_line("time goes back", event(1.0, "metrics", loss=1).encode(), "before that of the event before", after=9),
    odd_line("byte order mark", b'\xef\xbb\xbf{"ts": 6, "type": "metrics", "data": {}}\n', "byte order mark"),
    odd_line("CR LF", b'{"ts": 6, "type": "metrics", "data": {}}\r\n', "CR LF"),
    odd_line(
        "another run's id",
        event(5.0, "run.created", run_id="other", project="p", name="n", created_at=5.0).encode(),
        f"names the run 'other', not {NAME!r}",
    ),
    odd_line(
        "a command about two runs",
        event(5.0, "run.restored", run=RUN, run_id="other").encode(),
        f"run.restored is about {RUN!r}, and names the run 'other'",
        stream=STORE,
    ),
    Damage(
        "events after the end",
        at_the_end(RUN, metrics_event(5400.0, loss=1.0).encode()),
        RUN,
        "the run had finished before",
    ),
]


def wrong_types() -> list[Damage]:
    """For every event type that a plugin knows: one of its required fields, or any, has a type that it never has."""
    found: list[Damage] = []
    for _, payload in PluginHost.load(Selection.resolve()).collect("event_types"):
        for kind in payload:
            field = next(iter(msgspec.structs.fields(kind))).encode_name
            line = json.dumps({"ts": 6.0, "type": kind.event_type, "data": {field: [[]]}}).encode() + b"\n"
            stream = ARTIFACT if kind.event_type.startswith("artifact.v") else RUN
            found.append(
                bad_line(f"{kind.event_type} with a wrong {field}", line, f"{kind.event_type}: ", stream=stream)
            )
    return found


# ── files ───────────────────────────────────────────────────────────────────


def replaced(path: str, make: Callable[[Path], object]) -> Plant:
    """Something else is where a file was."""

    def plant(root: Path) -> None:
        target = root / path
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        make(target)

    return plant


def content(path: str, data: bytes) -> Plant:
    return replaced(path, lambda target: target.write_bytes(data))


def removed(path: str) -> Plant:
    return replaced(path, lambda target: None)


def _link(to: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(to)


def _odd_name(root: Path) -> None:
    os.mkdir(os.fsencode(root / RUN).rpartition(b"/")[0] + b"/odd\xff")


def _unreadable(root: Path) -> None:
    file_of(root, RUN).chmod(0)


EVENTS = f"{RUN}/events.jsonl"
BACKUP = "from a backup"
FILES = [
    Damage("empty stream", content(f"{OTHER}/events.jsonl", b""), OTHER, "empty: nothing was ever appended"),
    Damage("stream is a link to nothing", replaced(EVENTS, _link("nowhere")), EVENTS, "a link to nothing", BACKUP),
    Damage("stream is a link to itself", replaced(EVENTS, _link("events.jsonl")), EVENTS, "cannot be read", BACKUP),
    Damage("stream is a directory", replaced(EVENTS, Path.mkdir), EVENTS, "not a regular file", BACKUP),
    Damage("stream is a pipe", replaced(EVENTS, os.mkfifo), EVENTS, "not a regular file", BACKUP),
    Damage("log is a directory", replaced(f"{RUN}/logs.txt", Path.mkdir), f"{RUN}/logs.txt", "not a regular", BACKUP),
    Damage("meta.json is cut off", content(f"{RUN}/meta.json", b'{"id": "a'), f"{RUN}/meta.json", "not JSON", BACKUP),
    Damage("meta.json is empty", content(f"{RUN}/meta.json", b""), f"{RUN}/meta.json", "empty", BACKUP),
    Damage(
        "meta.json is an array", content(f"{RUN}/meta.json", b"[]"), f"{RUN}/meta.json", "not a JSON object", BACKUP
    ),
    Damage(
        "meta.json beyond 4 MiB", content(f"{RUN}/meta.json", b" " * (5 << 20)), f"{RUN}/meta.json", "too large", BACKUP
    ),
    Damage(
        "pid is a text", content(f"{RUN}/meta.json", b'{"pid": "5"}'), f"{RUN}/meta.json", "pid: not an int", BACKUP
    ),
    Damage(
        "status is an object", content(f"{RUN}/status.json", b'{"status": {}}'), f"{RUN}/status.json", "status", BACKUP
    ),
    Damage("status.json is a pipe", replaced(f"{RUN}/status.json", os.mkfifo), f"{RUN}/status.json", "regular", BACKUP),
    Damage(
        "summary nests too deeply",
        content(f"{RUN}/summary.json", b'{"a":' * 400 + b"1" + b"}" * 400),
        f"{RUN}/summary.json",
        "nested too deeply",
        BACKUP,
    ),
    Damage(
        "best value is a list",
        content(f"{RUN}/summary.json", b'{"best_metric_value": []}'),
        f"{RUN}/summary",
        "best_",
        BACKUP,
    ),
    Damage("marker is binary", content(f"{RUN}/.deleted", b"\xff\x00\x01"), f"{RUN}/.deleted", "not JSON", BACKUP),
    Damage(
        "list of artifacts is none",
        content(f"{RUN}/artifacts_used.json", b'{"artifacts": {}}'),
        f"{RUN}/artifacts_used.json",
        "artifacts: not a list",
        BACKUP,
    ),
    Damage(
        "entry without a version",
        content(f"{RUN}/artifacts_used.json", b'{"artifacts": [{"name": "a", "type": "b"}]}'),
        f"{RUN}/artifacts_used.json",
        "entry 0: version is missing",
        BACKUP,
    ),
    Damage(
        "environment is a link to nothing",
        replaced(f"{RUN}/environment.json", _link("nowhere")),
        f"{RUN}/environment.json",
        "a link to nothing",
        BACKUP,
    ),
    Damage("a name that is no text", _odd_name, "p/n/runs/odd\ufffd", "the name is not UTF-8", BACKUP),
    Damage(
        "experiments are an array",
        content(".experiments_metadata.json", b"[]"),
        ".experiments_m",
        "not a JSON obj",
        BACKUP,
    ),
    Damage(
        "pinned is a number",
        content(".experiments_metadata.json", b'{"a": {"pinned": 5}}'),
        ".experiments_metadata.json",
        "a: pinned: not true or false",
        BACKUP,
    ),
    Damage("index of versions is missing", removed(f"{ARTIFACT}/versions.json"), f"{ARTIFACT}/v", "missing", BACKUP),
    Damage(
        "index of versions is broken", content(f"{ARTIFACT}/versions.json", b"{"), f"{ARTIFACT}/v", "not JSON", BACKUP
    ),
    Damage(
        "aliases are a list",
        content(f"{ARTIFACT}/versions.json", b'{"aliases": []}'),
        f"{ARTIFACT}/v",
        "aliases:",
        BACKUP,
    ),
    Damage(
        "manifest is missing", removed(f"{ARTIFACT}/v1/manifest.json"), f"{ARTIFACT}/v1/manifest", "missing", BACKUP
    ),
    Damage(
        "manifest is empty", content(f"{ARTIFACT}/v1/manifest.json", b""), f"{ARTIFACT}/v1/manifest", "empty", BACKUP
    ),
    Damage(
        "metadata is an array",
        content(f"{ARTIFACT}/v2/metadata.json", b"[]"),
        f"{ARTIFACT}/v2/meta",
        "not a JSON",
        BACKUP,
    ),
    Damage(
        "lifecycle is a text",
        content(f"{ARTIFACT}/v2/lifecycle.json", b'"a"'),
        f"{ARTIFACT}/v2/life",
        "not a JSON",
        BACKUP,
    ),
    Damage("segment is missing", removed(".runicorn/log/00000002.jsonl"), ".runicorn/log/00000002", "missing", BACKUP),
    Damage(
        "segment is there twice",
        content(".runicorn/log/2.jsonl", event(1.0, "run.restored", run=OTHER, run_id=OTHER[9:]).encode()),
        ".runicorn/log/00000002",
        "2 segments with this number",
    ),
    Damage(
        "segment is a link to nothing",
        replaced(f"{LATER_STORE}.jsonl", _link("nowhere")),
        LATER_STORE,
        "no file that can be read",
        BACKUP,
    ),
]
if os.geteuid() != 0:  # who may read everything cannot be kept out
    FILES.append(Damage("stream must not be read", _unreadable, EVENTS, "cannot be read", BACKUP))
