"""`init(…, remote="ssh://…")`: a training in a process of its own, a real SSH server, and what arrives there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import runicorn as rn
from runicorn.config import user_config_dir
from tests.plugins.remote.mirroring import mirrored
from tests.serving import wait_until
from tests.sshd import Sshd

SCRIPT = """
import logging, os, sys, threading, time
import runicorn as rn
logging.basicConfig(format="%(message)s")
storage, remote = sys.argv[1:3]
"""


@pytest.fixture
def alias(sshd: Sshd, write_config: Callable[[str], None]) -> Iterator[str]:
    """The name of a machine that is known, and no push that outlives the test."""
    key = sshd.private_key_path
    write_config(f"Host gpu\n HostName {sshd.host}\n Port {sshd.port}\n User {sshd.username}\n IdentityFile {key}\n")
    yield "gpu"
    for process in pushes():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
            process.wait(10)


def pushes() -> list[psutil.Process]:
    """The processes that push for a training of this test: their configuration is in its directory."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "--follow" in process.cmdline() and str(user_config_dir()) in " ".join(process.cmdline()):
                found.append(process)
    return found


def logs() -> list[Path]:
    return list((user_config_dir() / "pushes").glob("*.log"))


def train(local: Path, remote: str, body: str, **environment: str) -> subprocess.Popen[str]:
    """A training that begins a run, and then does `body`."""
    begin = "run = rn.init('vision', storage, name='resnet', remote=remote)\n"
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT + begin + textwrap.dedent(body), str(local), remote],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def ended(training: subprocess.Popen[str]) -> tuple[str, str]:
    """What a training printed that ended well."""
    out, err = training.communicate(timeout=120)
    assert training.returncode == 0, err
    return out, err


LOG_UNTIL_TOLD = """
    def log():
        step = 0
        while not told.is_set():
            step += 1
            rn.log(loss=1 / step, step=step)
            if step % 50 == 0:
                rn.log_text(f"step {step}")
            time.sleep(0.001)
    told = threading.Event()
    thread = threading.Thread(target=log)
    thread.start()
    sys.stdin.readline()
    told.set()
    thread.join()
"""


def lines_of(root: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in root.glob("vision/resnet/runs/*/events.jsonl"))


