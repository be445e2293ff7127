"""How much one upload may hold."""

from __future__ import annotations

import logging
import os

import msgspec

logger = logging.getLogger("runicorn.artifacts")

_PREFIX = "RUNICORN_ARTIFACT_"


class UploadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one version that is sent."""

    version_bytes: int = 256 << 30
    """All files of it together."""
    version_files: int = 100_000

    @classmethod
    def configured(cls) -> UploadLimits:
        """The limits with what the environment says, such as `RUNICORN_ARTIFACT_VERSION_FILES=1000000`."""
        changed: dict[str, int] = {}
        for name in cls.__struct_fields__:
            text = os.environ.get(_PREFIX + name.upper(), "")
            if text.isascii() and text.isdigit():
                changed[name] = int(text)
            elif text:
                logger.warning("%s%s is not a whole number; the default holds", _PREFIX, name.upper())
        return cls(**changed)
