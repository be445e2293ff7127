"""Exporting: chosen runs with what the store stream says about them, in one archive.

Paths in it are relative to the root, as 0.4.0 has them. Lock files are left out, links are not followed out of a run.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, cast

import msgspec
import zstandard

from runicorn.archive.annotations import annotations_of
from runicorn.archive.places import EVENTS_MEMBER, LOCK_SUFFIX, is_importable, is_safe
from runicorn.archive.store_events import encode_events, events_about, header
from runicorn.errors import StorageUnavailable
from runicorn.events.discovery import RunDirectory, find_runs
from runicorn.events.log import FileLog
from runicorn.fields import without_surrogates
from runicorn.files import open_to_read, read_json_object
from runicorn.run_files import META_FILE
from runicorn.version import __version__

ArchiveFormat = Literal["tar.gz", "zip", "tar.zst"]

_GZIP_LEVEL = 6
_IN_MEMORY = 4 << 20
_READ_BYTES = 256 << 10


class NotReadable(StorageUnavailable):
    """A file cannot be read as a whole; an archive without it would not be what it says."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} cannot be read, or shrank while it was read. Nothing was exported.")


class Exported(msgspec.Struct, frozen=True):
    """What an archive holds."""

    runs: int
    files: int
    size: int
    """Bytes of all files, unpacked."""
    not_importable: list[str]
    """Runs, and files and directories in others, that an import leaves out because of their names; each as its path."""


def choose_runs(
    root: Path, *, project: str | None = None, name: str | None = None, run_ids: Sequence[str] = ()
) -> list[RunDirectory]:
    """The runs that match all filters, those in the recycle bin too, by key. Legacy runs have neither project nor name."""
    chosen: list[RunDirectory] = []
    for run in find_runs(root):
        if run_ids and run.run_id not in run_ids:
            continue
        if project is not None or name is not None:
            meta = read_json_object(root / run.key / META_FILE) or {}
            names = run.names(meta.get("project"), meta.get("name"))
            if run.project is None or names != (project or names[0], name or names[1]):
                continue
        chosen.append(run)
    return sorted(chosen, key=lambda run: run.key)


def export_runs(
    root: Path,
    state_dir: Path,
    runs: Sequence[RunDirectory],
    file: BinaryIO,
    kind: ArchiveFormat = "tar.gz",
    *,
    tick: Callable[[RunDirectory], None] = lambda _: None,
) -> Exported:
    """Write an archive of these runs. `tick` hears of each that is in it. Constant memory, but for names that are refused."""
    files = size = 0
    refused: list[str] = []
    with _writer(file, kind) as archive:
        _add_events(archive, FileLog(root, state_dir), runs)
        for run in runs:
            is_refused = not is_importable(run.key)
            if is_refused:
                refused.append(run.key)
            for path, status in _walk(root / run.key):
                name = os.path.relpath(path, root / run.key)
                member = run.key if name == "." else f"{run.key}/{name}"
                is_directory = stat.S_ISDIR(status.st_mode)
                if not is_refused and _is_first_refused(f"{member}/" if is_directory else member):
                    refused.append(member)
                if not archive.holds(member):
                    continue
                if is_directory:
                    archive.directory(member, status.st_mtime)
                    continue
                added = _add_file(archive, member, path)
                if added is not None:
                    files, size = files + 1, size + added
            tick(run)
    return Exported(len(runs), files, size, refused)


def _is_first_refused(name: str) -> bool:
    """Whether an import refuses the name of a member (a directory's ends in `/`), and not that of the directory it is in.

    What is below a name that is not safe is not safe either, and needs not be named.
    """
    parent, _, _ = name.rstrip("/").rpartition("/")
    return not is_safe(name) and is_safe(f"{parent}/")


class _Writer(Protocol):
    """An archive that is being written."""

    def holds(self, name: str) -> bool:
        """Whether a member can have this name; an import refuses those that cannot."""
        ...

    def directory(self, name: str, modified: float) -> None: ...

    def file(self, name: str, modified: float, size: int, content: BinaryIO) -> None:
        """Exactly `size` bytes of `content`. EOFError if there are fewer."""
        ...


