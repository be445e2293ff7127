"""The commands below `runicorn artifacts`. They work on the folders of a storage root, without a server."""

from __future__ import annotations

import click

from runicorn_artifacts.commands.history import diff, impact, lineage, show_provenance
from runicorn_artifacts.commands.upkeep import gc, restore, verify
from runicorn_artifacts.commands.versions import download, log_version, promote, set_alias

_ALL = (
    diff, lineage, impact, show_provenance, log_version, download, set_alias, promote, restore, verify, gc,
)  # fmt: skip

COMMANDS: dict[str, click.Command] = {str(command.name): command for command in _ALL}
