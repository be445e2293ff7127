"""`/api/config/ssh_connections`: saved SSH connections. Secrets come in, references to them go out."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, delete, get, post
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK

from runicorn.plugin import SECRET_FIELDS, Address, BadInput, SavedConnection, SecretField, Serving

PATH = "/api/config/ssh_connections"

_MAX_SECRET_BYTES = 64 << 10
_MAX_HOST = 253
_MAX_USERNAME = 128
_MAX_NAME = 128
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)

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


@post(PATH, operation_id="save_ssh_connection", status_code=HTTP_200_OK, sync_to_thread=True)
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
    host, username, name = data.host.strip(), data.username.strip(), data.name or ""
    port = int(data.port) if isinstance(data.port, str) and _PORT.fullmatch(data.port) else data.port
    if port is None:
        port = 22
    wrong: list[tuple[str, str]] = []
    if not host:
        wrong.append(("host", _REQUIRED))
    elif len(host) > _MAX_HOST or any(c.isspace() or _is_control(c) or c in "/@" for c in host):
        wrong.append(("host", f"at most {_MAX_HOST} characters, no white space, control characters, / or @"))
    if not username:
        wrong.append(("username", _REQUIRED))
    elif len(username) > _MAX_USERNAME or any(_is_control(c) or c == "/" for c in username):
        wrong.append(("username", f"at most {_MAX_USERNAME} characters, no control characters or /"))
    if isinstance(port, str) or not 0 < port < 1 << 16:
        wrong.append(("port", "must be between 1 and 65535"))
    if not isinstance(data.remember_password, bool):
        wrong.append(("remember_password", "must be true or false"))
    if len(name) > _MAX_NAME:
        wrong.append(("name", f"at most {_MAX_NAME} characters"))
    for field in (*SECRET_FIELDS, "private_key_path"):
        value: str | None = getattr(data, field)
        if value is not None and len(value.encode("utf-8", "surrogatepass")) > _MAX_SECRET_BYTES:
            wrong.append((field, "at most 64 KiB"))
    if wrong:
        field, reason = wrong[0]
        missing = f"Missing required field: {field}"
        raise BadInput(missing if reason == _REQUIRED else f"Invalid value for {field}: {reason}", wrong)
    return SavedConnection(
        address=Address(host, int(port), username),
        name=name,
        auth_method=data.auth_method,
        remember_password=data.remember_password is True,
        private_key_path=data.private_key_path or None,
    )


_REQUIRED = "required"


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
