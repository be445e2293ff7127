"""References: what a client is given in place of a stored secret, and what the server later takes for it.

A reference is `saved:` and a token that this server alone can make and read: it names connection and field, and carries a
digest of the secret that it stands for. So it needs no memory, is valid in every worker of the server, and ends with the
server, with the connection, and when another secret is stored.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

import msgspec

from runicorn.credentials.address import Address, SecretField
from runicorn.credentials.key_file import new_key
from runicorn.errors import BadInput

PREFIX = "saved:"


class ForeignReference(BadInput):
    """A reference was sent for another host, port, user name or field than it was made for."""

    def __init__(self) -> None:
        super().__init__("Saved secret belongs to another connection")


class ExpiredReference(BadInput):
    """No secret is stored any more that this reference stands for, or another server made it."""

    def __init__(self) -> None:
        super().__init__("Saved secret reference has expired; load the connection again")


class _Content(msgspec.Struct, frozen=True, array_like=True):
    address: Address
    field: str
    digest: bytes


def is_reference(value: str | None) -> bool:
    """Whether a client sent this in place of a secret."""
    return value is not None and value.startswith(PREFIX)


class References:
    """Makes and reads the references of one server; all of its workers have the same `key`, and nobody else."""

    def __init__(self, key: bytes | None = None) -> None:
        """A new key if none is given."""
        self._key = key or new_key()

    def make(self, address: Address, field: SecretField, secret: str) -> str:
        """A reference to `secret`."""
        from cryptography.fernet import Fernet

        content = _Content(address.without_brackets, field, _digest(secret))
        return PREFIX + Fernet(self._key).encrypt(msgspec.msgpack.encode(content)).decode().rstrip("=")

    def check(self, reference: str, address: Address, field: SecretField, secret: str | None) -> None:
        """ForeignReference or ExpiredReference, unless the reference stands for this `secret` in this place."""
        from cryptography.fernet import Fernet, InvalidToken

        token = reference.removeprefix(PREFIX).encode("utf-8", "replace")
        try:
            content = Fernet(self._key).decrypt(token + b"=" * (-len(token) % 4))
            made_for = msgspec.msgpack.decode(content, type=_Content)
        except (InvalidToken, msgspec.DecodeError):
            raise ExpiredReference from None
        if (made_for.address, made_for.field) != (address.without_brackets, field):
            raise ForeignReference
        if secret is None or not hmac.compare_digest(made_for.digest, _digest(secret)):
            raise ExpiredReference


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
