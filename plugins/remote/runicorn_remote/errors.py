"""What can go wrong on the way to a machine, and while talking to it.

    RemoteError                503
    ├── BadHostName            400   a shell would make more of it than a name
    ├── ConfigUnusable               ~/.ssh/config cannot be understood
    ├── BehindProxy                  only reached through another host or command
    ├── ConnectFailed                no connection was made, and nothing of the attempt is left
    │   ├── AuthFailed         401   the credentials were refused
    │   ├── AuthPartial        401   the server wants a further method
    │   ├── NoAuthMethod       400   there is nothing to authenticate with
    │   ├── BadKey             400   a private key that cannot be used
    │   │   └── BadKeyFile
    │   ├── BadPassphrase      400   an encrypted key without its passphrase
    │   ├── ConnectionRefused  400   nothing listens on the port
    │   ├── HostUnreachable    400   no route, or the connection broke
    │   ├── HostUnknown        400   the name does not resolve
    │   ├── HostTimeout        408   no answer in time
    │   ├── NotSsh             400   something listens, but it does not speak SSH
    │   ├── NegotiationFailed  400   it speaks SSH, but no key exchange is possible
    │   ├── HostKeyMismatch    400   not the key that known_hosts has, or a revoked one
    │   ├── HostKeyUnknown     400   a host that nobody has seen, where that is not accepted
    │   └── KnownHostsUnusable 503   our own known_hosts cannot be read or written
    └── OperationFailed              a connection is there, but a step on it failed
        ├── RemotePathNotFound 404
        ├── NotADirectory      400
        ├── PermissionDenied   403
        ├── BadPath            400
        ├── FileTooLarge       400   more than is read as a whole
        ├── SftpUnavailable    400
        ├── ChannelRefused     503   the server allows no more channels than there are
        ├── OperationTimeout   408
        └── ConnectionLost     503

Each has a short `code` for programs. The text of a ConnectFailed is for HTTP clients, `for_people` names the host and says
what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from runicorn.plugin import RunicornError, shown


class HostKey(msgspec.Struct, frozen=True):
    """A host key as people compare it."""

    type: str
    sha256: str
    """`SHA256:…`, as `ssh-keygen -lf` prints it."""


class RemoteError(RunicornError):
    """A remote machine cannot be used; the text names the cause."""

    status = 503
    code: ClassVar[str]


class BadHostName(RemoteError):
    """No name of a host: `~/.ssh/config` may hand it to a shell, so it must not hold what one interprets."""

    status, code = 400, "bad_host"

    def __init__(self) -> None:
        super().__init__(
            "Invalid value for host: 1 to 253 characters, without white space, /, @ and what a shell interprets"
        )


class ConfigUnusable(RemoteError):
    """The SSH configuration cannot be understood."""

    code = "config"


class BehindProxy(RemoteError):
    """Only reached through another host or command, which a check does not use."""

    code = "proxy"

    def __init__(self, address: str, setting: str) -> None:
        super().__init__(
            f"{address}: reached through {setting}, which a check does not follow. Check that host instead."
        )


_CONNECTION, _SSH, _AUTHENTICATION = "Connection failed: ", "SSH connection failed: ", "Authentication failed: "


class ConnectFailed(RemoteError):
    """No connection: `prefix` + `text` is the answer of the unified and remote endpoints, legacy ones have one prefix."""

    status = 400
    prefix: ClassVar[str]
    text: ClassVar[str]
    advice: ClassVar[str]
    is_final: ClassVar[bool] = False
    """Whether trying again cannot help: somebody has to change something first."""
    host_key: HostKey | None = None
    """The key that the server showed, where it came that far."""
    first_use: bool | None = None
    """Whether that key was stored by this attempt; None if it was not accepted, or is that of a jump host."""

    def __init__(self, address: str = "", text: str | None = None) -> None:
        self.address = address
        self.reason = self.text if text is None else text
        super().__init__(f"{self.prefix}{self.reason}")

    @property
    def extra(self) -> Mapping[str, object]:
        """The host key that was seen, for whoever has to decide about it."""
        if self.host_key is None:
            return {}
        stored = {} if self.first_use is None else {"first_use": self.first_use}
        return {"host_key": {**msgspec.to_builtins(self.host_key), **stored}}

    @property
    def for_people(self) -> str:
        """One sentence that names the host, one that says what to do."""
        return f"{self.address}: {self.reason}. {self.advice}".removeprefix(": ")


class AuthFailed(ConnectFailed):
    """The credentials were refused; also an unknown user, or too many attempts."""

    status, code, prefix = 401, "auth_failed", _AUTHENTICATION
    text = "Invalid credentials"
    advice = "Check the user name, and whether the server has the key or takes passwords."
    is_final = True


class AuthPartial(ConnectFailed):
    """One method was accepted, and the server asks for another that is not at hand."""

    status, code, prefix = 401, "auth_partial", _AUTHENTICATION
    text = "The server requires a further authentication method"
    advice = "Give a password beside the key."
    is_final = True


class NoAuthMethod(ConnectFailed):
    """Neither a key, nor an agent, nor a password."""

    code, prefix = "no_auth_method", _SSH
    text = "No authentication methods available"
    advice = "Give a key or a password, or start an SSH agent."
    is_final = True


class BadKey(ConnectFailed):
    """The text is not a private key of a supported type."""

    code, prefix = "bad_key", _SSH
    text = "Invalid private key format"
    advice = "Keys of the types RSA, Ed25519 and ECDSA can be used."
    is_final = True


class BadKeyFile(BadKey):
    """The file is missing, unreadable or not a key: one text for all, so that nobody can look for files by it."""

    text = "Cannot use private key file"


class BadPassphrase(ConnectFailed):
    """The key is encrypted."""

    code, prefix = "bad_passphrase", _SSH
    text = "Wrong or missing passphrase for the private key"
    advice = "Give the passphrase, or add the key to an SSH agent."
    is_final = True


class ConnectionRefused(ConnectFailed):
    """Nothing listens there."""

    code, prefix = "refused", _CONNECTION
    text = "Connection refused"
    advice = "Is an SSH server running there, and is it this port?"


class HostUnreachable(ConnectFailed):
    """The network does not get there."""

    code, prefix = "unreachable", _CONNECTION
    text = "Host unreachable"
    advice = "Check the network, a VPN, or a firewall."


class HostUnknown(ConnectFailed):
    """The name does not resolve."""

    code, prefix = "dns", _CONNECTION
    text = "Name or service not known"
    advice = "Check the spelling, and HostName in ~/.ssh/config."


class HostTimeout(ConnectFailed):
    """No answer in time."""

    status, code, prefix = 408, "timeout", _CONNECTION
    text = "Connection timed out"
    advice = "The host may be off, or behind a firewall."


class NotSsh(ConnectFailed):
    """Something else listens there, or drops the connection before it says what it is."""

    code, prefix = "protocol", _SSH
    text = "Error reading SSH protocol banner"
    advice = "Something answers there, but it does not speak SSH. Check the port."


class NegotiationFailed(ConnectFailed):
    """No common algorithms, or a broken peer."""

    code, prefix = "protocol", _SSH
    text = "SSH negotiation failed"
    advice = "Its SSH server may be too old."


class HostKeyMismatch(ConnectFailed):
    """The host shows another key than the one that is known, or one that is revoked (then `expected` may be None)."""

    code, prefix = "host_key_mismatch", _SSH
    text = "Host key does not match"
    advice = "Either the server was set up again, or somebody is in between. Do not log in before you know which."
    is_final = True

    def __init__(self, address: str, host: str, shown_key: HostKey, expected: HostKey | None) -> None:
        known = "another key" if expected is None else expected.sha256
        super().__init__(
            address, f"Host key for server '{shown(host)}' does not match: got {shown_key.sha256}, expected {known}"
        )
        self.host_key = shown_key
        self.expected_host_key = expected

    @property
    def extra(self) -> Mapping[str, object]:
        """Both keys."""
        expected = {"expected_host_key": msgspec.to_builtins(self.expected_host_key)} if self.expected_host_key else {}
        return {**super().extra, **expected}


class HostKeyUnknown(ConnectFailed):
    """Strict checking is on, and nobody has seen this host."""

    code, prefix = "host_key_unknown", _SSH
    text = "Host key is not known"
    advice = "Compare the fingerprint with what the server's owner says, then accept it."
    is_final = True

    def __init__(self, address: str, host: str, shown_key: HostKey) -> None:
        super().__init__(address, f"Host key for server '{shown(host)}' is not known: {shown_key.sha256}")
        self.host_key = shown_key


class KnownHostsUnusable(ConnectFailed):
    """Our own known_hosts cannot be read, written or understood: never a reason to start trusting afresh."""

    status, code, prefix = 503, "known_hosts_error", _SSH
    text = "Known hosts file is not usable"
    advice = "Look at known_hosts in Runicorn's configuration directory."


class OperationFailed(RemoteError):
    """A step on an open connection failed."""


class RemotePathNotFound(OperationFailed):
    """Nothing is there, or a link that leads nowhere."""

    status, code = 404, "not_found"

    def __init__(self, path: str) -> None:
        super().__init__(f"Remote path not found: {shown(path)}")


class NotADirectory(OperationFailed):
    """Something else than a directory."""

    status, code = 400, "not_a_directory"

    def __init__(self, path: str) -> None:
        super().__init__(f"Not a directory: {shown(path)}")


class PermissionDenied(OperationFailed):
    """The remote user must not do this."""

    status, code = 403, "permission_denied"

    def __init__(self, path: str) -> None:
        super().__init__(f"Permission denied: {shown(path)}")


class BadPath(OperationFailed):
    """A remote path that is not acceptable."""

    status, code = 400, "bad_path"

    def __init__(self, reason: str) -> None:
        super().__init__(f"Invalid remote path: {reason}")


class FileTooLarge(OperationFailed):
    """The server says that a file which is read as a whole is larger than any of its kind."""

    status, code = 400, "too_large"

    def __init__(self, path: str, max_bytes: int) -> None:
        super().__init__(f"Larger than {max_bytes} bytes: {shown(path)}")


class SftpUnavailable(OperationFailed):
    """The server has no SFTP."""

    status, code = 400, "sftp_unavailable"

    def __init__(self) -> None:
        super().__init__("SFTP client not available")


class ChannelRefused(OperationFailed):
    """The server opens no further channel, on this connection or another one."""

    status, code = 503, "channel_refused"

    def __init__(self) -> None:
        super().__init__("The remote server allows no further channels; stop a mirror, or raise MaxSessions there")


class OperationTimeout(OperationFailed):
    """No answer in time."""

    status, code = 408, "timeout"

    def __init__(self) -> None:
        super().__init__("Remote operation timed out")


class ConnectionLost(OperationFailed):
    """The connection ended meanwhile."""

    status, code = 503, "connection_lost"

    def __init__(self) -> None:
        super().__init__("Connection to the remote server was lost")
