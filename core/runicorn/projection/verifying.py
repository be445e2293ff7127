"""Read models checked against the log: is what they say what a replay from nothing says?

Of every read model that serves a copy is made, in one moment. Copy and a new file that holds nothing are brought level with
the same log, stream by stream, each as far as it reached when it was looked at; then all rows are compared by meaning. So
nothing is wrong with a read model that is only behind, and servers and trainers may go on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import apsw
import msgspec

from runicorn.errors import StorageUnavailable
from runicorn.events.frozen import FrozenLog
from runicorn.events.log import Stream, StreamKind
from runicorn.host import PluginHost
from runicorn.projection.base import Projection, kinds_of
from runicorn.projection.catch_up import catch_up
from runicorn.projection.comparing import Difference, compare_table
from runicorn.projection.copying import SchemaFails, copy_serving, damage_of, schema_of
from runicorn.projection.generations import fingerprint, model_files
from runicorn.projection.meaning import STREAMS, Meaning, Values, meanings_of
from runicorn.projection.model import DAMAGE, STORAGE_ERRORS, ModelDamaged, ModelFailed, ReadModel
from runicorn.temporary import temporary_directory

_MOST_SHOWN = 100
_GROUP_STREAMS = 500
_GROUP_BYTES = 8 << 20
_TOLD_ROWS = 1000

Progress = Callable[[int], None]


class Checked(msgspec.Struct):
    """What was found out about the read model of one plugin."""

    plugin: str
    file: str = ""
    """The name of the file; empty if there is none."""
    rows: int = 0
    """That were compared."""
    damage: list[str] = []
    """Why the file cannot be what a replay makes, whatever its rows say."""
    differences: list[Difference] = []
    """By table and key; at most a hundred."""
    more: int = 0
    """How many differences are not in the list."""
    remarks: list[str] = []
    """What could not be compared, and why; nothing is wrong with that."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.damage and not self.differences


class _Pair:
    """The read model of one plugin: a copy of what serves, and what a replay makes."""

    def __init__(self, checked: Checked, projections: Sequence[Projection], copy: ReadModel, new: ReadModel) -> None:
        self.checked = checked
        self.projections = projections
        self.copy = copy
        self.new = new
        self.kinds = kinds_of(projections)

    @property
    def models(self) -> tuple[ReadModel, ReadModel]:
        return self.copy, self.new

    def close(self) -> None:
        for model in self.models:
            model.close()


def verify_models(
    root: Path,
    state_dir: Path,
    host: PluginHost,
    *,
    replaying: Progress = lambda count: None,
    comparing: Callable[[int], Progress] = lambda total: lambda count: None,
) -> list[Checked]:
    """Check the read models of all plugins in a state directory; none if there is no such directory.

    `replaying` is told the bytes of the log that were applied; `comparing` is called once with the number of rows, and what
    it returns is told how many of them were compared. Constant memory; needs twice the room of the read models in the
    directory for temporary files. StorageUnavailable if that cannot be had.
    """
    if not state_dir.is_dir():
        return []
    checks = {plugin.name: Checked(plugin.name) for plugin, _ in host.collect("projections")}
    projections = {plugin.name: list(found) for plugin, found in host.collect("projections")}
    try:
        with ExitStack() as opened:
            directory = opened.enter_context(temporary_directory("verify"))
            pairs: list[_Pair] = []
            for plugin, checked in checks.items():
                pair = _open(directory, state_dir, checked, projections[plugin])
                if pair is not None:
                    opened.callback(pair.close)
                    pairs.append(pair)
            pairs = _replay(FrozenLog(root, state_dir), pairs, replaying)
            _compare(pairs, comparing)
    except STORAGE_ERRORS as error:
        raise StorageUnavailable("The read models cannot be copied: is there room for temporary files?") from error
    except OSError as error:
        raise StorageUnavailable(f"The read models cannot be copied: {error.strerror}") from error
    _remark_others(state_dir, checks, projections)
    return sorted(checks.values(), key=lambda checked: checked.plugin)


def _open(directory: Path, state_dir: Path, checked: Checked, projections: Sequence[Projection]) -> _Pair | None:
    """The pair of a plugin; None where there is nothing to compare, which `checked` then says."""
    copied = directory / f"{checked.plugin}-copied.db"
    found = copy_serving(state_dir, checked.plugin, fingerprint(projections), copied)
    checked.file = found.file
    checked.damage += found.damage
    checked.remarks += found.remarks
    if not copied.exists() or checked.damage:
        return None
    try:
        checked.damage += damage_of(copied, schema_of(projections))
    except SchemaFails as error:
        checked.remarks.append(str(error))
        return None
    if checked.damage:
        return None
    replayed = directory / f"{checked.plugin}-replayed.db"
    return _Pair(
        checked,
        projections,
        ReadModel(copied, checked.plugin, projections, is_scratch=True),
        ReadModel(replayed, checked.plugin, projections, is_scratch=True),
    )


# ── the same events in both ─────────────────────────────────────────────────


def _replay(log: FrozenLog, pairs: list[_Pair], progress: Progress) -> list[_Pair]:
    """Bring all files level with the log; the pairs of those plugins that can apply it."""
    known = (Stream.named(name) for pair in list(pairs) for name, _ in pair.copy.checkpoints())
    for group in _groups(log, chain(log.streams(), known)):
        pairs = _apply(log, group, pairs, progress)
        log.let_go()
    return _finish(pairs)


