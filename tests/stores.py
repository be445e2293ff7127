"""Writing runs as other programs leave them: files of 0.4.0, damaged files, streams of any content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def make_run(root: Path, key: str, *, events: str | bytes | None = None, **files: Any) -> Path:
    """A run directory. `meta=`, `status=`, … become `<name>.json`: text and bytes as they are, else as JSON."""
    directory = root / key
    directory.mkdir(parents=True)
    if events is not None:
        write(directory / "events.jsonl", events)
    for name, content in files.items():
        write(directory / f"{name}.json", content if isinstance(content, str | bytes) else json.dumps(content))
    return directory


def write(path: Path, content: str | bytes) -> None:
    """Write text as UTF-8, lone surrogates included, or bytes."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))


def metrics_event(ts: float = 1.0, **data: Any) -> str:
    """One line of a `metrics` event, with its newline."""
    return json.dumps({"ts": ts, "type": "metrics", "data": data}) + "\n"
