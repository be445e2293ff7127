"""`runicorn artifacts diff`, `lineage`, `impact` and `provenance`: what became of versions, and of what they were made."""

from __future__ import annotations

import click
import msgspec

from runicorn.plugin import clean, storage_option
from runicorn_artifacts import reach
from runicorn_artifacts.actions import print_json
from runicorn_artifacts.commands.options import VERSION, json_option, root_of
from runicorn_artifacts.comparing import VersionDiff, compare
from runicorn_artifacts.drawing import as_dot, as_mermaid, as_tree
from runicorn_artifacts.errors import MetadataNotFound
from runicorn_artifacts.lineage import VersionKey, trace
from runicorn_artifacts.lineage_tracker import FolderFacts
from runicorn_artifacts.lookup import Lookup
from runicorn_artifacts.recipes import Provenance, provenance


@click.command()
@click.argument("before", metavar=VERSION)
@click.argument("after", metavar=VERSION)
@storage_option
@json_option
@click.pass_context
def diff(context: click.Context, before: str, after: str, storage: str | None, as_json: bool) -> None:
    """What changed from one version to another: files, references, metadata. VERSION is v3, or an alias.

    \b
    Examples:
      runicorn artifacts diff net:v1 net:v2
      runicorn artifacts diff net:v1 net:latest --json
    """
    lookup = Lookup(root_of(context, storage))
    (folder, first), (other, second) = lookup.resolve(before), lookup.resolve(after)
    found = compare(folder, first, second, other)
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        _print_diff(found, f"{folder.name}:v{first} → {other.name}:v{second}")


def _print_diff(found: VersionDiff, title: str) -> None:
    files, references, metadata = found.files, found.references, found.metadata
    _say(title)
    for item in files.added:
        _say(f"  + {item.path} ({_size(item.size)})")
    for item in files.removed:
        _say(f"  - {item.path} ({_size(item.size)})")
    for change in files.changed:
        _say(f"  ~ {change.path} ({_size(change.from_size)} → {_size(change.to_size)})")
    for sign, uris in (("+", references.added), ("-", references.removed), ("~", references.changed)):
        for uri in uris:
            _say(f"  {sign} {uri}")
    counts = f"{len(files.added)} added, {len(files.removed)} removed, {len(files.changed)} changed"
    bytes_changed = f"{_size(files.bytes_new)} new, {_size(files.bytes_gone)} gone"
    _say(f"Files: {counts}, {files.unchanged} unchanged; {bytes_changed}")
    lines = [f"  + {key}: {value}" for key, value in metadata.added.items()]
    lines += [f"  - {key}: {value}" for key, value in metadata.removed.items()]
    changes = {**metadata.changed, "(description)": metadata.description, "(tags)": metadata.tags}
    lines += [f"  ~ {key}: {c.before} → {c.after}" for key, c in changes.items() if c is not None]
    if lines:
        click.echo("\n".join(["Metadata:", *map(clean, lines)]))


@click.command()
@click.argument("version", metavar=VERSION)
@click.option("--depth", default=3, show_default=True, help="How many steps (artifact, run, artifact) to go, up to 10.")
@click.option("--format", "form", type=click.Choice(["tree", "dot", "mermaid", "json"]), help="By default a tree.")
@storage_option
@json_option
@click.pass_context
def lineage(
    context: click.Context, version: str, depth: int, form: str | None, storage: str | None, as_json: bool
) -> None:
    """What a version came from, and what was made of it.

    \b
    Examples:
      runicorn artifacts lineage net:latest
      runicorn artifacts lineage net:v3 --depth 5 --format mermaid
    """
    if as_json and form not in (None, "json"):
        raise click.UsageError(f"Give either --json or --format {form}.")
    facts, key = _facts(context, version, storage)
    graph = trace(facts, key, depth)
    if as_json or form == "json":
        print_json(graph.to_dict())
    elif form in (None, "tree"):
        from rich.console import Console

        Console(soft_wrap=True, highlight=False).print(as_tree(graph))
    else:
        click.echo(as_dot(graph) if form == "dot" else as_mermaid(graph))


@click.command()
@click.argument("version", metavar=VERSION)
@storage_option
@json_option
@click.pass_context
def impact(context: click.Context, version: str, storage: str | None, as_json: bool) -> None:
    """Everything that was made of a version, directly or not: models first.

    \b
    Examples:
      runicorn artifacts impact digits:v1
    """
    facts, key = _facts(context, version, storage)
    found = _known(reach.impact(facts, key), key)
    if as_json:
        print_json({**msgspec.to_builtins(found), "counts": found.counts()})
        return
    counts = ", ".join(f"{count} {type}" for type, count in found.counts().items()) or "nothing"
    _say(f"{len(found.runs)} run(s) used {found.root.artifact}, directly or not; made of it: {counts}")
    for item in found.versions:
        _say(f"  {item.artifact}  {item.status}, {item.distance} step(s) away, by run {item.created_by_run or '?'}")
    if not found.is_all:
        click.echo("There is more.", err=True)


@click.command("provenance")
@click.argument("version", metavar=VERSION)
@storage_option
@json_option
@click.pass_context
def show_provenance(context: click.Context, version: str, storage: str | None, as_json: bool) -> None:
    """The recipe of a version: all runs that led to it, with code, environment and inputs, the first one first.

    \b
    Examples:
      runicorn artifacts provenance net:v3
      runicorn artifacts provenance net:v3 --json
    """
    facts, key = _facts(context, version, storage)
    found = provenance(root_of(context, storage), _known(reach.ancestry(facts, key), key))
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        _print_provenance(found)


def _print_provenance(found: Provenance) -> None:
    _say(f"{found.artifact.artifact}: {len(found.steps)} step(s)")
    for number, step in enumerate(found.steps, 1):
        where = "gone" if step.is_gone else f"{step.project}/{step.name}"
        _say(f"{number}. run {step.run_id} ({where})")
        if step.code is not None and step.code.commit is not None:
            changed = ", with changes" if step.code.has_changes else ""
            _say(f"     code: {step.code.commit} ({step.code.branch}{changed})")
        if step.environment is not None:
            packages = len(step.environment.packages)
            _say(f"     environment: Python {step.environment.python_version}, {packages} packages")
        _say(f"     inputs: {', '.join(step.inputs) or 'none'}")
        _say(f"     outputs: {', '.join(step.outputs) or 'none'}")
    for gap in found.gaps:
        _say(f"Gap: {gap}")


def _facts(context: click.Context, version: str, storage: str | None) -> tuple[FolderFacts, VersionKey]:
    root = root_of(context, storage)
    folder, number = Lookup(root).resolve(version)
    return FolderFacts(root), VersionKey(folder.type, folder.name, number)


def _known(found: reach.Reach | None, key: VersionKey) -> reach.Reach:
    if found is None:
        raise MetadataNotFound(key.name, key.version)
    return found


def _say(line: str) -> None:
    click.echo(clean(line))


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
