"""A log that is exported and imported is the same log: byte for byte, and in all that read models make of it."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import apsw
from hypothesis import given, settings
from hypothesis import strategies as st

from runicorn.archive import Limits, staging_directory
from runicorn.archive.log_exporting import export_log, streams_to_export
from runicorn.archive.log_importing import ImportedLog, import_log
from runicorn.events.log import FileLog, Stream
from runicorn.projection.comparing import compare_table
from runicorn.projection.meaning import STREAMS as CHECKPOINTS
from runicorn.projection.meaning import meanings_of
from runicorn.projection.rebuild import build_aside
from tests.projecting import runs_host
from tests.properties.test_convergence import STREAMS, worlds


def write(log: FileLog, name: str, content: bytes) -> None:
    path = Path(log.path(Stream.named(name)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def exported(log: FileLog) -> bytes:
    file = io.BytesIO()
    export_log(log, streams_to_export(log), file)
    return file.getvalue()


def imported(log: FileLog, data: bytes) -> ImportedLog:
    log.root.mkdir(parents=True, exist_ok=True)
    with staging_directory(log.root) as staging:
        return import_log(log.root, log.state_dir, io.BytesIO(data), staging, limits=Limits())


def contents(log: FileLog) -> dict[str, bytes]:
    return {stream.name: Path(log.path(stream)).read_bytes() for stream in log.streams()}


def model(log: FileLog, path: Path) -> apsw.Connection:
    """What a replay makes of a log."""
    build_aside(log, {"runs": path}, projections(), processes=0)
    return apsw.Connection(str(path))


def projections():
    return {plugin.name: found for plugin, found in runs_host().collect("projections")}


@settings(max_examples=30, deadline=None)
@given(worlds, st.binary(max_size=20).map(lambda tail: tail.replace(b"\n", b"")), st.data())
def test_a_log_goes_around_unchanged(world: list[bytes], torn: bytes, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        source = FileLog(directory / "source", directory / "source/.runicorn/state")
        for stream, content in zip(STREAMS, world, strict=True):
            write(source, stream, content + torn)
        target = FileLog(directory / "target", directory / "target/.runicorn/state")
        begun = data.draw(st.lists(st.sampled_from(STREAMS), unique=True))
        whole = contents(source)
        for stream in begun:  # the target holds the beginning of some of them
            write(target, stream, whole[stream][: data.draw(st.integers(0, len(whole[stream])))])
        held = {stream: len(content) for stream, content in contents(target).items()}

        done = imported(target, exported(source))

        assert done.is_possible
        assert contents(target) == whole
        assert done.bytes == sum(map(len, whole.values())) - sum(held.values())
        assert set(done.new) == whole.keys() - held.keys()
        assert set(done.grown) == {stream for stream, size in held.items() if size < len(whole[stream])}
        again = imported(target, exported(source))
        assert (sorted(again.same), again.bytes) == (sorted(whole), 0)
        ours, theirs = model(source, directory / "ours.db"), model(target, directory / "theirs.db")
        meanings = {**meanings_of(ours, projections()["runs"]), "stream": CHECKPOINTS}
        for table, meaning in meanings.items():
            assert list(compare_table(table, meaning, theirs, ours)) == []
        ours.close()
        theirs.close()
