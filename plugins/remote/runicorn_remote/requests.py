"""What the three connect endpoints take: checked as a whole before the first packet is sent."""

from __future__ import annotations

import re

import msgspec

from runicorn.plugin import BadInput
from runicorn_remote.connector import Target
from runicorn_remote.credentials import Credentials
from runicorn_remote.host_keys import HostKeyPolicy
from runicorn_remote.ssh_config import checked_host_name

_USERNAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,128}")
_DIGITS = re.compile(r"[0-9]{1,9}")


class ConnectRequest(msgspec.Struct, kw_only=True):
    """Where to, as whom, and with which secrets. `pkey` and `pkey_path` are older names of the key fields."""

    host: str | None = None
    port: int | str | None = None
    """22 if there is none."""
    username: str | None = None
    password: str | None = None
    private_key: str | None = None
    private_key_path: str | None = None
    pkey: str | None = None
    pkey_path: str | None = None
    passphrase: str | None = None
    use_agent: bool | None = True
    saved_key: str | None = None
    """The key of a saved connection: its host, user and secrets are used where the request has none."""
    accept_host_key: str | None = None
    """Connect only to a server with this fingerprint (`SHA256:…`), and trust it from then on."""
    strict_host_key: bool | None = None

    def __repr__(self) -> str:
        return "ConnectRequest(…)"

    def target(self) -> Target:
        """Host, port and user. BadInput or BadHostName names the first field that is wrong."""
        host, username = (self.host or "").strip(), (self.username or "").strip()
        host = host.removeprefix("[").removesuffix("]")
        if not host:
            raise BadInput("Missing required field: host")
        if not username:
            raise BadInput("Missing required field: username")
        if _USERNAME.fullmatch(username) is None:
            raise BadInput("Invalid value for username: 1 to 128 characters, without control characters")
        return Target(checked_host_name(host), self.port_number(), username)

    def port_number(self) -> int:
        """The port; a text of digits counts. BadInput beyond 1 to 65535."""
        port = 22 if self.port is None else self.port
        if isinstance(port, str):
            port = int(port) if _DIGITS.fullmatch(port.strip()) else 0
        if not 1 <= port <= 65535:
            raise BadInput("Invalid value for port: must be between 1 and 65535")
        return port

    def credentials(self) -> Credentials:
        """The secrets; empty texts count as absent."""
        return Credentials(
            password=self.password or None,
            private_key=self.private_key or self.pkey or None,
            private_key_path=self.private_key_path or self.pkey_path or None,
            passphrase=self.passphrase or None,
            use_agent=self.use_agent is not False,
        )

    def policy(self) -> HostKeyPolicy:
        """How the host key is judged: the user's setting, which the request can tighten. Reads a file: call it in a thread."""
        return HostKeyPolicy.configured(strict=self.strict_host_key, accepted=(self.accept_host_key or "").strip())
