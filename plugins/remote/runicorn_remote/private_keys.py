"""Private keys: RSA, Ed25519 and ECDSA, in OpenSSH, PKCS#1, SEC1 and PKCS#8 form, encrypted or not.

`cryptography` parses them; paramiko gets each in the one form that it reads of every type. (Given a file name, paramiko
tries its key classes in turn and reports the error of the last one.)
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from runicorn.plugin import open_to_read
from runicorn_remote.errors import BadKey, BadKeyFile, BadPassphrase

if TYPE_CHECKING:
    from paramiko.pkey import PKey

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
"""File names in `~/.ssh` that are tried without being asked for, the strongest first."""

_MAX_BYTES = 64 << 10
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"


def load_key(text: str, passphrase: str | None) -> PKey:
    """The key in `text`. BadKey or BadPassphrase."""
    return _load(text.encode("utf-8", "replace"), passphrase)


def load_key_file(path: str, passphrase: str | None) -> PKey:
    """The key in a file; `~` is expanded. BadKeyFile or BadPassphrase."""
    try:
        with open_to_read(os.path.expanduser(path)) as file:
            data = file.read(_MAX_BYTES + 1)
        return _load(data, passphrase)
    except (OSError, ValueError, BadKey):  # ValueError: a NUL in the path
        raise BadKeyFile from None


def default_key_files() -> list[str]:
    """The default keys of this user that exist."""
    directory = Path.home() / ".ssh"
    return [str(path) for name in DEFAULT_KEYS if _is_file(path := directory / name)]


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _load(data: bytes, passphrase: str | None) -> PKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    if len(data) > _MAX_BYTES:
        raise BadKey
    data = b"\n".join(line.strip() for line in data.strip().splitlines()) + b"\n"
    parse = load_ssh_private_key if data.startswith(_OPENSSH) else load_pem_private_key
    secret = passphrase.encode() if passphrase else None
    try:
        try:
            key = parse(data, secret)
        except TypeError:  # encrypted without a passphrase, or the other way round
            if secret is None:
                raise BadPassphrase from None
            key = parse(data, None)
    except (ValueError, UnsupportedAlgorithm) as error:
        if secret is not None and _is_encrypted(data):
            raise BadPassphrase from error
        raise BadKey from error
    return _for_paramiko(key)


def _is_encrypted(data: bytes) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    try:
        (load_ssh_private_key if data.startswith(_OPENSSH) else load_pem_private_key)(data, None)
    except TypeError:
        return True
    except (ValueError, UnsupportedAlgorithm):
        return b"ENCRYPTED" in data
    return False


def _for_paramiko(key: object) -> PKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from paramiko.ecdsakey import ECDSAKey
    from paramiko.ed25519key import Ed25519Key
    from paramiko.rsakey import RSAKey
    from paramiko.ssh_exception import SSHException

    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey | EllipticCurvePrivateKey):
        raise BadKey
    kind = RSAKey if isinstance(key, RSAPrivateKey) else Ed25519Key if isinstance(key, Ed25519PrivateKey) else ECDSAKey
    try:
        text = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
        return kind.from_private_key(io.StringIO(text))
    except (SSHException, ValueError) as error:  # a curve that SSH does not have
        raise BadKey from error
