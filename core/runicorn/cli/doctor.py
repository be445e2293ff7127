"""`runicorn doctor`: what could keep Runicorn from working here, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import click

from runicorn.cli.group import state_dir_option
from runicorn.cli.json_output import print_json


@click.command()
# Not `storage_option`, which refuses a file: what is wrong with a root, this command finds out.
@click.option("--storage", metavar="PATH", help="Storage root (default: as configured).")
@state_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(context: click.Context, storage: str | None, state_dir: Path | None, as_json: bool) -> None:
    """Check root, state, disks, clock, inotify, SQLite and plugins. Exit status 1 if something does not work.

    Changes nothing; a server may be running.

    \b
    Examples:
      runicorn doctor
      runicorn doctor --storage /data/runicorn --json
    """
    import logging

    from runicorn.config import state_directory, storage_root
    from runicorn.doctor import examine

    logging.disable(logging.CRITICAL)  # the list itself says what is wrong
    root = storage_root(storage)
    findings = list(examine(root, state_directory(root, state_dir)))
    if as_json:
        print_json(findings, indented=True)
    else:
        for finding in findings:
            click.echo(f"{finding.level:8} {finding.check}: {finding.detail}")
            if finding.advice:
                click.echo(f"{'':8} → {finding.advice}")
    context.exit(1 if any(finding.level == "problem" for finding in findings) else 0)
