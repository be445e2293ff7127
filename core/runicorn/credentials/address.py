"""What a saved connection is known by: host, port and user name, and the keys made of them."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

SecretField = Literal["password", "private_key", "passphrase"]
SECRET_FIELDS: tuple[SecretField, ...] = get_args(SecretField)


class Address(msgspec.Struct, frozen=True):
    """Where a connection leads. Two entries with one address are the same connection."""

    host: str
    port: int
    username: str

    @property
    def key(self) -> str:
        """The key in answers; opaque to clients."""
        return f"{self.username}@{self.host}:{self.port}@{self.username}"

    @property
    def stored_key(self) -> str:
        """The key in the file, as 0.4.0 makes it."""
        return f"{self.host}:{self.port}@{self.username}"

    @property
    def without_brackets(self) -> Address:
        """The address as it is dialled: an IPv6 host without the brackets that users may write around it."""
        return Address(self.host.removeprefix("[").removesuffix("]"), self.port, self.username)
