"""Where a mirrored tree comes from."""

from __future__ import annotations

import hashlib
import re

import msgspec

from runicorn_remote.connector import Target

_UNFIT = re.compile(r"[^A-Za-z0-9._-]")
_MAX_CHARACTERS = 40
_HASH_DIGITS = 12


class RemoteSource(msgspec.Struct, frozen=True):
    """A storage root on another machine, as one user sees it."""

    target: Target
    root: str
    """Absolute path there."""

    @property
    def key(self) -> str:
        """A directory name for it here. Other users, ports and roots have others; nothing of a host's name is trusted."""
        target = self.target
        shown = _UNFIT.sub("", f"{target.host}_{target.username}")[:_MAX_CHARACTERS].lstrip(".")
        identity = "\0".join((target.username, target.host, str(target.port), self.root))
        return f"{shown}-{hashlib.sha256(identity.encode('utf-8', 'surrogatepass')).hexdigest()[:_HASH_DIGITS]}"
