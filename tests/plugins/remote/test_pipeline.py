"""Reading remote files with many requests in flight, from a real server."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from runicorn_remote.errors import OperationTimeout
from runicorn_remote.pipeline import Pipeline
from tests.plugins.remote.mirroring import connect_to
from tests.sshd import Sshd

_PATIENCE_S = 3.0


@pytest.mark.slow
def test_a_server_that_says_nothing_is_waited_for_once(sshd: Sshd, tmp_path: Path) -> None:
    """Neither the answers that are under way nor the end of the file are waited for again."""
    large = tmp_path / "large"
    large.write_bytes(os.urandom(32 << 20))
    connection = connect_to(sshd)
    try:
        sftp = connection.open_sftp()
        pieces = Pipeline(sftp).read(str(large), 0, large.stat().st_size)
        next(pieces)
        channel = sftp.get_channel()
        assert channel is not None
        channel.settimeout(_PATIENCE_S)
        sshd.freeze()
        heard: list[float] = [time.monotonic()]
        with pytest.raises(OperationTimeout):
            heard.extend(time.monotonic() for _ in pieces)
        assert time.monotonic() - heard[-1] < 2 * _PATIENCE_S
    finally:
        sshd.thaw()
        connection.close()
