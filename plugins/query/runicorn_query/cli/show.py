"""`runicorn show`: one run, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runicorn_query.cli.options import complete_run, json_option, store_options

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from runicorn.plugin import OpenedStore
    from runicorn_query.cli.reading import RunView

_MOST_PLOTS = 12
_EVERY_EVENT = 1 << 62


@click.command()
@click.argument("run", shell_complete=complete_run)
@store_options
@click.option("-n", "--lines", default=10, show_default=True, type=click.IntRange(0, 1000), help="Lines of its log.")
@click.option("--plots/--no-plots", default=True, help="Draw its metrics, which reads all that it has logged.")
@json_option
def show(run: str, storage: str | None, state_dir: Path | None, lines: int, plots: bool, as_json: bool) -> None:
    """Show a run: its state, configuration, summary, metrics and last log lines.

    RUN is an id, the beginning of one if no other id begins so, or a path below the storage root.

    \b
    Examples:
      runicorn show 20250114_153045_a1b2c3
      runicorn show 20250114_15 --lines 50
      runicorn show 20250114_153045_a1b2c3 --json | jq .metrics
    """
    from runicorn.plugin import open_store
    from runicorn_query.cli import output, reading

    with open_store(storage, state_dir) as store:
        key = reading.find(store, run)
        store.catch_up(key)
        found = reading.view(store, key)
        log = reading.last_lines(store, key, lines)
        if as_json:
            output.show_json(
                {
                    "experiment": found.experiment,
                    "config": found.config,
                    "summary": found.summary,
                    "metrics": found.metrics,
                    "log": log,
                }
            )
            return
        output.show(*_about(found))
        for title, settings in (("Configuration", found.config), ("Summary", found.summary)):
            if settings:
                output.show("", output.heading(title), *_settings(settings))
        if found.metrics:
            output.show("", output.heading("Metrics"), *_metrics(store, found, plots=plots))
        if log:
            output.show("", output.heading("Log"), *(output.clean(line) for line in log))


def _about(found: RunView) -> list[Text | str]:
    from rich.text import Text

    from runicorn_query.cli import output

    run = found.experiment
    state = Text("Status       ").append_text(output.status(run.status, is_stale=run.stale))
    lines: list[Text | str] = [
        output.heading(
            f"{output.clean(run.run_id)}  {output.clean(run.project or '–')} / {output.clean(run.name or '–')}"
        ),
        state
        if run.deleted_at is None
        else state.append(f", in the recycle bin since {output.moment(run.deleted_at)}"),
        f"Created      {output.moment(run.created_at)}",
    ]
    if run.last_activity is not None:
        lines.append(f"Active       {output.moment(run.last_activity)}; silent since then")
    if run.ended_at is not None:
        lines.append(f"Ended        {output.moment(run.ended_at)}, after {output.duration(run.duration_seconds)}")
    if run.best_metric_name is not None:
        at = "" if run.best_metric_step is None else f" at step {run.best_metric_step}"
        lines.append(f"Best         {output.clean(run.best_metric_name)} {output.value(run.best_metric_value)}{at}")
    if found.hostname is not None:
        process = "" if run.pid is None else f", process {run.pid}"
        lines.append(f"Host         {output.clean(found.hostname)}{process}")
    if run.tags:
        lines.append(f"Tags         {output.clean(', '.join(run.tags))}")
    if run.description:
        lines.append(f"Description  {output.clean(run.description)}")
    return [*lines, f"Directory    {output.clean(run.run_dir)}"]


def _settings(settings: dict[str, object]) -> list[Table | str]:
    from runicorn_query.cli import output
    from runicorn_query.similar.features import flattened

    flat = flattened(settings)
    width = max((len(output.clean(key)) for key in flat), default=0)
    return [f"{output.clean(key):<{width}}  {output.value(flat[key])}" for key in flat]


def _metrics(store: OpenedStore, found: RunView, *, plots: bool) -> list[Table | Text | str]:
    import sys

    from runicorn_query.cli import output
    from runicorn_query.cli.plots import braille, labelled, sparkline
    from runicorn_query.similar.run_vector import read_curves

    curves = read_curves(store.log, found.key, _EVERY_EVENT) if plots else {}
    drawn = {name: curve.means() for name, curve in curves.items() if len(curve)}
    columns = ["METRIC", "LAST", "MIN", "MAX", "VALUES"]
    rows = [
        [output.clean(metric.name), *map(output.value, (metric.last, metric.min, metric.max)), str(metric.count)]
        for metric in found.metrics
    ]
    if drawn and not sys.stdout.isatty():
        columns.append("CURVE")
        for row, metric in zip(rows, found.metrics, strict=True):
            row.append(sparkline(drawn[metric.name]) if metric.name in drawn else "")
    parts: list[Table | Text | str] = [output.table(columns, rows, right=("LAST", "MIN", "MAX", "VALUES"))]
    if sys.stdout.isatty():
        for metric in found.metrics[:_MOST_PLOTS]:
            if metric.name in drawn and metric.min != metric.max:
                parts += ["", output.clean(metric.name), *labelled(braille(drawn[metric.name]), drawn[metric.name])]
    return parts
