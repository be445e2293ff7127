"""The stream of an artifact, which is appended under the artifact's own lock."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import ClassVar

import pytest

from runicorn.events.artifact import append_artifact_events, read_artifact_events
from runicorn.events.envelope import Payload, decode_data
from runicorn.events.log import FileLog, Stream


class Praised(Payload, frozen=True, kw_only=True):
    event_type: ClassVar[str] = "artifact.praised"
    by: str


class Blamed(Payload, frozen=True, kw_only=True):
    event_type: ClassVar[str] = "artifact.blamed"
    by: str


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts" / "model" / "net"
    folder.mkdir(parents=True)
    return folder


def test_what_was_appended_is_a_stream_of_the_log(folder: Path, tmp_path: Path) -> None:
    append_artifact_events(folder, Praised(by="a"), Blamed(by="b"), ts=5.0)
    log = FileLog(tmp_path, tmp_path / "state")
    assert list(log.streams()) == [Stream("artifact", "artifacts/model/net")]
    events = log.read(Stream("artifact", "artifacts/model/net")).events
    assert [(event.ts, event.type, decode_data(event)) for event in events] == [
        (5.0, "artifact.praised", {"by": "a"}),
        (5.0, "artifact.blamed", {"by": "b"}),
    ]


def test_no_lock_file_of_the_stream_is_made(folder: Path) -> None:
    append_artifact_events(folder, Praised(by="a"))
    assert [path.name for path in folder.iterdir()] == ["events.jsonl"]


def test_what_cannot_be_made_to_last_is_not_recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_artifact_events(folder, Praised(by="a"))
    before = (folder / "events.jsonl").read_bytes()

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", fails)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            append_artifact_events(folder, Praised(by="b"))
    assert (folder / "events.jsonl").read_bytes() == before


def test_events_of_one_type_are_read_whatever_lies_between(folder: Path) -> None:
    append_artifact_events(folder, Praised(by="a"))
    with (folder / "events.jsonl").open("a") as file:
        file.write('artifact.praised\n{"type": 5, "data": "artifact.praised"}\n')
    append_artifact_events(folder, Blamed(by="artifact.praised"), Praised(by="b"))
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"ts": 1, "type": "artifact.praised", "data": {"by": "torn')
    assert [decode_data(event) for event in read_artifact_events(folder, "artifact.praised")] == [
        {"by": "a"},
        {"by": "b"},
    ]


def test_an_artifact_without_a_stream_has_no_events(folder: Path) -> None:
    assert list(read_artifact_events(folder, "artifact.praised")) == []
    assert list(read_artifact_events(folder / "none", "artifact.praised")) == []
    assert list(read_artifact_events(folder / "none", "artifact.praised", newest_first=True)) == []


@pytest.mark.parametrize("torn", [b"", b'{"ts": 1.0, "type": "artifact.praised", "da'])
def test_events_are_read_from_the_end_over_lines_of_any_length(folder: Path, torn: bytes) -> None:
    lines = [
        b'{"ts": 1.0, "type": "artifact.%s", "data": {"number": %d, "text": "%s"}}\n'
        % (b"praised" if number % 3 else b"other", number, b"x" * (700_000 if number == 5 else number * 997 % 4000))
        for number in range(100)
    ]
    (folder / "events.jsonl").write_bytes(b"\n".join([b"".join(lines[:50]), b"".join(lines[50:])]) + torn)
    forwards = [decode_data(event) for event in read_artifact_events(folder, "artifact.praised")]
    backwards = [decode_data(event) for event in read_artifact_events(folder, "artifact.praised", newest_first=True)]
    assert (len(forwards), backwards) == (66, forwards[::-1])
