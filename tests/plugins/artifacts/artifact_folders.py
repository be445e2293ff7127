"""Artifacts as 0.4.0 and its successors leave them on disk."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


class ArtifactFolder:
    """`<root>/artifacts/<type>/<name>`. Every change rewrites the index, unless a test writes it itself."""

    def __init__(self, root: Path, type: str, name: str, *, folder: str | None = None) -> None:
        self.folder = root / "artifacts" / (folder or type) / name
        self.folder.mkdir(parents=True)
        self._type = type
        self._name = name
        self.versions: list[int] = []
        self.aliases: dict[str, int] = {}

    def save(self, version: int, files: dict[str, str] | None = None, *, indexed: bool = True, **metadata: Any) -> Path:
        """A complete version; `metadata` replaces fields of metadata.json."""
        folder = self.version(version)
        entries: list[dict[str, Any]] = []
        for path, content in (files or {"weights.bin": "x" * version}).items():
            file = folder / "files" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            digest = hashlib.sha256(content.encode()).hexdigest()
            entries.append({"path": path, "size": len(content), "digest": f"sha256:{digest}", "modified_at": 1.0})
        manifest = json.dumps({"files": entries, "references": [], "total_files": len(entries)})
        (folder / "manifest.json").write_text(manifest)
        fields: dict[str, Any] = {
            "name": self._name,
            "type": self._type,
            "version": version,
            "created_at": 1000.0 + version,
            "size_bytes": 7000 + version,
            "description": f"number {version}",
            "aliases": ["latest"],
            "manifest_digest": hashlib.sha256(manifest.encode()).hexdigest(),
        }
        (folder / "metadata.json").write_text(json.dumps({**fields, **metadata}))
        if indexed:
            self.versions.append(version)
            self.aliases["latest"] = max(self.versions)
            self.write_index()
        return folder

    def write_index(self) -> None:
        items = [{"version": version, "status": "ready", "aliases": []} for version in sorted(self.versions)]
        (self.folder / "versions.json").write_text(json.dumps({"versions": items, "aliases": self.aliases}))

    def version(self, number: int) -> Path:
        """The folder of a version."""
        return self.folder / f"v{number}"

    def soft_delete(self, number: int) -> None:
        (self.version(number) / ".deleted").write_text(json.dumps({"deleted_at": 5.0}))
