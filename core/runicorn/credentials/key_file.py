"""`credentials.key`: the key of stored secrets where no system keyring is usable. Mode 0600, 44 characters of base64."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import stat
from pathlib import Path

from runicorn.files import file_lock, open_to_read, replace_file
from runicorn.user_config import keep_aside

logger = logging.getLogger("runicorn.credentials")

_LOCK_S = 5.0
_KEY_BYTES = 32


def is_key(value: bytes) -> bool:
    """Whether this is a key: 32 bytes in URL-safe base64."""
    try:
        return len(base64.urlsafe_b64decode(value)) == _KEY_BYTES
    except ValueError:
        return False


def new_key() -> bytes:
    """32 random bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES))


class KeyFile:
    """The key in one directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "credentials.key"

    @property
    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold this while a key is looked for and made. LockTimeout after 5 s, OSError if there is no such directory."""
        return file_lock(f"{self._path}.lock", timeout_s=_LOCK_S)

    def read(self) -> bytes | None:
        """The key; None if there is none, or something else lies there. OSError if that cannot be known."""
        try:
            with open_to_read(self._path) as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                key = file.read(4096).strip()
        except FileNotFoundError:
            return None
        if mode & 0o077:
            logger.warning("%s could be read by others; its mode is 0600 now", self._path.name)
            with contextlib.suppress(OSError):
                os.chmod(self._path, 0o600)
        return key if is_key(key) else None

    def read_or_make(self) -> bytes:
        """The key, a new one if there is none; call it under the `lock`. A damaged file is kept aside. OSError as it comes."""
        key = self.read()
        if key is None:
            if self._path.exists():
                keep_aside(self._path)
            key = new_key()
            replace_file(self._path, key + b"\n", fsync=True, mode=0o600)
        return key