class _Tar:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    def holds(self, name: str) -> bool:
        return True

    def directory(self, name: str, modified: float) -> None:
        self._archive.addfile(self._info(name, modified, tarfile.DIRTYPE, 0o755))

    def file(self, name: str, modified: float, size: int, content: BinaryIO) -> None:
        info = self._info(name, modified, tarfile.REGTYPE, 0o644)
        info.size = size
        self._archive.addfile(info, cast(Any, _Exactly(content, size)))

    def _info(self, name: str, modified: float, kind: bytes, mode: int) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.mtime, info.type, info.mode = modified, kind, mode  # type: ignore[assignment] - fractions go to a pax record
        return info


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def holds(self, name: str) -> bool:
        return without_surrogates(name) == name  # its names are text, those of files any bytes

    def directory(self, name: str, modified: float) -> None:
        self._archive.writestr(self._info(f"{name}/", modified, stat.S_IFDIR | 0o755), b"")

    def file(self, name: str, modified: float, size: int, content: BinaryIO) -> None:
        source = _Exactly(content, size)
        info = self._info(name, modified, stat.S_IFREG | 0o644)
        info.file_size = size  # decides whether the entry needs 64-bit sizes
        with self._archive.open(info, "w") as target:
            while data := source.read(_READ_BYTES):
                target.write(data)

    def _info(self, name: str, modified: float, mode: int) -> zipfile.ZipInfo:
        date = time.localtime(min(max(modified, 315619200.0), 4354732800.0))[:6]  # zip knows 1980 to 2107
        info = zipfile.ZipInfo(name, date)
        info.external_attr = mode << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        return info


class _Exactly:
    """Reads so many bytes of a file that may grow meanwhile. EOFError if there are fewer."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, limit: int) -> bytes:
        data = self._file.read(min(limit, self._left))
        if not data and self._left and limit:
            raise EOFError
        self._left -= len(data)
        return data


@contextmanager
def _writer(file: BinaryIO, kind: ArchiveFormat) -> Generator[_Writer]:
    if kind == "zip":
        with zipfile.ZipFile(file, "w", strict_timestamps=False) as archive:
            yield _Zip(archive)
        return
    packer: Any = (
        gzip.GzipFile("", "wb", _GZIP_LEVEL, file)
        if kind == "tar.gz"
        else zstandard.ZstdCompressor(write_checksum=True).stream_writer(file, closefd=False)
    )
    with packer, tarfile.open(fileobj=packer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        yield _Tar(archive)


def _add_events(archive: _Writer, log: FileLog, runs: Sequence[RunDirectory]) -> None:
    now = time.time()
    keys = {run.key for run in runs}
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as lines:
        events = (event for _, event in events_about(log, keys))
        told = chain(events, annotations_of(log.root, runs))
        for line in encode_events(told, header(len(runs), __version__), now):
            lines.write(line)
        size = lines.tell()
        lines.seek(0)
        archive.file(EVENTS_MEMBER, now, size, cast(BinaryIO, lines))


def _walk(run: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The directories and files of a run, each directory before what is in it; the run itself may be a link."""
    yield os.fspath(run), os.stat(run)
    waiting = [os.fspath(run)]
    while waiting:
        for entry in sorted(os.scandir(waiting.pop()), key=lambda entry: entry.name):
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                waiting.append(entry.path)
                yield entry.path, status
            elif stat.S_ISREG(status.st_mode) and not entry.name.endswith(LOCK_SUFFIX):
                yield entry.path, status


def _add_file(archive: _Writer, member: str, path: str) -> int | None:
    """The bytes of the file; None if it is gone. NotReadable if it cannot be read, or shrinks meanwhile."""
    try:
        file = open_to_read(path)
    except FileNotFoundError:
        return None  # removed since the directory was listed
    except OSError as error:
        raise NotReadable(member) from error
    with file:
        status = os.fstat(file.fileno())  # of what was opened: a file that is replaced meanwhile stays whole
        try:
            archive.file(member, status.st_mtime, status.st_size, file)
        except EOFError as error:
            raise NotReadable(member) from error
    return status.st_size
