"""Text ↔ Fernet token: authenticated encryption with a fresh nonce for every value.

New values are encrypted with the key in the system keyring, or else in `credentials.key`. Either key decrypts: a keyring
that is locked today, or installed tomorrow, makes no stored secret unreadable for good.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from runicorn.credentials.key_file import KeyFile
from runicorn.credentials.keyring_key import KeyringUnusable, SystemKeyring
from runicorn.user_config import NotSaved

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

logger = logging.getLogger("runicorn.credentials")


class Encryption:
    """The keys as they are during one reading or saving: each is looked for once, when it is needed."""

    def __init__(self, directory: Path, keyring: SystemKeyring) -> None:
        self._file = KeyFile(directory)
        self._directory = directory
        self._keyring = keyring
        self._known: dict[str, Fernet | None] = {}
        self._first: Fernet | None = None

    def encrypt(self, text: str) -> str:
        """A token for `text`. NotSaved if there is no key, and none can be made."""
        if self._first is None:
            self._first = _cipher(self._make_key())
        return self._first.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str | None:
        """The text of a token; None if none of our keys made it."""
        from cryptography.fernet import InvalidToken

        for cipher in self._ciphers():
            try:
                return cipher.decrypt(token.encode()).decode()
            except (InvalidToken, UnicodeError):
                continue
        return None

    def _ciphers(self) -> Iterator[Fernet]:
        for where, read in (("file", self._from_file), ("keyring", self._from_keyring)):
            if where not in self._known:
                key = read()
                self._known[where] = None if key is None else _cipher(key)
            cipher = self._known[where]
            if cipher is not None:
                yield cipher

    def _from_file(self) -> bytes | None:
        try:
            return self._file.read()
        except OSError as error:
            logger.warning("credentials.key cannot be read: %s", error.strerror)
            return None

    def _from_keyring(self) -> bytes | None:
        try:
            return self._keyring.read()
        except KeyringUnusable:
            return None

    def _make_key(self) -> bytes:
        try:
            if not self._directory.is_dir():
                self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._file.lock:
                try:
                    return self._keyring.read_or_make()
                except KeyringUnusable:
                    return self._file.read_or_make()
        except OSError as error:  # LockTimeout is one
            logger.error(
                "there is no key for secrets, and none can be made: %s", error.strerror or type(error).__name__
            )
            raise NotSaved from error


def _cipher(key: bytes) -> Fernet:
    from cryptography.fernet import Fernet

    return Fernet(key)
