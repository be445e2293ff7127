"""SSH servers made of paramiko, for what a real one would not do: passwords without accounts, odd and hostile answers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Generator
from typing import Any

import paramiko

from runicorn_remote.connection import Connection
from runicorn_remote.connector import Target
from runicorn_remote.credentials import Credentials
from runicorn_remote.host_keys import HostKeyPolicy


class Accounts(paramiko.ServerInterface):
    """Who may log in. `attempts` records what clients sent, to prove that they sent nothing."""

    def __init__(self, password: str | None, methods: str, further: str | None) -> None:
        self.password = password
        self.methods = methods
        self.further = further
        self.keys: list[bytes] = []
        self.attempts: list[tuple[str, ...]] = []

    def get_allowed_auths(self, username: str) -> str:
        return self.methods

    def check_auth_password(self, username: str, password: str) -> int:
        self.attempts.append(("password", username, password))
        return self._result("password" in self.methods and password == self.password)

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.attempts.append(("publickey", username, key.get_name()))
        return self._result(key.asbytes() in self.keys)

    def check_auth_interactive(self, username: str, submethods: str) -> Any:
        self.attempts.append(("keyboard-interactive", username))
        return paramiko.InteractiveQuery("", "", ("Password: ", False))

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        return self._result(responses == [self.password])

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def _result(self, is_right: bool) -> int:
        if not is_right:
            return paramiko.AUTH_FAILED
        if self.further is not None:
            self.methods, self.further = self.further, None
            return paramiko.AUTH_PARTIALLY_SUCCESSFUL
        return paramiko.AUTH_SUCCESSFUL


class ParamikoServer:
    """A server on loopback, until `close`."""

    def __init__(
        self,
        *,
        password: str | None = "correct horse",
        methods: str = "password",
        further: str | None = None,
        host_key: paramiko.PKey | None = None,
        files: type[paramiko.SFTPServerInterface] | None = None,
        protocol: type[paramiko.SFTPServer] = paramiko.SFTPServer,
    ) -> None:
        """`files` answers SFTP requests, in the words of `protocol`; there is no SFTP without. Commands are refused."""
        self._files = files
        self._protocol = protocol
        self.accounts = Accounts(password, methods, further)
        self.host_key = host_key or paramiko.ECDSAKey.generate()
        self.transports: list[paramiko.Transport] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> ParamikoServer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._listener.close()
        for transport in self.transports:
            transport.close()
            with contextlib.suppress(RuntimeError):
                transport.join(5)

    def open_sessions(self) -> int:
        """How many clients are connected."""
        return sum(transport.is_active() for transport in self.transports)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(self.host_key)
            if self._files is not None:
                transport.set_subsystem_handler("sftp", self._protocol, self._files)
            self.transports.append(transport)
            try:
                transport.start_server(event=threading.Event(), server=self.accounts)
            except (paramiko.SSHException, EOFError, OSError):
                transport.close()


@contextlib.contextmanager
def connected_to(server: ParamikoServer) -> Generator[Connection]:
    """A connection to such a server."""
    credentials = Credentials(password="correct horse", use_agent=False)
    connection = Connection(Target("127.0.0.1", server.port, "me"), credentials, HostKeyPolicy())
    try:
        yield connection
    finally:
        connection.close()
