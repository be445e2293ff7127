"""Versioned artifacts: `runicorn.Artifact`, the store of a root, and lineage. From the built-in plugin `artifacts`."""

from __future__ import annotations

from runicorn_artifacts.artifact import Artifact
from runicorn_artifacts.index import ArtifactIndex, ArtifactVersionInfo
from runicorn_artifacts.lineage import LineageEdge, LineageGraph, LineageNode
from runicorn_artifacts.lineage_tracker import LineageTracker
from runicorn_artifacts.manifest import ArtifactManifest, FileEntry, ReferenceEntry
from runicorn_artifacts.metadata import ArtifactMetadata, ArtifactStatus
from runicorn_artifacts.naming import ArtifactType
from runicorn_artifacts.storage import ArtifactStorage, create_artifact_storage
from runicorn_artifacts.uploads.client import upload_artifact

__all__ = [
    "Artifact",
    "ArtifactIndex",
    "ArtifactManifest",
    "ArtifactMetadata",
    "ArtifactStatus",
    "ArtifactStorage",
    "ArtifactType",
    "ArtifactVersionInfo",
    "FileEntry",
    "LineageEdge",
    "LineageGraph",
    "LineageNode",
    "LineageTracker",
    "ReferenceEntry",
    "create_artifact_storage",
    "upload_artifact",
]
