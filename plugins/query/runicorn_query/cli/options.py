"""What the commands share: where the store is, and completion of ids and projects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import apsw
import click

from runicorn.plugin import RunicornError, open_store, state_dir_option, storage_option

C = TypeVar("C", bound=Callable[..., Any])

_MOST_COMPLETIONS = 50


def store_options(command: C) -> C:
    """`--storage` and `--state-dir`."""
    return storage_option(state_dir_option(command))


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def complete_run(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Ids of runs that begin so, the newest first."""
    sql = "SELECT run_id FROM run WHERE listed AND substr(run_id, 1, length(?1)) = ?1 ORDER BY created DESC LIMIT ?2"
    return _completions(context, sql, incomplete)


def complete_project(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Projects that begin so."""
    sql = (
        "SELECT DISTINCT project FROM run_count WHERE listed AND project <> '' AND substr(project, 1, length(?1)) = ?1"
        " LIMIT ?2"
    )
    return _completions(context, sql, incomplete)


def _completions(context: click.Context, sql: str, incomplete: str) -> list[str]:
    def ask(db: apsw.Connection) -> list[str]:
        return [str(text) for (text,) in db.execute(sql, (incomplete, _MOST_COMPLETIONS))]

    storage: str | None = context.params.get("storage")
    state_dir: Path | None = context.params.get("state_dir")
    try:
        with open_store(storage, state_dir, is_level=False) as store:
            return store.model("runs").query(ask)
    except RunicornError:  # nothing to complete from; the command itself will say why
        return []