def test_a_live_run_grows_there_and_is_the_same_in_the_end(alias: str, tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    training = train(
        local, f"ssh://{alias}{remote}", LOG_UNTIL_TOLD + "    rn.summary({'best': 1.0})\n    rn.finish()\n"
    )
    wait_until(lambda: lines_of(remote) > 100, timeout_s=60)
    before = lines_of(remote)
    wait_until(lambda: lines_of(remote) > before, timeout_s=60)
    assert training.stdin is not None
    training.stdin.write("\n")
    training.stdin.flush()
    _, err = ended(training)
    assert mirrored(remote) == mirrored(local)
    assert '"finished"' in next(remote.glob("vision/resnet/runs/*/status.json")).read_text()
    assert "not complete" not in err
    wait_until(lambda: not pushes(), timeout_s=30)
    assert logs() == []


def test_a_connection_that_is_cut_in_the_middle_costs_nothing(sshd: Sshd, alias: str, tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    training = train(local, f"ssh://{alias}{remote}", LOG_UNTIL_TOLD + "    rn.finish()\n")
    for _ in range(2):
        before = lines_of(remote)
        wait_until(lambda before=before: lines_of(remote) > before, timeout_s=90)
        sshd.kill()
        there = lines_of(remote)
        wait_until(lambda there=there: lines_of(local) > there + 50, timeout_s=60)
        sshd.start()
    assert training.stdin is not None
    training.stdin.write("\n")
    training.stdin.flush()
    ended(training)
    wait_until(lambda: not pushes(), timeout_s=60)
    assert mirrored(remote) == mirrored(local)
    assert logs() == []


def test_a_training_that_is_killed_is_there_as_far_as_it_came(alias: str, tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    training = train(local, f"ssh://{alias}{remote}", LOG_UNTIL_TOLD)
    wait_until(lambda: lines_of(remote) > 100, timeout_s=60)
    training.send_signal(signal.SIGKILL)
    training.communicate(timeout=30)
    wait_until(lambda: not pushes(), timeout_s=60)
    assert mirrored(remote) == mirrored(local)
    assert '"running"' in next(remote.glob("vision/resnet/runs/*/status.json")).read_text()


def test_the_end_waits_for_a_frozen_server_only_so_long_and_names_what_completes_it(
    sshd: Sshd, alias: str, tmp_path: Path
) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    body = """
    print("begun", flush=True)
    sys.stdin.readline()
    rn.log(loss=0.5)
    start = time.monotonic()
    rn.finish()
    print(time.monotonic() - start)
    """
    training = train(local, f"ssh://{alias}{remote}", body, RUNICORN_PUSH_WAIT_S="1")
    wait_until(lambda: list(remote.glob("vision/resnet/runs/*/status.json")) != [], timeout_s=60)
    sshd.freeze()
    try:
        assert training.stdin is not None
        training.stdin.write("\n")
        training.stdin.flush()
        out, err = ended(training)
    finally:
        sshd.thaw()
    assert float(out.split()[-1]) < 10  # 1 s and what a busy machine adds; the push alone would take 15 s and more
    command = next(line for line in err.splitlines() if "This command completes it: " in line).partition("it: ")[2]
    wait_until(lambda: not pushes(), timeout_s=90)
    done = subprocess.run(
        ["bash", "-c", command.replace("runicorn", f"{sys.executable} -m runicorn", 1)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert mirrored(remote) == mirrored(local)


@pytest.mark.parametrize("trouble", ["no host", "refused", "wrong key", "unknown host key"])
def test_trouble_is_a_warning_and_the_training_goes_on(
    trouble: str, sshd: Sshd, alias: str, write_config: Callable[[str], None], tmp_path: Path
) -> None:
    key = str(sshd.private_key_path)
    lines = {"HostName": sshd.host, "Port": str(sshd.port), "User": sshd.username, "IdentityFile": key}
    environment = {"RUNICORN_PUSH_WAIT_S": "60" if trouble in ("wrong key", "unknown host key") else "1"}
    if trouble == "no host":
        lines["HostName"] = "no-such-host.invalid"
    elif trouble == "refused":
        sshd.kill()
    elif trouble == "wrong key":
        lines["IdentityFile"] = str(sshd.new_client_key(authorized=False))
    else:
        environment["RUNICORN_SSH_STRICT"] = "1"
    write_config("Host gpu\n" + "".join(f" {key} {value}\n" for key, value in lines.items()))
    local = tmp_path / "local"
    training = train(
        local, f"ssh://gpu{tmp_path}/remote", "rn.log(loss=0.5)\nrn.finish()\nprint('went on')\n", **environment
    )
    out, err = ended(training)
    assert "went on" in out
    assert lines_of(local) > 0
    text = {
        "no host": "not known",
        "refused": "refused",
        "wrong key": "Invalid credentials",
        "unknown host key": "is not known: SHA256:",
    }[trouble]
    if trouble in ("wrong key", "unknown host key"):
        assert text in err
        assert "was not pushed. This command completes it" in err
    else:
        assert "This command completes it" in err
    wait_until(lambda: any(text in path.read_text() for path in logs()), timeout_s=60)
    assert not (tmp_path / "remote").exists()


def test_sigterm_has_a_push_end_with_what_is_there(alias: str, tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    training = train(local, f"ssh://{alias}{remote}", "rn.log(loss=0.5)\nsys.stdin.readline()\nos._exit(0)\n")
    wait_until(lambda: lines_of(remote) > 0, timeout_s=60)
    (process,) = pushes()
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: not pushes(), timeout_s=60)
    assert mirrored(remote) == mirrored(local)
    training.communicate("\n", timeout=30)


def test_an_end_by_a_forked_child_is_not_the_last_push(alias: str, tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    body = """
    pid = os.fork()
    if not pid:
        rn.log(child=1.0)
        rn.finish("child")
        os._exit(0)
    os.waitpid(pid, 0)
    rn.log(loss=0.5)
    rn.finish()
    """
    ended(train(local, f"ssh://{alias}{remote}", body, RUNICORN_PUSH_WAIT_S="60"))
    assert mirrored(remote) == mirrored(local)
    assert '"finished"' in next(remote.glob("vision/resnet/runs/*/status.json")).read_text()


@pytest.mark.parametrize("url", ["gpu:/data", "ssh://gpu", "ssh://me:hunter2@gpu/data", "ssh://gpu:0/data"])
def test_a_bad_url_raises_before_anything_is_made(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Invalid remote") as caught:
        rn.init("vision", tmp_path / "local", remote=url)
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "local").exists()
