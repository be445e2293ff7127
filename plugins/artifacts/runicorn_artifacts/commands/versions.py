"""`runicorn artifacts log`, `download`, `alias` and `promote`: versions saved, copied out, named and moved on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from runicorn.plugin import BadInput, parse_json, shown, storage_option
from runicorn_artifacts import promoting
from runicorn_artifacts.actions import print_json, progress_bar
from runicorn_artifacts.artifact import Artifact
from runicorn_artifacts.commands.options import VERSION, json_option, root_of
from runicorn_artifacts.copying_out import copy_version
from runicorn_artifacts.lifecycle import STAGES
from runicorn_artifacts.lookup import Lookup
from runicorn_artifacts.naming import is_legal_alias
from runicorn_artifacts.storage import create_artifact_storage
from runicorn_artifacts.uploads.client import upload_artifact


@click.command("log")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name of the artifact.")
@click.option(
    "--type", "type", default="custom", show_default=True, help="Its type: model, dataset, or any other word."
)
@click.option("--description", default="", help="What it is.")
@click.option("--tag", "tags", multiple=True, help="A tag; may be given several times.")
@click.option("--metadata", metavar="JSON", help="An object with anything that is known of it.")
@click.option("--alias", "aliases", multiple=True, help="An alias for the new version; may be given several times.")
@click.option("--url", help="Save it on the server there, instead of in a storage root: http://gpu1:23300.")
@click.option("--run", "run_id", help="With --url: the run on that server which made it.")
@storage_option
@json_option
@click.pass_context
def log_version(
    context: click.Context,
    paths: tuple[Path, ...],
    name: str,
    type: str,
    description: str,
    tags: tuple[str, ...],
    metadata: str | None,
    aliases: tuple[str, ...],
    url: str | None,
    run_id: str | None,
    storage: str | None,
    as_json: bool,
) -> None:
    """Save files and directories as a new version, which no run has made.

    \b
    Examples:
      runicorn artifacts log data/ --name digits --type dataset
      runicorn artifacts log net.pt --name net --type model --alias best --tag baseline
      runicorn artifacts log net.pt --name net --url http://gpu1:23300 --run 20250114_153045_a1b2c3
    """
    if run_id is not None and url is None:
        raise click.UsageError("--run needs --url.")
    for alias in aliases:
        _check_alias(alias)
    artifact = _with_files(Artifact(name, type, description, _metadata(metadata)).add_tags(*tags), paths)
    if url is not None:
        size = sum(source.stat().st_size for source, _ in artifact.staged[0])
        with progress_bar("Sending", size) as progress:
            version = upload_artifact(url, artifact, run_id=run_id, aliases=aliases, progress=progress)
    else:
        store = create_artifact_storage(root_of(context, storage))
        version = store.save_artifact(artifact, "", *artifact.staged, aliases=aliases)
    _done(f"Saved {name}:v{version}", as_json, name=name, type=type, version=version)


@click.command()
@click.argument("version", metavar=VERSION)
@click.option("--to", "target", type=click.Path(path_type=Path), help="Directory (default: NAME-vN in this one).")
@storage_option
@json_option
@click.pass_context
def download(context: click.Context, version: str, target: Path | None, storage: str | None, as_json: bool) -> None:
    """Copy the files of a version into a directory. Files that it has already are replaced.

    \b
    Examples:
      runicorn artifacts download net:v3
      runicorn artifacts download dataset/digits:latest --to data
    """
    folder, number = Lookup(root_of(context, storage)).resolve(version)
    record = folder.record(number)
    directory = Path(f"{folder.name}-v{number}") if target is None else target
    with progress_bar("Copying", 0 if record is None else record.file_bytes) as progress:
        copy_version(folder, number, directory, progress)
    _done(f"Copied {folder.name}:v{number} to {directory}", as_json, path=str(directory))


@click.command("alias")
@click.argument("version", metavar=VERSION)
@click.argument("alias")
@click.option("--remove", is_flag=True, help="Remove the alias from this version instead.")
@storage_option
@json_option
@click.pass_context
def set_alias(
    context: click.Context, version: str, alias: str, remove: bool, storage: str | None, as_json: bool
) -> None:
    """Let an alias point to a version, from wherever it pointed before; or remove it.

    \b
    Examples:
      runicorn artifacts alias net:v3 best
      runicorn artifacts alias net:v3 best --remove
    """
    _check_alias(alias)
    folder, number = Lookup(root_of(context, storage)).resolve(version)
    if remove and alias not in folder.active_aliases(number):
        raise BadInput(f"Alias not found: {shown(alias)} of {folder.name}:v{number}")
    promoting.set_alias(folder, alias, None if remove else number)
    text = f"{folder.name}:{alias} is removed" if remove else f"{folder.name}:{alias} is v{number} now"
    _done(text, as_json)


@click.command()
@click.argument("version", metavar=VERSION)
@click.argument("stage", type=click.Choice(STAGES))
@click.option("--notes", help="Why.")
@storage_option
@json_option
@click.pass_context
def promote(
    context: click.Context, version: str, stage: str, notes: str | None, storage: str | None, as_json: bool
) -> None:
    """Move a version to another stage of its life. The way to production leads through staging.

    \b
    Examples:
      runicorn artifacts promote net:v3 staging
      runicorn artifacts promote net:v3 production --notes "better on the test set"
    """
    folder, number = Lookup(root_of(context, storage)).resolve(version)
    before = promoting.promote(folder, number, stage, notes=notes)
    _done(f"{folder.name}:v{number} is in {stage} now", as_json, from_stage=before, to_stage=stage)


def _with_files(artifact: Artifact, paths: Sequence[Path]) -> Artifact:
    """Stage files and directories, which keep their names. UsageError if two files would get one path."""
    sources: dict[str, Path] = {}
    for path in paths:
        one = Artifact(artifact.name)
        if path.is_dir():
            one.add_dir(path, None if len(paths) == 1 else path.resolve().name)
        else:
            one.add_file(path)
        for source, inner in one.staged[0]:
            known = sources.setdefault(inner, source)
            if known is not source and not known.samefile(source):
                raise click.UsageError(
                    f"{known} and {source} would both be {inner} in the artifact: rename one of them."
                )
            artifact.add_file(source, inner)
    return artifact


def _check_alias(alias: str) -> None:
    if not is_legal_alias(alias):
        raise BadInput(f"Invalid value for alias: {shown(alias)!r} cannot be set")


def _metadata(given: str | None) -> dict[str, Any]:
    try:
        content = {} if given is None else parse_json(given.encode())
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise BadInput("Invalid value for metadata: must be a JSON object")
    return content  # type: ignore[reportUnknownVariableType]  # keys of a JSON object are texts


def _done(message: str, as_json: bool, **details: Any) -> None:
    if as_json:
        print_json({"success": True, "message": message, **details})
    else:
        click.echo(f"✅ {message}")
