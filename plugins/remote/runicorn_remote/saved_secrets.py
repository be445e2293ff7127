"""What a connect request means by `saved_key` and by references: the host, user and secrets of saved connections."""

from __future__ import annotations

import msgspec

from runicorn.plugin import Address, BadInput, SavedConnections
from runicorn_remote.requests import ConnectRequest


class SavedForAnotherHost(BadInput):
    """`saved_key` was sent together with another host, port or user name than it is saved for."""

    def __init__(self) -> None:
        super().__init__("saved_key belongs to another host")


def with_saved_secrets(request: ConnectRequest, connections: SavedConnections) -> ConnectRequest:
    """The request with plain secrets. Reads files, and may ask the system's keyring: call it in a thread.

    ConnectionNotFound or SavedForAnotherHost for a `saved_key`; ForeignReference or ExpiredReference for a reference that
    was not made for this very target.
    """
    if request.saved_key:
        request = _filled(request, request.saved_key, connections)
    secrets = (request.password, request.private_key, request.pkey, request.passphrase)
    if not any(connections.is_reference(secret) for secret in secrets):
        return request
    target = request.target()
    address = Address(target.host, target.port, target.username)
    return msgspec.structs.replace(
        request,
        password=connections.resolve(request.password, "password", address),
        private_key=connections.resolve(request.private_key or request.pkey, "private_key", address),
        pkey=None,
        passphrase=connections.resolve(request.passphrase, "passphrase", address),
    )


def _filled(request: ConnectRequest, key: str, connections: SavedConnections) -> ConnectRequest:
    """What the body does not have comes from the saved connection."""
    connections.convert()
    saved = connections.get(key)
    address = saved.address.without_brackets
    filled = msgspec.structs.replace(
        request,
        host=(request.host or "").strip() or address.host,
        port=address.port if request.port is None else request.port,
        username=(request.username or "").strip() or address.username,
        password=request.password or saved.secrets.get("password"),
        passphrase=request.passphrase or saved.secrets.get("passphrase"),
    )
    if not any((request.private_key, request.pkey, request.private_key_path, request.pkey_path)):
        filled = msgspec.structs.replace(
            filled, private_key=saved.secrets.get("private_key"), private_key_path=saved.private_key_path
        )
    target = filled.target()
    if Address(target.host, target.port, target.username) != address:
        raise SavedForAnotherHost
    return filled
