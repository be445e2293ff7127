"""Saved SSH connections: entries of `ssh_connections` in the user's `config.json`.

Every call reads the file: server, command line and 0.4.0 may all write it. Calls block, for a keyring up to some seconds:
use threads. Entries that cannot be understood stay in the file and are not shown.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from runicorn.config import config_file
from runicorn.credentials import obfuscation
from runicorn.credentials.address import SECRET_FIELDS, Address, SecretField
from runicorn.credentials.encryption import Encryption
from runicorn.credentials.keyring_key import SystemKeyring
from runicorn.credentials.references import References, is_reference
from runicorn.errors import NotFound, shown
from runicorn.fields import integer, text
from runicorn.user_config import change_json, read_config

logger = logging.getLogger("runicorn.credentials")

MAX_CONNECTIONS = 10
AUTH_METHODS = ("password", "key", "agent")
DEFAULT_PORT = 22

_LIST = "ssh_connections"

_DIGITS = re.compile(r"[0-9]{1,5}")

Entry = dict[str, Any]


class ConnectionNotFound(NotFound):
    """No saved connection has this key."""

    code = "not_found"

    def __init__(self, key: str) -> None:
        super().__init__(f"Connection not found: {shown(key)}")


class SavedConnection(msgspec.Struct, frozen=True, kw_only=True):
    """One saved connection with its secrets, as far as they are stored and can be decrypted."""

    address: Address
    name: str = ""
    auth_method: str = "password"
    remember_password: bool = False
    private_key_path: str | None = None
    secrets: Mapping[SecretField, str] = {}

    def __repr__(self) -> str:
        return f"SavedConnection({self.address.key!r}, …)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("address", self.address)]


class SavedConnections:
    """The saved connections of this user, as one server sees them: its references are valid in this server only."""

    def __init__(self, reference_key: bytes | None = None, *, file: Path | None = None) -> None:
        """`reference_key`: the same for all workers of a server. `file`: another `config.json` than the user's."""
        self._file = file
        self._references = References(reference_key)
        self._keyring = SystemKeyring()
        self._reported: set[str] = set()

    def latest(self) -> list[SavedConnection]:
        """The latest ten, the oldest of them first."""
        encryption = self._encryption()
        entries = self._usable(_entries(read_config(self._path)))
        return [self._read(address, entry, encryption) for address, entry in entries[-MAX_CONNECTIONS:]]

    def get(self, key: str) -> SavedConnection:
        """The connection with this key, in its own form or in that of 0.4.0. ConnectionNotFound."""
        entries = self._usable(_entries(read_config(self._path)))
        for form in ("key", "stored_key"):
            for address, entry in entries:
                if getattr(address, form) == key:
                    return self._read(address, entry, self._encryption())
        raise ConnectionNotFound(key)

    def reference(self, connection: SavedConnection, field: SecretField) -> str | None:
        """What a client may be given in place of a secret; None if there is none."""
        secret = connection.secrets.get(field)
        return None if secret is None else self._references.make(connection.address, field, secret)

    @staticmethod
    def is_reference(value: str | None) -> bool:
        """Whether a client sent a reference in place of a secret."""
        return is_reference(value)

    def resolve(self, value: str | None, field: SecretField, address: Address) -> str | None:
        """What a client means by `value` where it may send a secret: the stored one for a reference, else `value` itself.

        `address` is where it is about to be sent. ForeignReference if the reference was made for another connection or
        field; ExpiredReference if it was made by another server, or if what it stands for is not stored any more.
        """
        if value is None or not is_reference(value):
            return value
        entries = self._usable(_entries(read_config(self._path)))
        secret = next(
            (
                self._read(saved, entry, self._encryption()).secrets.get(field)
                for saved, entry in reversed(entries)
                if saved.without_brackets == address.without_brackets
            ),
            None,
        )
        self._references.check(value, address, field, secret)
        return secret

    def save(self, connection: SavedConnection, submitted: Mapping[SecretField, str | None]) -> None:
        """Save a connection in place of the one with its address; it becomes the latest, and the eleventh goes.

        `submitted` are its secrets as a client sent them: None, or a reference, keeps what is stored, and an empty string
        removes it. Without `remember_password` none is stored. Secrets of all connections that 0.4.0 stored are encrypted.
        NotSaved if a secret cannot be encrypted or the file not be written; errors of `resolve`.
        """
        encryption = self._encryption()

        def change(content: dict[str, Any]) -> None:
            entries = _entries(content)
            for entry in entries:
                if isinstance(entry, dict):
                    self._convert(cast(Entry, entry), encryption)
            usable = self._usable(entries)
            replaced = [entry for address, entry in usable if address == connection.address]
            before = replaced[-1] if replaced else {}
            new = _entry(connection)
            for field in SECRET_FIELDS:
                self._store(new, before, field, submitted.get(field), connection, encryption)
            others = [entry for address, entry in usable if address != connection.address]
            gone = [*replaced, *others[: max(0, len(others) + 1 - MAX_CONNECTIONS)]]
            content[_LIST] = [entry for entry in entries if not any(entry is old for old in gone)] + [new]

        change_json(self._path, change, is_sound=_is_sound)

    def delete(self, key: str) -> None:
        """Remove a connection; nothing happens if there is none with this key. NotSaved."""
        entries = _entries(read_config(self._path))
        if not any(key in (address.key, address.stored_key) for address, _ in self._usable(entries)):
            return

        def change(content: dict[str, Any]) -> None:
            entries = _entries(content)
            for form in ("key", "stored_key"):
                gone = [entry for address, entry in self._usable(entries) if getattr(address, form) == key]
                if gone:
                    content[_LIST] = [entry for entry in entries if not any(entry is old for old in gone)]
                    return

        change_json(self._path, change, is_sound=_is_sound)

    def convert(self) -> None:
        """Encrypt what 0.4.0 stored, if there is anything of that kind. NotSaved."""
        if any(
            isinstance(entry, dict) and _is_legacy(cast(Entry, entry)) for entry in _entries(read_config(self._path))
        ):
            encryption = self._encryption()

            def change(content: dict[str, Any]) -> None:
                for entry in _entries(content):
                    if isinstance(entry, dict):
                        self._convert(cast(Entry, entry), encryption)

            change_json(self._path, change, is_sound=_is_sound)

    @property
    def _path(self) -> Path:
        return self._file or config_file()

    def _encryption(self) -> Encryption:
        return Encryption(self._path.parent, self._keyring)

    def _usable(self, entries: list[object]) -> list[tuple[Address, Entry]]:
        """The entries with a host and a user name; of several with one address the last."""
        found: dict[Address, Entry] = {}
        for entry in entries:
            address = _address(cast(Entry, entry)) if isinstance(entry, dict) else None
            if address is None:
                self._report("an entry of ssh_connections has no host or username, and is not shown")
                continue
            found.pop(address, None)
            found[address] = cast(Entry, entry)
        return list(found.items())

    def _read(self, address: Address, entry: Entry, encryption: Encryption) -> SavedConnection:
        method = entry.get("auth_method")
        secrets: dict[SecretField, str] = {}
        for field in SECRET_FIELDS:
            if secret := self._secret(address, entry, field, encryption):
                secrets[field] = secret
        return SavedConnection(
            address=address,
            name=text(entry.get("name")) or "",
            auth_method=method if method in AUTH_METHODS else AUTH_METHODS[0],
            remember_password=entry.get("remember_password") is True,
            private_key_path=text(entry.get("private_key_path")) or None,
            secrets=secrets,
        )

    def _secret(self, address: Address, entry: Entry, field: SecretField, encryption: Encryption) -> str | None:
        token = entry.get(f"encrypted_{field}")
        if isinstance(token, str) and token:
            secret = encryption.decrypt(token)
            if secret is None:
                self._report(f"the saved {field} of {address.stored_key} cannot be decrypted: its key is not here")
            return secret
        return self._revealed(entry.get(field))

    def _revealed(self, stored: object) -> str | None:
        try:
            return obfuscation.reveal(stored, self._path.parent) if isinstance(stored, str) and stored else None
        except OSError as error:
            self._report(f".credential_key cannot be read: {error.strerror}")
            return None

    def _convert(self, entry: Entry, encryption: Encryption) -> None:
        for field in SECRET_FIELDS:
            stored = entry.get(field)
            if isinstance(stored, str) and stored and not entry.get(f"encrypted_{field}"):
                secret = obfuscation.reveal(stored, self._path.parent)  # an OSError is NotSaved: nothing is lost
                if secret:
                    entry[f"encrypted_{field}"] = encryption.encrypt(secret)
            entry.pop(field, None)

    def _store(
        self,
        new: Entry,
        before: Entry,
        field: SecretField,
        submitted: str | None,
        connection: SavedConnection,
        encryption: Encryption,
    ) -> None:
        token = before.get(f"encrypted_{field}")
        if submitted is not None and is_reference(submitted):
            stored = self._secret(connection.address, before, field, encryption)
            self._references.check(submitted, connection.address, field, stored)
            submitted = None
        if not connection.remember_password or submitted == "":
            return
        if submitted is not None:
            new[f"encrypted_{field}"] = encryption.encrypt(submitted)
        elif isinstance(token, str) and token:
            new[f"encrypted_{field}"] = token

    def _report(self, problem: str) -> None:
        if problem not in self._reported:
            self._reported.add(problem)
            logger.warning("config.json: %s", problem)


def _entries(content: dict[str, Any]) -> list[object]:
    entries = content.get(_LIST)
    return cast(list[object], entries) if isinstance(entries, list) else []


def _is_sound(content: dict[str, Any]) -> bool:
    return isinstance(content.get(_LIST, []), list)


def _is_legacy(entry: Entry) -> bool:
    return any(isinstance(entry.get(field), str) and entry[field] for field in SECRET_FIELDS)


def _address(entry: Entry) -> Address | None:
    host, username, stored = text(entry.get("host")), text(entry.get("username")), entry.get("port")
    if not host or not username:
        return None
    port = int(stored) if isinstance(stored, str) and _DIGITS.fullmatch(stored) else integer(stored)
    return Address(host, port if port is not None and 0 < port < 1 << 16 else DEFAULT_PORT, username)


def _entry(connection: SavedConnection) -> Entry:
    address = connection.address
    return {
        "host": address.host,
        "port": address.port,
        "username": address.username,
        "name": connection.name,
        "remember_password": connection.remember_password,
        "auth_method": connection.auth_method,
        "key": address.stored_key,
        "private_key_path": connection.private_key_path,
    }
