"""What a run has made and used, in its folder: `artifacts_created.json` and `artifacts_used.json`, for readers of 0.4.0.

Processes may append at once. A list that is damaged is put aside, and begun anew.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from runicorn.plugin import ArtifactLogged, file_lock, parse_json, write_json
from runicorn_artifacts.manifest import ArtifactManifest
from runicorn_artifacts.metadata import ArtifactMetadata

Known = Callable[[Mapping[str, Any]], bool]

_LOCK_S = 10.0


def logged_event(metadata: ArtifactMetadata, manifest: ArtifactManifest) -> ArtifactLogged:
    """What a run says of a version that it has made."""
    return ArtifactLogged(
        name=metadata.name,
        type=metadata.type,
        version=metadata.version,
        created_at=metadata.created_at,
        size_bytes=sum(file.size for file in manifest.files),
        num_files=metadata.num_files,
        num_references=metadata.num_references,
    )


def created_entry(logged: ArtifactLogged) -> dict[str, Any]:
    """As the list of what was made has it."""
    return {
        "name": logged.name,
        "type": logged.type,
        "version": logged.version,
        "created_at": logged.created_at,
        "size_bytes": logged.size_bytes,
        "num_files": logged.num_files,
        "num_references": logged.num_references,
    }


def append_entry(path: Path, entry: dict[str, Any], is_known: Known, before: Callable[[], None] = lambda: None) -> None:
    """Append to a list of a run, unless an entry of it is known; `before` is called first. OSError as it comes."""
    with file_lock(f"{path}.lock", timeout_s=_LOCK_S):
        content = _list_in(path)
        entries = content["artifacts"]
        if any(isinstance(known, dict) and is_known(cast(Mapping[str, Any], known)) for known in entries):
            return
        before()
        entries.append(entry)
        write_json(path, content)


def _list_in(path: Path) -> dict[str, Any]:
    """The content of a run's list; an unreadable file is put aside."""
    try:
        content = parse_json(path.read_bytes())
    except FileNotFoundError:
        return {"artifacts": []}
    except ValueError:
        content = None
    if isinstance(content, dict) and isinstance(cast(dict[str, Any], content).get("artifacts"), list):
        return cast(dict[str, Any], content)
    with contextlib.suppress(OSError):
        os.replace(path, f"{path}.corrupt")
    return {"artifacts": []}
