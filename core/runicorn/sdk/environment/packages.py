"""Installed packages, as pip and conda would list them, without running either."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def pip_packages() -> list[str]:
    """`name==version` of every distribution that can be imported, sorted by name.

    Reads the metadata files themselves: `pip freeze` takes a second, and pip need not be there.
    """
    from importlib.metadata import Distribution, distributions

    def header(distribution: Distribution) -> dict[str, str]:
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        fields = (line.partition(":") for line in text.partition("\n\n")[0].splitlines() if line[:1].strip())
        return {key.lower(): value.strip() for key, _, value in fields}

    found: dict[str, str] = {}
    for distribution in distributions():
        try:
            fields = header(distribution)
            name, version = fields["name"], fields["version"]
        except (OSError, ValueError, KeyError):
            continue  # a half-removed or damaged installation
        key = name.lower().replace("_", "-").replace(".", "-")
        found.setdefault(key, f"{name}=={version}")  # the first on sys.path is the one that is imported
    return [found[key] for key in sorted(found)]


def conda_packages(environment: Mapping[str, str] = os.environ) -> list[str] | None:
    """`name==version` of the active conda environment, sorted by name; None if there is none.

    Conda keeps one `conda-meta/<name>-<version>-<build>.json` per installed package.
    """
    prefix = environment.get("CONDA_PREFIX")
    records = Path(prefix, "conda-meta") if prefix else None
    if records is None or not records.is_dir():
        return None
    parts = (record.stem.rsplit("-", 2) for record in records.glob("*-*-*.json"))
    return sorted(f"{name}=={version}" for name, version, _ in parts)


def conda_environment(environment: Mapping[str, str] = os.environ) -> str | None:
    """Name of the active conda environment."""
    prefix = environment.get("CONDA_PREFIX", "")
    return environment.get("CONDA_DEFAULT_ENV") or os.path.basename(prefix) or None
