"""The commands below `runicorn artifacts`. They work on the folders of a storage root, without a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from runicorn.plugin import BadInput, parse_json, shown, storage_option, storage_root
from runicorn_artifacts import promoting, reach
from runicorn_artifacts.actions import print_json, progress_bar
from runicorn_artifacts.artifact import Artifact
from runicorn_artifacts.comparing import VersionDiff, compare
from runicorn_artifacts.copying_out import copy_version
from runicorn_artifacts.drawing import as_dot, as_mermaid, as_tree
from runicorn_artifacts.errors import MetadataNotFound
from runicorn_artifacts.lifecycle import STAGES
from runicorn_artifacts.lineage import VersionKey, trace
from runicorn_artifacts.lineage_tracker import FolderFacts
from runicorn_artifacts.lookup import Lookup
from runicorn_artifacts.naming import is_legal_alias
from runicorn_artifacts.recipes import Provenance, provenance
from runicorn_artifacts.storage import create_artifact_storage
from runicorn_artifacts.uploads.client import upload_artifact

C = TypeVar("C", bound=Callable[..., Any])

_VERSION = "[TYPE/]NAME:VERSION"


def _json_option(command: C) -> C:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def _root(context: click.Context, storage: str | None) -> Path:
    """The storage root: the option may stand before the command, too."""
    return storage_root(storage or context.obj)


@click.command()
@click.argument("before", metavar=_VERSION)
@click.argument("after", metavar=_VERSION)
@storage_option
@_json_option
@click.pass_context
def diff(context: click.Context, before: str, after: str, storage: str | None, as_json: bool) -> None:
    """What changed from one version to another: files, references, metadata. VERSION is v3, or an alias."""
    lookup = Lookup(_root(context, storage))
    (folder, first), (other, second) = lookup.resolve(before), lookup.resolve(after)
    found = compare(folder, first, second, other)
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        _print_diff(found, f"{folder.name}:v{first} → {other.name}:v{second}")


def _print_diff(found: VersionDiff, title: str) -> None:
    files, references, metadata = found.files, found.references, found.metadata
    click.echo(title)
    for item in files.added:
        click.echo(f"  + {item.path} ({_size(item.size)})")
    for item in files.removed:
        click.echo(f"  - {item.path} ({_size(item.size)})")
    for change in files.changed:
        click.echo(f"  ~ {change.path} ({_size(change.from_size)} → {_size(change.to_size)})")
    for sign, uris in (("+", references.added), ("-", references.removed), ("~", references.changed)):
        for uri in uris:
            click.echo(f"  {sign} {uri}")
    counts = f"{len(files.added)} added, {len(files.removed)} removed, {len(files.changed)} changed"
    bytes_changed = f"{_size(files.bytes_new)} new, {_size(files.bytes_gone)} gone"
    click.echo(f"Files: {counts}, {files.unchanged} unchanged; {bytes_changed}")
    lines = [f"  + {key}: {value}" for key, value in metadata.added.items()]
    lines += [f"  - {key}: {value}" for key, value in metadata.removed.items()]
    changes = {**metadata.changed, "(description)": metadata.description, "(tags)": metadata.tags}
    lines += [f"  ~ {key}: {c.before} → {c.after}" for key, c in changes.items() if c is not None]
    if lines:
        click.echo("\n".join(["Metadata:", *lines]))


@click.command()
@click.argument("version", metavar=_VERSION)
@click.option("--depth", default=3, show_default=True, help="How many steps (artifact, run, artifact) to go, up to 10.")
@click.option("--format", "form", type=click.Choice(["tree", "dot", "mermaid", "json"]), default="tree")
@storage_option
@click.pass_context
def lineage(context: click.Context, version: str, depth: int, form: str, storage: str | None) -> None:
    """What a version came from, and what was made of it."""
    facts, key = _facts(context, version, storage)
    graph = trace(facts, key, depth)
    if form == "json":
        print_json(graph.to_dict())
    elif form == "tree":
        from rich.console import Console

        Console(soft_wrap=True, highlight=False).print(as_tree(graph))
    else:
        click.echo(as_dot(graph) if form == "dot" else as_mermaid(graph))


@click.command()
@click.argument("version", metavar=_VERSION)
@storage_option
@_json_option
@click.pass_context
def impact(context: click.Context, version: str, storage: str | None, as_json: bool) -> None:
    """Everything that was made of a version, directly or not: models first."""
    facts, key = _facts(context, version, storage)
    found = _known(reach.impact(facts, key), key)
    if as_json:
        print_json({**msgspec.to_builtins(found), "counts": found.counts()})
        return
    counts = ", ".join(f"{count} {type}" for type, count in found.counts().items()) or "nothing"
    click.echo(f"{len(found.runs)} run(s) used {found.root.artifact}, directly or not; made of it: {counts}")
    for item in found.versions:
        click.echo(
            f"  {item.artifact}  {item.status}, {item.distance} step(s) away, by run {item.created_by_run or '?'}"
        )
    if not found.is_all:
        click.echo("There is more.", err=True)


@click.command("provenance")
@click.argument("version", metavar=_VERSION)
@storage_option
@_json_option
@click.pass_context
def show_provenance(context: click.Context, version: str, storage: str | None, as_json: bool) -> None:
    """The recipe of a version: all runs that led to it, with code, environment and inputs, the first one first."""
    facts, key = _facts(context, version, storage)
    found = provenance(_root(context, storage), _known(reach.ancestry(facts, key), key))
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        _print_provenance(found)


def _print_provenance(found: Provenance) -> None:
    click.echo(f"{found.artifact.artifact}: {len(found.steps)} step(s)")
    for number, step in enumerate(found.steps, 1):
        where = "gone" if step.is_gone else f"{step.project}/{step.name}"
        click.echo(f"{number}. run {step.run_id} ({where})")
        if step.code is not None and step.code.commit is not None:
            changed = ", with changes" if step.code.has_changes else ""
            click.echo(f"     code: {step.code.commit} ({step.code.branch}{changed})")
        if step.environment is not None:
            packages = len(step.environment.packages)
            click.echo(f"     environment: Python {step.environment.python_version}, {packages} packages")
        click.echo(f"     inputs: {', '.join(step.inputs) or 'none'}")
        click.echo(f"     outputs: {', '.join(step.outputs) or 'none'}")
    for gap in found.gaps:
        click.echo(f"Gap: {gap}")


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
@_json_option
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
    """Save files and directories as a new version, which no run has made."""
    if run_id is not None and url is None:
        raise click.UsageError("--run needs --url.")
    for alias in aliases:
        _check_alias(alias)
    artifact = Artifact(name, type, description, _metadata(metadata)).add_tags(*tags)
    for path in paths:
        if path.is_dir():
            artifact.add_dir(path, None if len(paths) == 1 else path.resolve().name)
        else:
            artifact.add_file(path)
    if url is not None:
        size = sum(source.stat().st_size for source, _ in artifact.staged[0])
        with progress_bar("Sending", size) as progress:
            version = upload_artifact(url, artifact, run_id=run_id, aliases=aliases, progress=progress)
    else:
        store = create_artifact_storage(_root(context, storage))
        version = store.save_artifact(artifact, "", *artifact.staged)
        for alias in aliases:
            promoting.set_alias(store.lookup.find(name, type), alias, version)
    _done(f"Saved {name}:v{version}", as_json, name=name, type=type, version=version)


@click.command()
@click.argument("version", metavar=_VERSION)
@click.option("--to", "target", type=click.Path(path_type=Path), help="Directory (default: NAME-vN in this one).")
@storage_option
@_json_option
@click.pass_context
def download(context: click.Context, version: str, target: Path | None, storage: str | None, as_json: bool) -> None:
    """Copy the files of a version into a directory. Files that it has already are replaced."""
    folder, number = Lookup(_root(context, storage)).resolve(version)
    record = folder.record(number)
    directory = Path(f"{folder.name}-v{number}") if target is None else target
    with progress_bar("Copying", 0 if record is None else record.file_bytes) as progress:
        copy_version(folder, number, directory, progress)
    _done(f"Copied {folder.name}:v{number} to {directory}", as_json, path=str(directory))


@click.command("alias")
@click.argument("version", metavar=_VERSION)
@click.argument("alias")
@click.option("--remove", is_flag=True, help="Remove the alias from this version instead.")
@storage_option
@_json_option
@click.pass_context
def set_alias(
    context: click.Context, version: str, alias: str, remove: bool, storage: str | None, as_json: bool
) -> None:
    """Let an alias point to a version, from wherever it pointed before; or remove it."""
    _check_alias(alias)
    folder, number = Lookup(_root(context, storage)).resolve(version)
    if remove and alias not in folder.active_aliases(number):
        raise BadInput(f"Alias not found: {shown(alias)} of {folder.name}:v{number}")
    promoting.set_alias(folder, alias, None if remove else number)
    text = f"{folder.name}:{alias} is removed" if remove else f"{folder.name}:{alias} is v{number} now"
    _done(text, as_json)


@click.command()
@click.argument("version", metavar=_VERSION)
@click.argument("stage", type=click.Choice(STAGES))
@click.option("--notes", help="Why.")
@storage_option
@_json_option
@click.pass_context
def promote(
    context: click.Context, version: str, stage: str, notes: str | None, storage: str | None, as_json: bool
) -> None:
    """Move a version to another stage of its life. The way to production leads through staging."""
    folder, number = Lookup(_root(context, storage)).resolve(version)
    before = promoting.promote(folder, number, stage, notes=notes)
    _done(f"{folder.name}:v{number} is in {stage} now", as_json, from_stage=before, to_stage=stage)


def _facts(context: click.Context, version: str, storage: str | None) -> tuple[FolderFacts, VersionKey]:
    root = _root(context, storage)
    folder, number = Lookup(root).resolve(version)
    return FolderFacts(root), VersionKey(folder.type, folder.name, number)


def _known(found: reach.Reach | None, key: VersionKey) -> reach.Reach:
    if found is None:
        raise MetadataNotFound(key.name, key.version)
    return found


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


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


_ALL = (diff, lineage, impact, show_provenance, log_version, download, set_alias, promote)

COMMANDS: dict[str, click.Command] = {str(command.name): command for command in _ALL}
