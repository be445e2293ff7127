"""`runicorn state`: what the state directory holds, and its read models without free pages."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from runicorn.cli.group import state_dir_option, storage_option
from runicorn.cli.json_output import print_json


@click.command()
@storage_option
@state_dir_option
@click.option("--compact", "is_compacting", is_flag=True, help="Write the read models anew, without free pages.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def state(storage: str | None, state_dir: Path | None, is_compacting: bool, as_json: bool) -> None:
    """Show the read models: files, sizes, rows, checkpoints. A server may be running.

    \b
    Examples:
      runicorn state
      runicorn state --compact
    """
    from runicorn.cli.events.opening import open_log
    from runicorn.projection.compaction import compact
    from runicorn.projection.state_files import describe_state

    directory = open_log(storage, state_dir).state_dir
    if is_compacting:
        done = compact(directory)
        freed = done.bytes_before - done.bytes_after
        if as_json:
            print_json({"freed_bytes": freed, **msgspec.to_builtins(done)})
        else:
            click.echo(f"Freed {_size(freed)} of {_size(done.bytes_before)}: {', '.join(done.plugins) or 'no files'}")
        return
    report = describe_state(directory)
    if as_json:
        print_json(report, indented=True)
        return
    click.echo(f"{_size(report.bytes)} in all")
    for model in report.models:
        condition = "ready" if model.ready else f"being built, {100 * (model.progress or 0):.0f} %"
        click.echo(f"{model.file}: {condition}; {_size(model.bytes)}, of which {_size(model.free_bytes)} are free")
        click.echo(f"  {model.streams} streams, {_size(model.applied_bytes)} applied")
        click.echo("  rows: " + ", ".join(f"{table} {count}" for table, count in model.rows.items()))
    for name in report.unreadable:
        click.echo(f"{name}: not readable")


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
