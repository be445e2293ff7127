"""How commands reach a machine: the argument HOST, and the options for logging in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

if TYPE_CHECKING:
    from runicorn.plugin import SavedConnection
    from runicorn_remote.connection import Connection
    from runicorn_remote.connector import Target
    from runicorn_remote.credentials import Credentials
    from runicorn_remote.host_keys import HostKeyPolicy

C = TypeVar("C", bound=Callable[..., Any])


class LoginOptions(msgspec.Struct, frozen=True):
    """What the options say."""

    identity: str | None
    ask_password: bool
    strict: bool
    accept_host_key: str | None


def login_options(command: C) -> C:
    """The options for logging in; the command gets them as `identity`, `ask_password`, `strict`, `accept_host_key`."""
    for option in (
        click.option(
            "--accept-host-key", metavar="SHA256:…", help="Trust the host if it shows this key, and remember it."
        ),
        click.option("--strict", is_flag=True, help="Refuse hosts that nobody has seen."),
        click.option("--ask-password", is_flag=True, help="Ask for a password or passphrase."),
        click.option("-i", "--identity", metavar="FILE", help="Private key to log in with."),
    ):
        command = option(command)
    return command


def target_of(text: str) -> Target:
    """The machine that HOST means. BadParameter if it is none."""
    from runicorn_remote.connector import Target
    from runicorn_remote.requests import ConnectRequest

    user, _, address = text.rpartition("@")
    host, port = _split(address)
    found = Target(host, 22, user or "x").resolve()
    username = user or found.user or _local_user()
    request = ConnectRequest(host=host, port=port or found.port, username=username)
    return request.target()


def saved_named(name: str) -> SavedConnection | None:
    """The saved connection with this name or key, the latest first."""
    from runicorn.plugin import SavedConnections

    found = reversed(SavedConnections().latest())
    return next((saved for saved in found if name in (saved.name, saved.address.key)), None)


class Login(msgspec.Struct, frozen=True):
    """Where to, with what, and which host keys are good enough."""

    target: Target
    credentials: Credentials
    policy: HostKeyPolicy

    def connect(self) -> Connection:
        """Log in. ConnectFailed names the host; one that was never seen before is announced."""
        from runicorn_remote.connection import Connection
        from runicorn_remote.errors import ConnectFailed

        try:
            connection = Connection(self.target, self.credentials, self.policy)
        except ConnectFailed as failure:
            failure.address = failure.address or self.target.connection_id
            raise
        if connection.established.first_use:
            key = connection.established.host_key
            click.echo(f"Trusting {self.target.host} from now on: {key.type} {key.sha256}", err=True)
        return connection


def login_to(host: str, options: LoginOptions) -> Login:
    """How to log in to HOST; asks for a password where the options say so."""
    import logging

    from runicorn_remote.credentials import Credentials
    from runicorn_remote.host_keys import HostKeyPolicy

    # Every failure becomes one line of ours; paramiko would print each of them, with a traceback.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    saved = saved_named(host)
    target = target_of(host) if saved is None else _target_of_saved(saved)
    secret = click.prompt(f"Password for {target.connection_id}", hide_input=True) if options.ask_password else None
    kept = {} if saved is None else saved.secrets
    key_path = options.identity or (None if saved is None else saved.private_key_path)
    credentials = Credentials(
        password=secret or kept.get("password"),
        passphrase=secret or kept.get("passphrase"),
        private_key=None if options.identity else kept.get("private_key"),
        private_key_path=key_path,
    )
    policy = HostKeyPolicy.configured(strict=options.strict, accepted=options.accept_host_key)
    return Login(target, credentials, policy)


@contextlib.contextmanager
def connected(host: str, options: LoginOptions) -> Generator[Connection]:
    """A connection to HOST, closed at the end. A click.ClickException that names the host and says what to do."""
    from runicorn_remote.errors import ConnectFailed

    try:
        connection = login_to(host, options).connect()
    except ConnectFailed as failure:
        raise click.ClickException(failure.for_people) from failure
    try:
        yield connection
    finally:
        connection.close()


def _target_of_saved(saved: SavedConnection) -> Target:
    from runicorn_remote.requests import ConnectRequest

    address = saved.address
    return ConnectRequest(host=address.host, port=address.port, username=address.username).target()


def _split(address: str) -> tuple[str, int | None]:
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        port = rest.removeprefix(":")
    elif address.count(":") == 1:
        host, _, port = address.partition(":")
    else:
        host, port = address, ""
    if port and not port.isdecimal():
        raise click.BadParameter(f"{port!r} is no port", param_hint="HOST")
    return host, int(port) if port else None


def _local_user() -> str:
    import getpass

    return getpass.getuser()
