"""`runicorn runs`: the list of runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runicorn_query.cli.options import complete_project, json_option, store_options

if TYPE_CHECKING:
    from rich.table import Table

    from runicorn.plugin import OpenedStore
    from runicorn_query.experiments import Experiment
    from runicorn_query.language import Expression
    from runicorn_query.ordering import Order
    from runicorn_query.queries import Found, Wanted

_COLUMNS = ("RUN", "PROJECT", "NAME", "STATUS", "CREATED", "DURATION", "BEST", "TAGS")


@click.command()
@store_options
@click.option("--project", shell_complete=complete_project, help="Only this project.")
@click.option("--name", help="Only experiments of this name.")
@click.option("--status", "statuses", multiple=True, help="Only this status, such as running. Repeatable: any of them.")
@click.option("--tag", "tags", multiple=True, help="Only runs with this tag. Repeatable: all of them.")
@click.option("--where", metavar="QUERY", help="Only runs for which this holds, in the filter language.")
@click.option("--search", "text", metavar="TEXT", help="Only runs with this in project, name, id or description.")
@click.option(
    "--sort", default="created_at", show_default=True, metavar="FIELD", help="Sort by this, the greatest first."
)
@click.option("--ascending", is_flag=True, help="The least first.")
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@click.option("-w", "--watch", is_flag=True, help="Show the list again as it changes, until Ctrl-C.")
@json_option
def runs(
    storage: str | None,
    state_dir: Path | None,
    project: str | None,
    name: str | None,
    statuses: tuple[str, ...],
    tags: tuple[str, ...],
    where: str | None,
    text: str | None,
    sort: str,
    ascending: bool,
    limit: int,
    watch: bool,
    as_json: bool,
) -> None:
    """List runs, the newest first.

    \b
    Examples:
      runicorn runs
      runicorn runs --project vision --status running --watch
      runicorn runs --where 'metric.loss.min < 0.3 and not tag = broken' --sort best_metric_value
      runicorn runs --json
    """
    from runicorn.plugin import open_store
    from runicorn_query.filters import Filter
    from runicorn_query.queries import Wanted

    wanted = Wanted(
        Filter(
            project=project,
            name=name,
            statuses=statuses,
            tags=tags,
            search=(text or "").strip(),
            expression=_parsed(where) if where and where.strip() else None,
        ),
        _order(sort, descending=not ascending),
        limit=limit,
    )
    with open_store(storage, state_dir) as store:
        if watch:
            _watch(store, wanted, as_json=as_json)
        else:
            _print(_found(store, wanted), as_json=as_json)


def _parsed(where: str) -> Expression:
    from runicorn.plugin import BadInput
    from runicorn_query.language import InvalidQuery, parse

    try:
        return parse(where)
    except InvalidQuery as error:
        raise BadInput(error.about("--where")) from None


def _order(field: str, *, descending: bool) -> Order:
    from runicorn.plugin import BadInput, shown
    from runicorn_query.ordering import COLUMNS_SORTED, Order, is_sortable

    if not is_sortable(field):
        known = ", ".join(COLUMNS_SORTED)
        raise BadInput(
            f"Invalid value for --sort: {shown(field)}. Runs are sorted by {known}, summary.KEY, config.KEY or"
            " metric.NAME.last, .min, .max or .count"
        )
    return Order(field, descending)


def _found(store: OpenedStore, wanted: Wanted) -> Found:
    from runicorn_query import queries
    from runicorn_query.experiments import View

    is_newest = wanted.filter.is_counted and wanted.order.is_newest_first
    return store.model("runs").query(queries.newest if is_newest else queries.matching, View.of(store), wanted)


def _print(found: Found, *, as_json: bool) -> None:
    from runicorn_query.cli.output import show, show_json

    if as_json:
        show_json(found.experiments)
        return
    show(_table(found.experiments))
    if found.total > len(found.experiments):
        click.echo(f"{len(found.experiments)} of {found.total} runs; --limit shows more.", err=True)


def _table(experiments: Sequence[Experiment]) -> Table | str:
    from runicorn_query.cli.output import age, clean, duration, status, table, value

    rows = [
        (
            clean(run.run_id),
            clean(run.project or "–"),
            clean(run.name or "–"),
            status(run.status, is_stale=run.stale),
            age(run.created_at),
            duration(run.duration_seconds if run.ended_at is not None else _so_far(run)),
            "–" if run.best_metric_name is None else f"{clean(run.best_metric_name)} {value(run.best_metric_value)}",
            clean(", ".join(run.tags)),
        )
        for run in experiments
    ]
    return table(_COLUMNS, rows, right=("DURATION",))


def _so_far(run: Experiment) -> float | None:
    began = run.started_at or run.created_at
    return None if run.status != "running" or began is None else max(0.0, time.time() - began)


def _watch(store: OpenedStore, wanted: Wanted, *, as_json: bool) -> None:
    """Show the list whenever it changes; on a terminal in place, with durations that go on."""
    import sys

    from rich.live import Live

    from runicorn_query.cli.output import console

    try:
        if as_json or not sys.stdout.isatty():
            before = None
            while True:
                found = _found(store, wanted)
                if found != before:
                    _print(found, as_json=as_json)
                    sys.stdout.flush()
                    before = found
                _wait(store)
        with Live(
            _table(_found(store, wanted).experiments), console=console(), auto_refresh=False, screen=True
        ) as live:
            while True:
                live.update(_table(_found(store, wanted).experiments), refresh=True)
                _wait(store)
    except KeyboardInterrupt:
        return


def _wait(store: OpenedStore) -> None:
    time.sleep(1.0)
    store.refresh()
