"""What goes wrong with artifacts. The texts are the same for SDK, HTTP and command line.

An SDK user catches Python's own classes (`ValueError`, `FileNotFoundError`, …); the server answers with the status.
"""

from __future__ import annotations

from collections.abc import Sequence

from runicorn.plugin import BadInput, Conflict, InvalidName, NotFound, Unavailable, shown


class ArtifactNotFound(NotFound, FileNotFoundError):
    """No artifact has this name, or none of this type."""

    def __init__(self, name: str, type: str | None = None) -> None:
        hint = f" (type={shown(type)})" if type else ""
        super().__init__(f"Artifact not found: {shown(name)}{hint}")


class VersionNotFound(NotFound, FileNotFoundError):
    """The artifact has no such version."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"Version not found: {shown(name)}:v{shown(str(version))}")


class NoVersions(NotFound, FileNotFoundError):
    """Nothing is left of the artifact that could be meant by default."""

    def __init__(self, name: str) -> None:
        super().__init__(f"No versions found for artifact: {shown(name)}")


class MetadataNotFound(NotFound, FileNotFoundError):
    """The folder of a version lacks its `metadata.json`."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"Metadata not found for {shown(name)}:v{version}")


class InvalidMetadata(ValueError):
    """The `metadata.json` of a version is damaged."""

    def __init__(self, name: str, version: int, reason: str) -> None:
        super().__init__(f"Invalid metadata JSON for {shown(name)}:v{version}: {reason}")


class DamagedContent(Conflict, FileNotFoundError):
    """A file of a version is not there any more as it was saved."""

    def __init__(self, version: str, path: str) -> None:
        super().__init__(f"File of {shown(version)} is missing or damaged: {shown(path)}")


class UnreadableManifest(Conflict, FileNotFoundError):
    """Nobody knows what the version consists of: its manifest is gone, or not the one that was saved."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"Manifest of {shown(name)}:v{version} is missing or damaged")


class IllegalType(InvalidName):
    """Not a type that an artifact can have."""

    def __init__(self, type: str) -> None:
        super().__init__(f"Invalid artifact type: {shown(type)}")


class IllegalName(InvalidName):
    """Not a name that an artifact can have."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Invalid artifact name: {shown(name)}")


class IllegalVersion(BadInput, ValueError):
    """Not the number of a version."""

    def __init__(self, version: object) -> None:
        super().__init__(f"Invalid version number: {shown(str(version))}")


class AliasNotFound(NotFound, ValueError):
    """No version has this alias now. `available` are those that there are, if they help."""

    def __init__(self, alias: str, name: str, available: Sequence[str] | None = None) -> None:
        known = "" if available is None else f". Available aliases: {list(available)}"
        super().__init__(f"Alias not found: {shown(alias)} for artifact {shown(name)}{known}")


class ArtifactLocked(Unavailable, TimeoutError):
    """Somebody else changes the artifact, and does not come to an end."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(f"Could not lock artifact {shown(name)} within {seconds:g} s")


class VersionExists(Conflict, RuntimeError):
    """A folder that is no version of ours has the place of the next one."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"Version v{version} already exists for {name}")
