"""`/api/config/ssh_connections`: saved SSH connections. Secrets come in, references to them go out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, delete, get, post
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK

from runicorn.plugin import SECRET_FIELDS, Address, BadInput, SavedConnection, SecretField, Serving, WrongFields

PATH = "/api/config/ssh_connections"

_MAX_SECRET_BYTES = 64 << 10
_MAX_HOST = 253
_MAX_USERNAME = 128
_MAX_NAME = 128
_DIGITS = re.compile(r"[0-9]{1,5}", re.ASCII)

AuthMethod = Literal["password", "key", "agent"]
Secret = Annotated[
    str | None,
    msgspec.Meta(
        description="Stored encrypted, and only with `remember_password`. Absent, null or a reference (`saved:…`): what is "
        "stored stays; empty: it is removed."
    ),
]

Remembering = Annotated[
    Any,  # `bool` would take the text "true", and the number 1, too
    msgspec.Meta(
        description="A boolean. All secrets are stored only if it is true; if false, stored ones are removed."
    ),
]


class DescribedConnection(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of a saved connection wherever it is shown: no secrets."""

    key: str
    """Opaque."""
    host: str
    port: int
    username: str
    name: str
    auth_method: str
    remember_password: bool
    private_key_path: str | None


class ListedConnection(DescribedConnection, frozen=True, kw_only=True):
    """A saved connection in the list. `has_…`: a secret is stored and can be decrypted."""

    has_password: bool
    has_private_key: bool


class ConnectionList(msgspec.Struct, frozen=True):
    """At most ten, oldest first."""

    connections: list[ListedConnection]


class NewConnection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection to save in place of the one with the same host, port and user name."""

    host: str
    port: int | str | None = 22
    username: str
    name: str | None = ""
    auth_method: AuthMethod = "password"
    remember_password: Remembering = False
    password: Secret = None
    private_key: Secret = None
    private_key_path: str | None = None
    """A file on the machine of the server; it is not opened."""
    passphrase: Secret = None

    def __repr__(self) -> str:
        return "NewConnection(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class ConnectionSaved(msgspec.Struct, frozen=True):
    """It is on disk, under this key."""

    ok: bool
    message: str
    key: str


class ConnectionDetails(DescribedConnection, frozen=True, kw_only=True):
    """A connection with references (`saved:…`) in place of its secrets.

    They stand for the secrets wherever one is accepted, for this connection and field, until the server ends. Null: none
    is stored, or it cannot be decrypted.
    """

    password: str | None
    private_key: str | None
    passphrase: str | None


class OneConnection(msgspec.Struct, frozen=True):
    """A connection to connect with."""

    ok: bool
    connection: ConnectionDetails


class ConnectionDeleted(msgspec.Struct, frozen=True):
    """There is no such connection (any more)."""

    ok: bool
    message: str


@get(PATH, operation_id="list_ssh_connections", sync_to_thread=True)
def list_connections(serving: Serving) -> ConnectionList:
    """The saved connections, without secrets."""
    return ConnectionList([_listed(connection) for connection in serving.connections.latest()])


def _host(value: str) -> str:
    host = value.strip()
    if not host:
        raise BadInput("Missing required field: host")
    if len(host) > _MAX_HOST or any(c.isspace() or _is_control(c) or c in "/@" for c in host):
        limit = f"at most {_MAX_HOST} characters, no white space, control characters, / or @"
        raise BadInput(f"Invalid value for host: {limit}")
    return host


def _username(value: str) -> str:
    username = value.strip()
    if not username:
        raise BadInput("Missing required field: username")
    if len(username) > _MAX_USERNAME or any(_is_control(c) or c == "/" for c in username):
        raise BadInput(f"Invalid value for username: at most {_MAX_USERNAME} characters, no control characters or /")
    return username


def _port(value: int | str | None) -> int:
    port = 22 if value is None else value
    if isinstance(port, str):
        port = int(port) if _DIGITS.fullmatch(port) else 0
    if not 0 < port < 1 << 16:
        raise BadInput("Invalid value for port: must be between 1 and 65535")
    return port


def _name(value: str | None) -> str:
    if value is not None and len(value) > _MAX_NAME:
        raise BadInput(f"Invalid value for name: at most {_MAX_NAME} characters")
    return value or ""


def _remember(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadInput("Invalid value for remember_password: must be true or false")
    return value


def _short(field: str) -> Callable[[str | None], None]:
    def check(value: str | None) -> None:
        if value is not None and len(value.encode("utf-8", "surrogatepass")) > _MAX_SECRET_BYTES:
            raise BadInput(f"Invalid value for {field}: at most 64 KiB")

    return check


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "host": _host,
    "port": _port,
    "username": _username,
    "name": _name,
    "remember_password": _remember,
    **{field: _short(field) for field in (*SECRET_FIELDS, "private_key_path")},
}


@post(PATH, operation_id="save_ssh_connection", status_code=HTTP_200_OK, sync_to_thread=True, checks=_CHECKS)
def save_connection(data: JSONBody[NewConnection], serving: Serving) -> ConnectionSaved:
    """Save or replace a connection. Of more than ten the oldest go."""
    connection = checked(data)
    serving.connections.save(connection, {field: getattr(data, field) for field in SECRET_FIELDS})
    return ConnectionSaved(True, "SSH connection saved successfully", connection.address.key)


@get(f"{PATH}/{{key:str}}/details", operation_id="get_ssh_connection", has_secrets=True, sync_to_thread=True)
def connection_details(key: FromPath[str], serving: Serving) -> Response[OneConnection]:
    """One connection. References to its secrets, never the secrets themselves."""
    connections = serving.connections
    connection = connections.get(key)

    def reference(field: SecretField) -> str | None:
        return connections.reference(connection, field)

    details = ConnectionDetails(
        **_described(connection),
        password=reference("password"),
        private_key=reference("private_key"),
        passphrase=reference("passphrase"),
    )
    return Response(OneConnection(True, details), headers={"cache-control": "no-store"})


@delete(f"{PATH}/{{key:str}}", operation_id="delete_ssh_connection", status_code=HTTP_200_OK, sync_to_thread=True)
def delete_connection(key: FromPath[str], serving: Serving) -> ConnectionDeleted:
    """Remove a connection with its secrets; also if there is none."""
    serving.connections.delete(key)
    return ConnectionDeleted(True, "SSH connection deleted successfully")


def checked(data: NewConnection) -> SavedConnection:
    """The connection that a client describes, without secrets. BadInput names every field that is wrong, and no value."""
    wrong = WrongFields()
    right = {field: wrong.of(field, check, getattr(data, field)) for field, check in _CHECKS.items()}
    wrong.refuse()
    return SavedConnection(
        address=Address(right["host"], right["port"], right["username"]),
        name=right["name"],
        auth_method=data.auth_method,
        remember_password=right["remember_password"],
        private_key_path=data.private_key_path or None,
    )


def _is_control(character: str) -> bool:
    return ord(character) < 32 or 127 <= ord(character) < 160


def _listed(connection: SavedConnection) -> ListedConnection:
    return ListedConnection(
        **_described(connection),
        has_password="password" in connection.secrets,
        has_private_key="private_key" in connection.secrets,
    )


def _described(connection: SavedConnection) -> dict[str, Any]:
    """The fields of a `DescribedConnection`."""
    address = connection.address
    return {
        "key": address.key,
        "host": address.host,
        "port": address.port,
        "username": address.username,
        "name": connection.name,
        "auth_method": connection.auth_method,
        "remember_password": connection.remember_password,
        "private_key_path": connection.private_key_path,
    }
