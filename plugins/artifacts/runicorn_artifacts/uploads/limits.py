"""How much one upload may hold."""

from __future__ import annotations

import msgspec

from runicorn.plugin import whole_numbers

_PREFIX = "RUNICORN_ARTIFACT_"


class UploadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one version that is sent."""

    version_bytes: int = 256 << 30
    """All files of it together."""
    version_files: int = 100_000

    @classmethod
    def configured(cls) -> UploadLimits:
        """The limits with what the environment says, such as `RUNICORN_ARTIFACT_VERSION_FILES=1000000`."""
        return cls(**whole_numbers(_PREFIX, cls.__struct_fields__))
