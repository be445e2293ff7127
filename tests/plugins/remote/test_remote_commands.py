"""`runicorn remote`, as a user calls it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import commands
from tests.plugins.remote.mirroring import mirrored, write_run
from tests.serving import wait_until
from tests.sshd import Sshd

Write = Callable[[str], None]


@pytest.fixture(autouse=True)
def _home(ssh_directory: Path) -> None:
    """No test reads the configuration of whoever runs it."""


def runicorn(*arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.runicorn("remote", *arguments)


def test_hosts_are_listed_for_people(write_config: Write, ssh_directory: Path) -> None:
    write_config(
        "Host gpu\n HostName gpu.lab\n User me\n ProxyJump gate\n IdentityFile ~/.ssh/key\nHost gate *.lab\n Port 2\n"
    )
    done = runicorn("hosts")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "gpu: me@gpu.lab:22",
        "  through gate",
        f"  key {ssh_directory}/key (missing)",
        "gate: gate:2",
    ]


def test_hosts_are_listed_for_programs(write_config: Write, ssh_directory: Path) -> None:
    write_config("Host gpu\n HostName gpu.lab\n IdentityFile ~/.ssh/config\n")
    assert json.loads(runicorn("hosts", "--json").stdout) == [
        {
            "alias": "gpu",
            "hostname": "gpu.lab",
            "user": None,
            "port": 22,
            "proxy_jump": None,
            "proxy_command": None,
            "identity_files": [{"path": str(ssh_directory / "config"), "exists": True}],
            "key_alias": None,
        }
    ]


def test_match_exec_runs_its_command(write_config: Write) -> None:
    write_config('Host gpu\nMatch exec "true"\n Port 5\nMatch exec "false"\n User nobody\n')
    command = [sys.executable, "-m", "runicorn", "remote", "hosts"]  # paramiko leaves the pipes of the command open
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "gpu: gpu:5\n"


def test_an_empty_list_says_so() -> None:
    assert runicorn("hosts").stdout == "No hosts in ~/.ssh/config.\n"
    assert json.loads(runicorn("hosts", "--json").stdout) == []


def test_a_broken_configuration_is_one_line(write_config: Write) -> None:
    write_config("nonsense\n")
    done = runicorn("hosts")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "~/.ssh/config cannot be understood: Unparsable line nonsense\n"


def test_a_server_is_checked_by_its_alias(sshd: Sshd, write_config: Write, ssh_directory: Path) -> None:
    write_config(f"Host gpu\n HostName {sshd.host}\n Port {sshd.port}\n User me\n")
    done = runicorn("check", "gpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"gpu ({sshd.host}:{sshd.port}) answers: SSH-2.0-OpenSSH" in done.stdout
    assert sshd.host_key_fingerprint in done.stdout
    assert "unknown" in done.stdout
    (ssh_directory / "known_hosts").write_text(sshd.known_hosts_line)
    report = json.loads(runicorn("check", "someone@gpu", "--json").stdout)
    banner = report.pop("banner")
    assert banner.startswith("SSH-2.0-")
    assert report == {
        "ok": True,
        "alias": "gpu",
        "hostname": sshd.host,
        "port": sshd.port,
        "user": "me",
        "key_type": sshd.host_key_type,
        "fingerprint": sshd.host_key_fingerprint,
        "is_known": True,
    }


def test_a_mismatch_fails(sshd: Sshd, write_config: Write, ssh_directory: Path) -> None:
    write_config(f"Host gpu\n HostName {sshd.host}\n Port {sshd.port}\n")
    (ssh_directory / "known_hosts").write_text(sshd.known_hosts_line)
    sshd.change_host_key()
    done = runicorn("check", "gpu")
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not match" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_every_failure_is_one_line_and_status_1(write_config: Write) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    write_config(f"Host closed\n HostName 127.0.0.1\n Port {port}\nHost inner\n ProxyJump gate\n")
    for name, part in (
        ("closed", "refused"),
        ("no-such-host.invalid", "not known"),
        ("inner", "ProxyJump gate"),
        ("", "not known"),
    ):
        done = runicorn("check", name)
        assert (done.returncode, done.stdout) == (1, "")
        assert part in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [("check",), ("connect",), ("add", "lab")])
def test_a_host_that_a_shell_would_run_is_one_line_and_runs_nothing(
    write_config: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config('Match exec "true %n"\n Port 1\n')
    done = runicorn(*command, "$(touch${IFS}oops)")
    assert (done.returncode, done.stdout) == (1, "")
    assert "what a shell interprets" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "oops").exists()


def test_a_failure_is_json_where_json_was_asked_for() -> None:
    done = runicorn("check", "--json", "no-such-host.invalid")
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    assert (report["ok"], report["alias"], report["code"]) == (False, "no-such-host.invalid", "dns")


def test_a_peer_that_is_not_ssh_prints_no_traceback(write_config: Write) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        write_config(f"Host mute\n HostName 127.0.0.1\n Port {listener.getsockname()[1]}\n")
        done = runicorn("check", "mute", "--timeout", "0.5")
    assert (done.returncode, done.stdout) == (1, "")
    assert "timed out" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_other_commands_do_not_load_paramiko() -> None:
    program = "import sys; from runicorn.cli import main; main.list_commands(None); print('paramiko' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# ── reaching a machine ──────────────────────────────────────────────────────


@pytest.fixture
def gpu(sshd: Sshd, write_config: Write) -> Sshd:
    """A server with the alias `gpu`."""
    key = sshd.private_key_path
    write_config(f"Host gpu\n HostName {sshd.host}\n Port {sshd.port}\n User {sshd.username}\n IdentityFile {key}\n")
    return sshd


def test_a_directory_of_an_alias_is_listed(gpu: Sshd, tmp_path: Path) -> None:
    (tmp_path / "remote-home" / "data").mkdir(parents=True)
    (tmp_path / "remote-home" / "notes.txt").write_text("hello")
    done = runicorn("ls", "gpu")
    assert done.returncode == 0, done.stderr
    assert "data/" in done.stdout
    assert "Trusting gpu from now on" in done.stderr
    listed = json.loads(runicorn("ls", "gpu", "~", "--json").stdout)
    assert [(item["name"], item["size"]) for item in listed["items"]] == [("data", 0), ("notes.txt", 5)]
    (tmp_path / "remote-home" / "data" / "odd\x1b[2J").write_text("")
    assert "odd\ufffd[2J\n" in runicorn("ls", "gpu", "data").stdout, "names cannot control the terminal"
    absent = runicorn("ls", "gpu", "absent")
    assert (absent.returncode, absent.stdout, absent.stderr) == (1, "", "Remote path not found: absent\n")


def test_a_root_is_brought_once(gpu: Sshd, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    write_run(remote)
    done = runicorn("sync", "gpu", str(remote), "--storage", str(tmp_path / "local"))
    assert done.returncode == 0, done.stderr
    assert "4 files" in done.stdout
    assert mirrored(tmp_path / "local") == mirrored(remote)
    again = runicorn("sync", "gpu", str(remote), "--storage", str(tmp_path / "local"), "--json")
    assert json.loads(again.stdout.splitlines()[-1])["stats"]["copied_files"] == 0
    assert gpu.wait_idle()


def test_a_root_is_followed_until_interrupted(gpu: Sshd, tmp_path: Path) -> None:
    remote, local = tmp_path / "remote", tmp_path / "local"
    run = write_run(remote, status="running")
    arguments = ["mirror", "gpu", str(remote), "--storage", str(local), "--interval", "0.5", "--json"]
    command = [sys.executable, "-m", "runicorn", "remote", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: mirrored(local) == mirrored(remote))
        with (run / "logs.txt").open("a") as file:
            file.write("15:30:46 | again\n")
        wait_until(lambda: mirrored(local) == mirrored(remote))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    trusting = f"Trusting gpu from now on: {gpu.host_key_type} {gpu.host_key_fingerprint}\n"
    assert (process.returncode, err) == (0, trusting)
    assert [json.loads(line)["state"] for line in out.splitlines()][-1] == "stopped"


def test_a_login_that_fails_is_one_line_with_advice(gpu: Sshd, ssh_directory: Path) -> None:
    key = gpu.new_client_key("ed25519", authorized=False)
    (ssh_directory / "config").write_text("")
    done = runicorn("ls", f"{gpu.username}@{gpu.host}:{gpu.port}", "-i", str(key))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Invalid credentials. Check the user name" in done.stderr


PAGE = Path(__file__).parents[3] / "docs" / "remote.md"
# Downloads need a server that is connected: tests/contract/test_remote_download_command.py runs them.
DOCUMENTED = re.findall(r"^\$ runicorn remote ((?!download ).*?)(?:  +#.*)?$", PAGE.read_text(), re.M)


@pytest.mark.parametrize("line", DOCUMENTED)
def test_the_commands_of_the_documentation_work(
    line: str, sshd: Sshd, write_config: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = sshd.private_key_path
    write_config(
        f"Host gpu-box\n HostName {sshd.host}\n Port {sshd.port}\n User {sshd.username}\n IdentityFile {key}\n"
    )
    remote = tmp_path / "data" / "runicorn"
    write_run(remote)
    monkeypatch.setenv("RUNICORN_DIR", str(tmp_path / "local"))
    words = line.replace("/data/runicorn", str(remote)).replace(" /data", f" {tmp_path / 'data'}").split()
    command = [sys.executable, "-m", "runicorn", "remote", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if words[0] == "mirror":
            wait_until(lambda: mirrored(tmp_path / "local") == mirrored(remote))
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, bool(out)) == (0, True), err