def _groups(log: FrozenLog, streams: Iterable[Stream]) -> Generator[list[Stream]]:
    """Streams that make a transaction of about 8 MiB."""
    group: list[Stream] = []
    size = 0
    for stream in streams:
        group.append(stream)
        position = log.position(stream)
        size += 0 if position is None else position.size
        if size >= _GROUP_BYTES or len(group) >= _GROUP_STREAMS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _apply(log: FrozenLog, group: Sequence[Stream], pairs: list[_Pair], progress: Progress) -> list[_Pair]:
    """Apply a group of streams; without the pairs that cannot."""
    while pairs:
        # The new files first: where an event is too much for the projection, it is not the copy that is to blame.
        models = [pair.new for pair in pairs] + [pair.copy for pair in pairs]
        applied = 0
        try:
            with ExitStack() as transactions:
                for model in models:
                    transactions.enter_context(model.transaction())
                for stream in group:
                    reading = [model for model in models if model.reads(stream.kind)]
                    if reading:
                        applied += _bring_level(log, stream, reading)
        except (ModelFailed, ModelDamaged) as error:
            pairs = _without(pairs, error)
        else:
            progress(applied)
            break
    return pairs


def _bring_level(log: FrozenLog, stream: Stream, models: Sequence[ReadModel]) -> int:
    applied = 0
    while True:
        done = catch_up(log, models, stream)
        applied += done.end - done.start
        if done.problem is not None:  # what was applied of it before is true, but nobody can tell
            for model in models:
                with model.blamed("forget"):
                    model.forget(stream)
            return applied
        if not done.more and log.is_held(stream):
            return applied


def _finish(pairs: list[_Pair]) -> list[_Pair]:
    for pair in pairs:
        try:
            pair.new.mark_ready()
        except (ModelFailed, ModelDamaged) as error:
            pairs = _without(pairs, error)
    return pairs


def _without(pairs: list[_Pair], error: ModelFailed | ModelDamaged) -> list[_Pair]:
    """The pairs but that of the model that failed, of which the reason is noted."""
    path = error.model.path if isinstance(error, ModelFailed) else error.path
    reason = error if isinstance(error, ModelFailed) else error.__cause__ or error
    [failed] = [pair for pair in pairs if path in (pair.copy.path, pair.new.path)]
    if path == failed.copy.path:
        failed.checked.damage.append(f"events cannot be applied to it: {reason}")
    else:
        failed.checked.remarks.append(f"the plugin cannot apply the log: {reason}")
    return [pair for pair in pairs if pair is not failed]


# ── all rows ────────────────────────────────────────────────────────────────


def _compare(pairs: Sequence[_Pair], comparing: Callable[[int], Progress]) -> None:
    for pair in pairs:
        pair.close()  # what follows reads with connections of its own, which sort in files
    with ExitStack() as opened:
        read: list[tuple[_Pair, apsw.Connection, apsw.Connection, dict[str, Meaning]]] = []
        total = 0
        for pair in pairs:
            copy, new = (opened.enter_context(_reading(model.path)) for model in pair.models)
            meanings = {**meanings_of(new, pair.projections), "stream": _streams_of(pair.kinds)}
            read.append((pair, copy, new, meanings))
            total += sum(_count(new, table) for table in meanings)
        progress = comparing(total)
        for pair, copy, new, meanings in read:
            _compare_pair(pair.checked, copy, new, meanings, progress)


def _compare_pair(
    checked: Checked, copy: apsw.Connection, new: apsw.Connection, meanings: dict[str, Meaning], progress: Progress
) -> None:
    def seen(rows: int) -> None:
        checked.rows += rows
        if checked.rows % _TOLD_ROWS == 0:  # telling each would take longer than comparing it
            progress(_TOLD_ROWS)

    for table, meaning in sorted(meanings.items()):
        try:
            for difference in compare_table(table, meaning, copy, new, seen):
                if len(checked.differences) < _MOST_SHOWN:
                    checked.differences.append(difference)
                else:
                    checked.more += 1
        except (*DAMAGE, apsw.SQLError, UnicodeDecodeError) as error:
            if _is_readable(new, meaning):
                checked.damage.append(f"the rows of {table} cannot be read: {error}")
            else:
                checked.remarks.append(f"the plugin cannot say what {table} means: {error}")


def _is_readable(db: apsw.Connection, meaning: Meaning) -> bool:
    try:
        return all(True for _ in db.execute(meaning.sql))
    except apsw.SQLError:
        return False


def _streams_of(kinds: frozenset[StreamKind]) -> Meaning:
    """How far the streams were applied that the projections are given: of others a projector may note it, or not."""

    def given(rows: Iterator[Values]) -> Iterator[Values]:
        return (row for row in rows if Stream.named(str(row[0])).kind in kinds)

    return STREAMS._replace(fold=given)


@contextlib.contextmanager
def _reading(path: Path) -> Generator[apsw.Connection]:
    connection = apsw.Connection(os.fspath(path))
    try:
        connection.execute("PRAGMA cache_size=-16000").fetchall()
        yield connection
    finally:
        connection.close()


def _count(db: apsw.Connection, table: str) -> int:
    [(count,)] = db.execute(f'SELECT count(*) FROM "{table}"').fetchall()
    return int(count)  # type: ignore[arg-type]  # `count(*)` is an integer


def _remark_others(state_dir: Path, checks: dict[str, Checked], projections: dict[str, list[Projection]]) -> None:
    for file in sorted(model_files(state_dir), key=lambda file: file.path.name):
        checked = checks.setdefault(file.plugin, Checked(file.plugin))
        if file.plugin not in projections:
            checked.remarks.append(f"{file.path.name}: the plugin is not there")
        elif file.fingerprint != fingerprint(projections[file.plugin]):
            checked.remarks.append(f"{file.path.name} is of another version of the plugin")
