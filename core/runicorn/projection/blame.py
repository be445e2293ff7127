"""Who is to blame for what is raised while a read model is written: the disk, the file, or the projections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from runicorn.host import describe

if TYPE_CHECKING:
    from runicorn.projection.model import ReadModel

STORAGE_ERRORS = (
    apsw.FullError,
    apsw.IOError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.PermissionsError,
    apsw.NoMemError,
    MemoryError,
)
"""The disk or the machine is to blame, not the projection: trying again later helps."""

DAMAGE = (apsw.CorruptError, apsw.NotADBError)


class ModelDamaged(Exception):
    """SQLite found the file damaged: it is to be set aside and built again."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"the read model {path.name} is damaged")
        self.path = path


class ModelFailed(Exception):
    """A projection raised, or left its file in disorder: its read model stays at its checkpoint. The cause says how."""

    def __init__(self, model: ReadModel, error: BaseException) -> None:
        super().__init__(describe(error))
        self.model = model
