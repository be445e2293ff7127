"""Taking a command on an artifact back, under its lock: all that the command changed, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from runicorn.plugin import ChangedSince, FieldChange, NotReversible
from runicorn_artifacts.changing import Change, changing
from runicorn_artifacts.deleting import mark_deleted, mark_restored
from runicorn_artifacts.folder import ArtifactFolder
from runicorn_artifacts.history.labels import ALIASES
from runicorn_artifacts.lifecycle import PRODUCTION
from runicorn_artifacts.promoting import Move, move

_DELETED_AT = "deleted_at"
_STAGE = "stage"


def take_back(folder: ArtifactFolder, changes: Sequence[FieldChange], note: str) -> None:
    """Set every field to what it was `before`; `note` is written to the transitions between stages.

    ChangedSince if one is not as it was `after`, NotReversible if it cannot be as before: then nothing has changed.
    """
    with changing(folder) as change:
        moves: list[Move] = []
        aliases: list[tuple[str, int | None]] = []
        for it in changes:
            family, _, rest = it.field.partition(".")
            if family == ALIASES:
                aliases.append((rest, _target(change, rest, it)))
                continue
            version, _, what = rest.partition(".")
            number = int(version[1:])
            _check_exists(change, number)
            if what == _STAGE:
                _check_stage(change, number, it)
                moves.append((number, str(it.before), note, None))
            elif what == _DELETED_AT:
                _take_back_deletion(change, number, it)  # a command of its own: nothing else is in it
        _check_production(change, moves)
        move(change, moves)
        for alias, target in aliases:
            change.alias(alias, target)


def _target(change: Change, alias: str, said: FieldChange) -> int | None:
    """Where an alias points again."""
    _check_same(said, change.index.aliases.get(alias))
    before = cast("int | None", said.before)
    if before is not None:
        _check_exists(change, before)
        _check_not_deleted(change, before)
    return before


def _check_stage(change: Change, version: int, said: FieldChange) -> None:
    _check_not_deleted(change, version)
    _check_same(said, change.folder.lifecycle(version).stage)


def _check_production(change: Change, moves: Sequence[Move]) -> None:
    """At most one version of an artifact is in production."""
    stages = {version: change.folder.lifecycle(version).stage for version in change.folder.versions}
    stages |= {version: stage for version, stage, *_ in moves}
    if moves and sum(stage == PRODUCTION for stage in stages.values()) > 1:
        raise NotReversible("Another version is in production since then")


def _take_back_deletion(change: Change, version: int, said: FieldChange) -> None:
    is_deleted = change.folder.is_deleted(version)
    _check_same(FieldChange(said.field, None, said.after is not None), is_deleted)
    if is_deleted:
        mark_restored(change, version)
    else:
        mark_deleted(change, version, cast(float, said.before))


def _check_exists(change: Change, version: int) -> None:
    if not change.folder.has(version):
        raise NotReversible(f"v{version} was removed for good since then")


def _check_not_deleted(change: Change, version: int) -> None:
    if change.folder.is_deleted(version):
        raise NotReversible(f"v{version} is deleted: restore it first")


def _check_same(said: FieldChange, now: object) -> None:
    if said.after != now:
        raise ChangedSince(said.field)
