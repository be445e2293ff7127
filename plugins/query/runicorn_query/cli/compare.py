"""`runicorn compare`: in what runs differ, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from runicorn_query.cli.options import complete_run, json_option, store_options


@click.command()
@click.argument("runs", nargs=-1, required=True, shell_complete=complete_run)
@store_options
@click.option("--all", "every", is_flag=True, help="Also show what is the same in all of them.")
@json_option
def compare(runs: tuple[str, ...], storage: str | None, state_dir: Path | None, every: bool, as_json: bool) -> None:
    """Compare runs: differences in their configuration, and their results side by side.

    Results are the last, least and greatest value of each metric, and what the summary says.

    \b
    Examples:
      runicorn compare 20250114_153045_a1b2c3 20250114_160112_b2c3d4
      runicorn compare --all 20250114_15 20250114_16 20250115
    """
    from runicorn.plugin import BadInput, open_store
    from runicorn_query.cli import output, reading
    from runicorn_query.similar.features import flattened

    if len(runs) < 2:
        raise BadInput("Name at least two runs to compare.")
    with open_store(storage, state_dir) as store:
        keys = [reading.find(store, run) for run in runs]
        if len(set(keys)) < len(keys):
            raise BadInput("A run is named twice.")
        for key in keys:
            store.catch_up(key)
        views = [reading.view(store, key) for key in keys]
    ids = [view.experiment.run_id for view in views]
    states: list[dict[str, object]] = [
        {
            "project": view.experiment.project,
            "name": view.experiment.name,
            "status": view.experiment.status,
            "duration": view.experiment.duration_seconds,
            "tags": ", ".join(view.experiment.tags) or None,
        }
        for view in views
    ]
    results: list[dict[str, object]] = [
        {f"{metric.name}.{what}": getattr(metric, what) for metric in view.metrics for what in ("last", "min", "max")}
        for view in views
    ]
    parts = {
        "Runs": side_by_side(states, every=True),
        "Configuration": side_by_side([flattened(view.config) for view in views], every=every),
        "Summary": side_by_side([flattened(view.summary) for view in views], every=every),
        "Metrics": side_by_side(results, every=every),
    }
    if as_json:
        output.show_json({"runs": ids, **{title.lower(): part for title, part in parts.items() if title != "Runs"}})
        return
    is_first = True
    for title, part in parts.items():
        if part:
            rows = [(output.clean(key), *map(output.value, values)) for key, values in part.items()]
            output.show(*([] if is_first else [""]), output.table((title.upper(), *map(output.clean, ids)), rows))
            is_first = False


def side_by_side(settings: Sequence[Mapping[str, object]], *, every: bool) -> dict[str, list[object]]:
    """The values of each key in all of them, None where one lacks it; without `every`, only of keys whose values differ."""
    keys = dict.fromkeys(key for one in settings for key in one)
    values = {key: [one.get(key) for one in settings] for key in keys}
    return {
        key: found for key, found in values.items() if every or any(_differ(found[0], other) for other in found[1:])
    }


def _differ(one: object, other: object) -> bool:
    return one != other or isinstance(one, bool) != isinstance(other, bool)
