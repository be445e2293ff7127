"""What `runicorn remote mirror` and `sync` show on a terminal."""

from __future__ import annotations

from pathlib import Path

import paramiko

from tests.plugins.remote.made_up_files import Entry, serving
from tests.plugins.remote.paramiko_server import ParamikoServer
from tests.terminal import on_terminal

HOME = "/home/\x1b]0;evil\x07[bold]me"


def test_a_server_cannot_write_to_the_terminal(tmp_path: Path, ssh_directory: Path) -> None:
    key = paramiko.ECDSAKey.generate()
    key.write_private_key_file(str(tmp_path / "key"))

    class Files(serving({HOME: {"notes.txt": Entry(b"hello")}})):
        def canonicalize(self, path: str) -> str:
            return HOME if path == "." else path

    with ParamikoServer(methods="publickey", files=Files) as server:
        server.accounts.keys.append(key.asbytes())
        host = f"me@127.0.0.1:{server.port}"
        more = {"HOME": str(ssh_directory.parent), "RUNICORN_CONFIG_DIR": str(tmp_path / "config")}
        sent = on_terminal(
            "remote", "sync", host, "~", "-i", str(tmp_path / "key"), "--storage", str(tmp_path / "here"), **more
        )
    assert (tmp_path / "here" / "notes.txt").read_text() == "hello"
    assert "\x1b]0;evil" not in sent
    assert "\ufffd]0;evil\ufffd[bold]me" in sent  # neither a control sequence nor markup
    assert "behind" in sent
    assert "waiting" in sent
