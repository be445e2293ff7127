"""`runicorn leaderboard PROJECT`."""

from __future__ import annotations

import click
import msgspec

from runicorn.plugin import open_store


@click.command("leaderboard")
@click.argument("project")
@click.option("--storage", metavar="PATH", help="Storage root (default: as configured).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(project: str, storage: str | None, as_json: bool) -> None:
    """Show the ten best runs of a project. A server may be running."""
    from runicorn_leaderboard.routes import best_of

    with open_store(storage) as store:
        places = store.model("leaderboard").query(best_of, project)
    if as_json:
        click.echo(msgspec.json.encode(places))
        return
    for place in places:
        click.echo(f"{place.place:>2}. {place.best:g}  {place.run}")
