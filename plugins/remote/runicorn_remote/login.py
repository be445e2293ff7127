"""Logging in: the methods that credentials allow, tried in order, and what a refusal means.

Explicit key, keys of the agent, default keys, password, and the password again for servers that ask for it interactively.
A key that cannot be loaded is passed over while there is another method.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import msgspec

from runicorn_remote.credentials import Credentials
from runicorn_remote.errors import (
    AuthFailed,
    AuthPartial,
    BadKey,
    BadPassphrase,
    ConnectFailed,
    HostTimeout,
    HostUnreachable,
    NoAuthMethod,
)
from runicorn_remote.opening import opened
from runicorn_remote.private_keys import default_key_files, load_key, load_key_file

if TYPE_CHECKING:
    from paramiko.pkey import PKey
    from paramiko.transport import Transport

logger = logging.getLogger("runicorn.remote")

_AGENT_S = 5.0
_PUBLIC_KEY, _PASSWORD, _INTERACTIVE = "publickey", "password", "keyboard-interactive"


class Method(msgspec.Struct, frozen=True):
    """One way to log in."""

    kind: str
    """The name that the SSH protocol has for it (RFC 4252)."""
    shown_as: str
    attempt: Callable[[Transport, str], Sequence[str]]
    """Try it; the methods that the server still wants, none when the login is complete. Raises what paramiko raises."""


def methods_of(credentials: Credentials, undo: ExitStack) -> list[Method]:
    """What can be tried until `undo` ends. The error of the explicit key if there is nothing else, else NoAuthMethod."""
    found: list[Method] = []
    unusable: ConnectFailed | None = None
    try:
        key = _explicit_key(credentials)
        if key is not None:
            found.append(_by_key(key, "key"))
    except (BadKey, BadPassphrase) as error:
        unusable = error
    if credentials.use_agent:
        found += [_by_key(key, "agent") for key in _agent_keys(undo)]
        for path in dict.fromkeys([*credentials.identity_files, *default_key_files()]):
            try:
                found.append(_by_key(load_key_file(path, credentials.passphrase), "default key"))
            except (BadKey, BadPassphrase):
                continue
    if credentials.password:
        found += [_by_password(credentials.password), _by_answers(credentials.password)]
    if not found:
        raise unusable or NoAuthMethod
    return found


def log_in(transport: Transport, username: str, methods: Sequence[Method]) -> str:
    """Try the methods until the server is content; what the last one is called.

    AuthFailed, AuthPartial (one was accepted, the further ones are not at hand), HostTimeout or HostUnreachable.
    """
    from paramiko.ssh_exception import AuthenticationException, BadAuthenticationType, SSHException

    wanted: frozenset[str] | None = None  # anything
    is_partial = False
    for method in methods:
        if wanted is not None and method.kind not in wanted:
            continue
        try:
            further = method.attempt(transport, username)
        except BadAuthenticationType as refusal:
            wanted = frozenset(refusal.allowed_types)
            continue
        except AuthenticationException as refusal:
            if "timeout" in str(refusal).lower():
                raise HostTimeout from refusal
            if not transport.is_active():  # "too many authentication failures"
                break
            continue
        except (SSHException, EOFError, OSError) as error:
            if transport.is_active():
                continue  # this key cannot sign what the server wants
            # A server that has had enough of attempts ends the connection; the network ends it with a system error.
            raise (HostUnreachable if isinstance(error, OSError) else AuthFailed) from error
        if not further:
            return method.shown_as
        is_partial, wanted = True, frozenset(further)
    raise AuthPartial if is_partial else AuthFailed


def _explicit_key(credentials: Credentials) -> PKey | None:
    if credentials.private_key:
        return load_key(credentials.private_key, credentials.passphrase)
    if credentials.private_key_path:
        return load_key_file(credentials.private_key_path, credentials.passphrase)
    return None


def _agent_keys(undo: ExitStack) -> Sequence[PKey]:
    """The keys of the agent. One that says nothing, as while it asks somebody for a PIN, is done without."""
    from paramiko.agent import Agent
    from paramiko.ssh_exception import SSHException

    class TidyAgent(Agent):
        def _connect(self, conn: Any) -> None:
            try:
                cast(Any, super())._connect(conn)
            except BaseException:
                conn.close()  # paramiko leaves it open
                raise

    deadline = time.monotonic() + _AGENT_S
    try:
        agent = opened(TidyAgent, TidyAgent.close, lambda: time.monotonic() >= deadline, "ssh-agent")
    except (SSHException, OSError, ValueError):  # nobody serves the socket (any more), or a comment is no UTF-8
        return ()
    if agent is None:
        logger.warning("the SSH agent does not answer: doing without")
        return ()
    undo.callback(agent.close)  # the keys sign through it
    return agent.get_keys()


def _by_key(key: PKey, shown_as: str) -> Method:
    return Method(_PUBLIC_KEY, shown_as, lambda transport, username: transport.auth_publickey(username, key))


def _by_password(password: str) -> Method:
    return Method(
        _PASSWORD,
        "password",
        # Without paramiko's own fallback: whether the server takes answers instead is tried next, once.
        lambda transport, username: transport.auth_password(username, password, fallback=False),
    )


def _by_answers(password: str) -> Method:
    def answer(title: str, instructions: str, prompts: Sequence[tuple[str, bool]]) -> list[str]:
        return [password] * len(prompts)

    return Method(_INTERACTIVE, _INTERACTIVE, lambda transport, username: transport.auth_interactive(username, answer))
