"""What `runicorn artifacts` does and prints."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from runicorn.plugin import clean, without_controls
from runicorn_artifacts import deleting
from runicorn_artifacts.copying import Progress
from runicorn_artifacts.folder import ArtifactFolder
from runicorn_artifacts.json_values import finite
from runicorn_artifacts.listing import artifact_list, version_list
from runicorn_artifacts.lookup import ARTIFACTS, Lookup
from runicorn_artifacts.manifest import ArtifactManifest
from runicorn_artifacts.metadata import ArtifactMetadata
from runicorn_artifacts.naming import existing_version
from runicorn_artifacts.pool import pool_of
from runicorn_artifacts.staging import STAGING, remove_old
from runicorn_artifacts.statistics import storage_statistics
from runicorn_artifacts.verifying import content_bytes, verify

_MB = 1 << 20
_GB = 1 << 30
_FILES_SHOWN = 10
_RUN_CHARACTERS = 20


class Actions:
    """The actions on one storage root. Those that only show something create nothing."""

    def __init__(self, root: Path, *, as_json: bool) -> None:
        self._lookup = Lookup(root)
        self._base = root / ARTIFACTS
        self._pool = pool_of(root)
        self._as_json = as_json

    def find(self, name: str, type: str | None, version: int) -> ArtifactFolder:
        """The artifact with such a version. ArtifactNotFound or VersionNotFound, if there is none."""
        folder = self._lookup.find(name, type or None)
        existing_version(folder, version)
        return folder

    def list_artifacts(self, type: str | None, include_deleted: bool) -> None:
        """All artifacts."""
        items = artifact_list(self._lookup, type or None, include_deleted)
        if self._as_json:
            print_json(items)
        elif not items:
            click.echo("No artifacts found.")
        else:
            click.echo(f"Found {len(items)} artifact(s):\n")
            click.echo(f"{'Name':<30} {'Type':<10} {'Versions':<10} {'Size':<15} {'Latest':<10}")
            click.echo("-" * 85)
            for item in items:
                size = f"{item['size_bytes'] / _MB:10.2f} MB"
                latest = f"v{item['latest_version']}"
                line = f"{item['name']:<30} {item['type']:<10} {item['num_versions']:<10} {size:<15} {latest:<10}"
                click.echo(clean(line))

    def list_versions(self, name: str, type: str | None, include_deleted: bool) -> None:
        """The versions of an artifact."""
        items = version_list(self._lookup.find(name, type or None), include_deleted)
        if self._as_json:
            print_json([item.to_dict() for item in items])
        elif not items:
            click.echo(f"No versions found for artifact: {name}")
        else:
            click.echo(f"Versions for {name}:\n")
            click.echo(f"{'Version':<10} {'Created':<25} {'Size':<15} {'Files':<8} {'Run'}")
            click.echo("-" * 90)
            for item in items:
                run = item.created_by_run
                run = f"{run[:_RUN_CHARACTERS]}..." if len(run) > _RUN_CHARACTERS else run
                size = f"{item.size_bytes / _MB:10.2f} MB"
                created = _local(item.created_at)
                click.echo(clean(f"{f'v{item.version}':<10} {created:<25} {size:<15} {item.num_files:<8} {run}"))

    def info(self, folder: ArtifactFolder, version: int) -> None:
        """All about one version."""
        content = folder.metadata(version)
        record = folder.record(version)
        metadata = ArtifactMetadata.from_dict(content or {})
        stored = folder.manifest(version)
        manifest = ArtifactManifest() if stored is None else stored.content
        status, aliases = folder.status(version), folder.active_aliases(version)
        stage = folder.lifecycle(version).stage
        if self._as_json:
            shown = {**metadata.to_dict(), "name": folder.name, "type": folder.type, "version": version}
            shown |= {"status": status, "aliases": aliases, "lifecycle_stage": stage, "manifest": manifest.to_dict()}
            print_json(shown)
            return
        created_at = metadata.created_at if record is None else record.created_at
        size = metadata.size_bytes if record is None else record.size_bytes
        lines = [
            "",
            f"Artifact: {folder.name}:v{version}",
            "=" * 60,
            f"Type: {folder.type}",
            f"Status: {status}",
            f"Created: {_local(created_at)}",
            f"Created by: {metadata.created_by_run if record is None else record.created_by_run}",
            f"Size: {size / _MB:.2f} MB",
            f"Files: {len(manifest.files)}",
            f"References: {len(manifest.references)}",
        ]
        if metadata.description:
            lines.append(f"Description: {metadata.description}")
        if aliases:
            lines.append(f"Aliases: {', '.join(aliases)}")
        if metadata.tags:
            lines.append(f"Tags: {', '.join(metadata.tags)}")
        if metadata.metadata:
            lines += ["", "Metadata:", *(f"  {key}: {value}" for key, value in metadata.metadata.items())]
        if manifest.files:
            lines += ["", f"Files ({len(manifest.files)}):"]
            lines += [f"  {file.path} ({file.size / 1024:.1f} KB)" for file in manifest.files[:_FILES_SHOWN]]
            if len(manifest.files) > _FILES_SHOWN:
                lines.append(f"  ... and {len(manifest.files) - _FILES_SHOWN} more files")
        click.echo("\n".join(map(clean, lines)))

    def delete(self, folder: ArtifactFolder, version: int, *, permanent: bool) -> None:
        """Delete a version."""
        freed = 0
        if permanent:
            freed = deleting.purge(folder, version, self._pool)
        else:
            deleting.soft_delete(folder, version)
        what = "Permanently deleted" if permanent else "Soft deleted"
        self._done(f"{what} {folder.name}:v{version}", bytes_freed=freed)

    def restore(self, folder: ArtifactFolder, version: int) -> None:
        """Take back a soft deletion."""
        deleting.restore(folder, version)
        self._done(f"Restored {folder.name}:v{version}")

    def stats(self, include_deleted: bool) -> None:
        """How much there is."""
        pool_bytes = sum(size for _, size in self._pool.contents())
        stats = storage_statistics(self._lookup.artifacts(), pool_bytes, True, include_deleted)
        if self._as_json:
            print_json(stats)
            return
        click.echo("Artifact Storage Statistics")
        click.echo("=" * 60)
        click.echo(f"Total Artifacts: {stats['total_artifacts']}")
        click.echo(f"Total Versions: {stats['total_versions']}")
        click.echo(f"Total Size: {stats['total_size_bytes'] / _GB:.2f} GB")
        click.echo(f"Total Files: {stats['total_files']}")
        click.echo("\nDeduplication:")
        click.echo(f"  Pool Size: {stats['dedup_pool_size_bytes'] / _GB:.2f} GB")
        click.echo(f"  Space Saved: {stats['space_saved_bytes'] / _GB:.2f} GB")
        click.echo(f"  Dedup Ratio: {100 * stats['dedup_ratio']:.1f}%")
        click.echo("\nBy Type:")
        for type, counts in stats["by_type"].items():
            size = f"{counts['size_bytes'] / _GB:.2f} GB"
            click.echo(f"  {clean(type)}: {counts['count']} artifacts, {counts['versions']} versions, {size}")

    def verify(self, name: str | None, type: str | None, version: int | None) -> int:
        """Read contents again (of all, or of one artifact or version); the number of problems."""
        if name is not None and version is not None:
            folders = [self.find(name, type, version)]
        elif name is not None:
            folders = [self._lookup.find(name, type or None)]
        else:
            folders = list(self._lookup.artifacts(type or None))
        with progress_bar("Verifying", content_bytes(folders, version)) as progress:
            problems = list(verify(folders, version, progress))
        if self._as_json:
            print_json([msgspec.to_builtins(problem) for problem in problems])
            return len(problems)
        for problem in problems:
            click.echo(clean(f"{problem.artifact}: {problem.path}: {problem.reason}"))
        versions = sum(len(folder.versions) if version is None else 1 for folder in folders)
        click.echo(f"{versions} versions checked: {len(problems) or 'no'} problems.", err=True)
        return len(problems)

    def gc(self, *, dry_run: bool) -> None:
        """Remove contents that no version refers to, and what killed processes left in the staging area."""
        left = 0
        if not self._base.is_dir():
            freed = deleting.Freed(0, 0)
        elif dry_run:
            freed = deleting.orphans(self._base, self._pool)
        else:
            freed = deleting.remove_orphans(self._base, self._pool)
            left = remove_old(self._base / STAGING)
        if self._as_json:
            print_json({"contents": freed.contents, "bytes": freed.size_bytes, "left": left, "dry_run": dry_run})
            return
        what = "Would remove" if dry_run else "Removed"
        click.echo(f"{what} {freed.contents} unused contents ({freed.size_bytes / _MB:.2f} MB).")
        if left:
            click.echo(f"Removed {left} unfinished versions that killed processes left.")

    def _done(self, text: str, **details: Any) -> None:
        if self._as_json:
            print_json({"success": True, "message": text, **details})
        else:
            click.echo(f"✅ {text}")


def print_json(value: object) -> None:
    """Print a value on standard output."""
    click.echo(without_controls(json.dumps(finite(value), ensure_ascii=False, indent=2)))


def _local(ts: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ts)) if 0 <= ts < 1 << 35 else "?"


@contextmanager
def progress_bar(text: str, total: int) -> Generator[Progress]:
    """A progress bar in bytes on standard error; nothing when that is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(text), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=max(total, 1))
        yield lambda count: bar.advance(task, count)
