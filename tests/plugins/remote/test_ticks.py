"""Files that are written twice within one tick of a clock that knows whole seconds."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from runicorn_remote.enumeration import RemoteFile
from runicorn_remote.ticks import TICK_S, Ticks
from tests.plugins.remote.mirroring import RUN, mirroring, wait_for_scans, write_run
from tests.serving import wait_until
from tests.ssh_server import sshd_or_skip


def test_a_look_counts_from_when_the_tick_is_over_for_the_same_form_only() -> None:
    ticks = Ticks()
    file = RemoteFile("a", 4, 7 * 10**9)
    before = time.monotonic()
    ticks.note(file)
    after = time.monotonic()
    assert not ticks.is_over(file, before + TICK_S - 0.001)
    assert ticks.is_over(file, after + TICK_S)
    assert not ticks.is_over(RemoteFile("a", 5, 7 * 10**9), after + TICK_S)
    assert not ticks.is_over(RemoteFile("b", 4, 7 * 10**9), after + TICK_S)
    ticks.note(file)  # it is the same as before: the time of the first sight counts
    assert ticks.is_over(file, after + TICK_S)
    ticks.forget("a")
    assert not ticks.is_over(file, after + TICK_S)


@pytest.mark.slow(2)
@pytest.mark.usefixtures("ssh_directory")
@pytest.mark.parametrize("commands", [True, False])
def test_a_mirror_brings_the_last_of_contents_with_one_size_and_time(tmp_path: Path, commands: bool) -> None:
    remote, local = tmp_path / "there", tmp_path / "here"
    run = write_run(remote, status="running")
    summary, copy = run / "summary.json", local / RUN / "summary.json"
    tick_ns = int(time.time()) * 10**9

    def write(content: str) -> None:
        beside = summary.with_suffix(".tmp")  # a scan must not see the time of the writing
        beside.write_text(content)
        os.utime(beside, ns=(tick_ns, tick_ns))
        beside.replace(summary)

    write('{"a": 1}')
    config = () if commands else ("ForceCommand internal-sftp",)
    with (
        sshd_or_skip(home=tmp_path / "home-there", extra_config=config) as sshd,
        mirroring(sshd, remote, local) as task,
    ):
        wait_until(copy.exists)
        assert copy.read_text() == '{"a": 1}'
        write('{"a": 2}')
        wait_until(lambda: copy.read_text() == '{"a": 2}', f"{task.report()}")
        wait_for_scans(task)
        inode = copy.stat().st_ino
        wait_for_scans(task, 4)
        assert copy.stat().st_ino == inode  # it is not written again and again
        assert task.report().stats.failed_files == 0
