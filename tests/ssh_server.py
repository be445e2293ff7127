"""An SSH server of the test's own: starting one costs a fiftieth of a second, and tests freeze, kill and rekey it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sshd import Sshd, SshdNotFound

__all__ = ["sshd"]


def sshd_or_skip(directory: Path | None = None, **options: Any) -> Sshd:
    """A server that is not started yet. Without OpenSSH the test is skipped, unless `RUNICORN_CI` is set."""
    try:
        return Sshd(directory, **options)
    except SshdNotFound as error:
        if os.environ.get("RUNICORN_CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A real server on loopback."""
    with sshd_or_skip(home=tmp_path / "remote-home") as server:
        yield server


_SFTP_SERVERS = [
    Path(path) for path in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server", "/usr/lib/ssh/sftp-server")
]


def sshd_with_script(directory: Path, home: Path, script: str) -> Sshd:
    """A server that hands every command, and the start of SFTP, to a shell script as `$SSH_ORIGINAL_COMMAND`.

    The script is written into `directory`, which every account that it turns to must be able to read.
    """
    sftp_server = next((path for path in _SFTP_SERVERS if path.exists()), None)
    if sftp_server is None:
        pytest.skip("there is no sftp-server that a script could start")
    path = directory / "every-command.sh"
    path.write_text(script)
    config = [f"Subsystem sftp {sftp_server}", f"ForceCommand sh {path}"]
    return sshd_or_skip(home=home, sftp=False, extra_config=config)


def sshd_as_nobody(directory: Path, home: Path) -> Sshd:
    """A server that carries everything out as an account to which no file belongs; a real one forbids nothing to root."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("another account is needed, which only root has")
    switch = "exec setpriv --reuid=65534 --regid=65534 --clear-groups"
    return sshd_with_script(directory, home, f'{switch} sh -c "$SSH_ORIGINAL_COMMAND"\n')
