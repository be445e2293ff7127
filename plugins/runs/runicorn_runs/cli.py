"""`runicorn manage`: tags, searches and clean-ups from the command line, with or without a running server."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from runicorn.plugin import storage_option

if TYPE_CHECKING:
    from runicorn.plugin import ExperimentManager


class _Days(click.FloatRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        days = super().convert(value, param, ctx)
        if not math.isfinite(days):
            self.fail(f"{value!r} is not a number of days.", param, ctx)
        return days


@click.command()
@storage_option
@click.option("--action", type=click.Choice(["tag", "search", "delete", "cleanup"]), required=True)
@click.option("--run-id", help="The run to tag or to delete.")
@click.option("--tags", metavar="A,B", default="", help="To add (tag), or to require (search).")
@click.option("--project", help="Search in this project alone.")
@click.option("--text", help="Search for this part of a name, project, description or tag.")
@click.option("--days", default=30.0, show_default=True, type=_Days(0), help="Clean up what is older.")
@click.option("--dry-run", is_flag=True, help="Say what would be cleaned up.")
@click.option("--force", is_flag=True, help="Delete pinned runs, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def manage(
    context: click.Context,
    storage: str | None,
    action: str,
    run_id: str | None,
    tags: str,
    project: str | None,
    text: str | None,
    days: float,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Tag, search, delete and clean up runs.

    `delete` removes a run for good; `cleanup` puts runs into the recycle bin that are neither pinned, archived nor running
    and did nothing for --days.

    \b
    Examples:
      runicorn manage --action tag --run-id 20250114_153045_a1b2c3 --tags baseline,best
      runicorn manage --action search --project vision --tags baseline
      runicorn manage --action cleanup --days 90 --dry-run
      runicorn manage --action delete --run-id 20250114_153045_a1b2c3
    """
    from runicorn.plugin import ExperimentManager, storage_root

    manager = ExperimentManager(storage_root(storage))
    split = [tag.strip() for tag in tags.split(",") if tag.strip()]
    match action:
        case "tag":
            done = manager.tag_experiment(_needed(run_id, "tagging"), split)
            _print({"run_id": run_id, "success": done}, f"Tagged {run_id}: {done}", as_json)
            context.exit(0 if done else 1)
        case "delete":
            results = manager.delete_experiments([_needed(run_id, "deletion")], force=force)
            _print({"results": results}, f"Deleted: {results}", as_json)
            context.exit(0 if all(results.values()) else 1)
        case "search":
            _search(manager, project, split, text, as_json)
        case _:
            _clean_up(manager, days, dry_run, as_json)


def _search(manager: ExperimentManager, project: str | None, tags: list[str], text: str | None, as_json: bool) -> None:
    found = manager.search_experiments(project=project, tags=tags, text=text)
    lines = [f"  - {run.id}: {run.project}/{run.name} [{', '.join(run.tags)}]" for run in found]
    head = f"Found {len(found)} experiments:"
    _print({"experiments": [run.to_dict() for run in found]}, "\n".join([head, *lines]), as_json)


def _clean_up(manager: ExperimentManager, days: float, dry_run: bool, as_json: bool) -> None:
    ids = manager.cleanup_old_experiments(days, dry_run=dry_run)
    if dry_run:
        text = "\n".join([f"Would delete {len(ids)} old experiments:", *(f"  - {run_id}" for run_id in ids)])
    else:
        text = f"Deleted {len(ids)} old experiments"
    _print({"run_ids": ids, "dry_run": dry_run}, text, as_json)


def _needed(run_id: str | None, what: str) -> str:
    if not run_id:
        from runicorn.plugin import BadInput

        raise BadInput(f"--run-id is required for {what}")
    return run_id


def _print(value: dict[str, Any], text: str, as_json: bool) -> None:
    from runicorn.plugin import clean, dump_json

    if as_json:
        click.echo(dump_json(value).decode().encode("utf-8", "replace").decode())
    else:
        click.echo("\n".join(map(clean, text.split("\n"))))
