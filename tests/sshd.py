"""A throw-away OpenSSH server on loopback, for tests.

Standard library only.  Needs the programs `sshd` and `ssh-keygen` (Debian: `apt-get install openssh-server`);
no system service, no extra account, nothing written outside its own directory (as root also `/run/sshd`).
Login is by key, as the user that runs the tests.

    with Sshd() as server:
        client.connect(server.host, server.port, server.username, key_filename=str(server.private_key_path))

Run `python sshd.py` to get a server to play with until Ctrl-C.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import getpass
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["Sshd", "SshdError", "SshdNotFound", "find_program"]

# Below the usual ephemeral ranges: a client that keeps dialling a *closed* loopback port inside that range can end up
# connected to itself, and any outgoing connection may take the port while the server is down.
_PORTS = range(20000, 32000)
# Lines that only newer servers know; each is kept only if `sshd -t` accepts it.
_OPTIONAL = ("PerSourcePenalties no",)


class SshdError(RuntimeError):
    """The server could not be set up or did not come up; the message ends with its log."""


class SshdNotFound(SshdError):
    """A program of OpenSSH is not installed."""


def find_program(name: str) -> str:
    """Absolute path of an OpenSSH program (sshd insists on an absolute one); the sbin folders are often not on PATH."""
    folders = [*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/sbin", "/usr/local/sbin", "/sbin"]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise SshdNotFound(
            f"{name} not found on PATH, /usr/sbin, /usr/local/sbin or /sbin; "
            "on Debian or Ubuntu: apt-get update && apt-get install -y openssh-server"
        )
    return os.path.abspath(found)


class Sshd:
    """One server: a context manager, or `start()` / `stop()`.

    `directory`      where keys, configuration and log go; a temporary one, removed at the end, if not given.
    `home`           what the server side calls home (`$HOME` and the SFTP start folder), instead of the real one;
                       commands still *start* in the account's real home.
    `host_key_type`, `client_key_type`   `ed25519`, `rsa` or `ecdsa`.
    `sftp`           False: a server without the SFTP subsystem.
    `extra_config`   further sshd_config lines; they come first, and sshd lets the first occurrence of a keyword win.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        home: str | os.PathLike[str] | None = None,
        host_key_type: str = "ed25519",
        client_key_type: str = "ed25519",
        sftp: bool = True,
        extra_config: Iterable[str] = (),
        start_timeout: float = 10.0,
    ) -> None:
        self._sshd = find_program("sshd")
        self._keygen = find_program("ssh-keygen")
        self._given_directory = Path(directory) if directory is not None else None
        self._home = Path(home).absolute() if home is not None else None
        if self._home is not None and set(str(self._home)) & set(' \t"%'):
            raise ValueError(
                f"home must be a path without white space, quotes and %: {self._home}"
            )  # sshd mangles these
        self._host_key_type = host_key_type
        self._client_key_type = client_key_type
        self._sftp = sftp
        self._extra_config = tuple(extra_config)
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []
        self._key_count = 0
        self.username = _current_user()
        self.port = 0
        self.directory: Path | None = None

    def __enter__(self) -> Sshd:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> Sshd:
        """Start the server; keys and port are made on the first start and kept on later ones."""
        if self.running:
            return self
        if self.directory is None:
            self._prepare()
        if os.geteuid() == 0:  # privilege separation folder: required of root only, and lost at every boot
            Path("/run/sshd").mkdir(mode=0o755, parents=True, exist_ok=True)
        attempts = 1 if self.port else 5  # a freshly picked port may be taken between the pick and the bind
        for attempt in range(attempts):
            fresh = not self.port
            if fresh:
                self.port = _free_port(self.host)
            try:
                self._launch()
                return self
            except SshdError as error:
                if fresh:
                    self.port = 0
                if attempt + 1 == attempts or "Address already in use" not in str(error):
                    self.stop()
                    raise
        raise AssertionError("unreachable")

    def stop(self) -> None:
        """Kill everything and remove the temporary directory.  Safe to call at any time, also twice or while frozen."""
        self.kill()
        atexit.unregister(self.stop)
        if self._given_directory is None and self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None

    def kill(self) -> None:
        """Drop dead: the listener *and* every open session end at once (the listener alone would leave them alive)."""
        if self._process is None:
            return
        # Stopped parents neither fork nor reap, so the pids below cannot change their meaning before the kill.
        for pid in reversed(self._stop_tree()):
            _signal(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        self._frozen = []

    def restart(self) -> None:
        """Kill, then come back on the same port with the same host key."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP the listener and all sessions: sockets stay open, nothing answers any more (new connections too)."""
        if not self.running:
            raise SshdError("the server is not running")
        self._frozen = self._stop_tree()

    def thaw(self) -> None:
        """Undo `freeze()`."""
        for pid in reversed(self._frozen):
            _signal(pid, signal.SIGCONT)
        self._frozen = []

    def change_host_key(self, key_type: str | None = None) -> str:
        """Kill, make a new host key (of another type if asked), restart on the same port; the new fingerprint."""
        self.kill()
        self._host_key_type = key_type or self._host_key_type
        self._make_host_key()
        self.start()
        return self.host_key_fingerprint

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise SshdError("the server is not running")
        return self._process.pid

    @property
    def private_key_path(self) -> Path:
        """The client key that may log in (no passphrase); its public half is beside it with `.pub`."""
        return self._path("client_key")

    @property
    def host_key_fingerprint(self) -> str:
        """`SHA256:…` of the host key, written as ssh and ssh-keygen write it."""
        return _fingerprint(self._host_key_blob())

    @property
    def host_key_type(self) -> str:
        """Wire name of the key type, for example `ssh-ed25519`."""
        return self._path("host_key.pub").read_text().split()[0]

    @property
    def known_hosts_line(self) -> str:
        return f"[{self.host}]:{self.port} {self.host_key_type} {self._host_key_blob()}\n"

    @property
    def log(self) -> str:
        """Everything the server has logged so far, over all restarts."""
        path = self._path("log")
        return path.read_text(errors="replace") if path.exists() else ""

    def sessions(self) -> list[int]:
        """Pids of the listener's descendants: at least one per open connection, none when all clients are gone."""
        return _descendants(self.pid) if self.running else []

    def wait_idle(self, timeout: float = 5.0) -> bool:
        """Wait until no connection is left (a client that forgets to close its socket makes this False)."""
        return _wait(lambda: not self.sessions(), timeout)

    def new_client_key(self, key_type: str = "ed25519", *, passphrase: str = "", authorized: bool = True) -> Path:
        """Another client key: encrypted if a passphrase is given, refused by the server if not `authorized`."""
        self._key_count += 1
        path = self._path(f"client_key_{self._key_count}")
        self._make_key(path, key_type, passphrase)
        if authorized:
            with self._path("authorized_keys").open("a") as file:
                file.write(path.with_suffix(".pub").read_text())
        return path

    def _path(self, name: str) -> Path:
        if self.directory is None:
            raise SshdError("the server was never started, or is stopped and its directory removed")
        return self.directory / name

    def _prepare(self) -> None:
        if self._given_directory is None:
            self.directory = Path(tempfile.mkdtemp(prefix="sshd-"))
            atexit.register(self.stop)
        else:
            self.directory = self._given_directory.absolute()
            self.directory.mkdir(parents=True, exist_ok=True)
        try:
            if self._home is not None:
                self._home.mkdir(parents=True, exist_ok=True)
            self._make_host_key()
            self._make_key(self.private_key_path, self._client_key_type)
            shutil.copyfile(self._path("client_key.pub"), self._path("authorized_keys"))
            self._path("authorized_keys").chmod(0o644)
        except BaseException:
            self.stop()
            raise

    def _make_host_key(self) -> None:
        self._make_key(self._path("host_key"), self._host_key_type)

    def _make_key(self, path: Path, key_type: str, passphrase: str = "") -> None:
        for old in (path, path.with_suffix(".pub")):
            old.unlink(missing_ok=True)
        size = ["-b", "2048"] if key_type == "rsa" else []
        command = [self._keygen, "-q", "-t", key_type, *size, "-N", passphrase, "-C", "test", "-f", str(path)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise SshdError(f"ssh-keygen failed: {done.stderr.strip() or done.stdout.strip()}")

    def _host_key_blob(self) -> str:
        return self._path("host_key.pub").read_text().split()[1]

    def _config(self, optional: Iterable[str]) -> str:
        lines = [
            *self._extra_config,
            f"Port {self.port}",
            f"ListenAddress {self.host}",
            f"HostKey {_quote(self._path('host_key'))}",
            f"PidFile {_quote(self._path('pid'))}",
            f"AuthorizedKeysFile {_quote(self._path('authorized_keys'))}",
            "StrictModes no",  # else every parent folder must be private, which a temporary folder is not
            "UsePAM no",
            "PubkeyAuthentication yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "MaxStartups 1000",  # else a few failed logins make it drop good ones
            "UseDNS no",
            "PrintMotd no",
            "LogLevel VERBOSE",  # INFO or more: the start waits for a line of the log
            *optional,
        ]
        if self._home is not None:
            lines.append(f"SetEnv HOME={_quote(self._home)}")
        if self._sftp:
            start = f" -d {_quote(self._home)}" if self._home is not None else ""
            lines.append(f"Subsystem sftp internal-sftp{start}")
        return "\n".join(lines) + "\n"

    def _launch(self) -> None:
        config = self._path("sshd_config")
        accepted: list[str] = []
        for line in _OPTIONAL:
            config.write_text(self._config([*accepted, line]))
            if self._check(config).returncode == 0:
                accepted.append(line)
        config.write_text(self._config(accepted))
        check = self._check(config)
        if check.returncode:
            raise SshdError(f"sshd refuses its configuration: {check.stderr.strip()}")
        log = self._path("log")
        before = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._sshd, "-D", "-e", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in the terminal is for the tests, not for the server
            )
        # The log says when it listens; probing the port would count as a (failed) connection.
        ready = f"Server listening on {self.host} port {self.port}".encode()
        process = self._process
        _wait(lambda: ready in _tail(log, before) or process.poll() is not None, self._start_timeout)
        if ready not in _tail(log, before) or process.poll() is not None:
            self.kill()
            raise SshdError("sshd did not start:\n" + _tail(log, before).decode(errors="replace"))

    def _check(self, config: Path) -> subprocess.CompletedProcess[str]:
        command = [self._sshd, "-t", "-f", str(config)]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)

    def _stop_tree(self) -> list[int]:
        """SIGSTOP the listener and, until no new ones appear, all its descendants; parents before children."""
        assert self._process is not None
        stopped = [self._process.pid]
        _signal(self._process.pid, signal.SIGSTOP)
        while fresh := [pid for pid in _descendants(self._process.pid) if pid not in stopped]:
            for pid in fresh:
                _signal(pid, signal.SIGSTOP)
            stopped += fresh
        return stopped


def _current_user() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name  # not $USER: sshd looks at the account
    except (ImportError, KeyError):
        return getpass.getuser()


def _quote(path: Path) -> str:
    return f'"{path}"'


def _fingerprint(blob: str) -> str:
    digest = hashlib.sha256(base64.b64decode(blob)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _free_port(host: str) -> int:
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise SshdError("no free port")


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _tail(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read()


def _wait(condition: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _descendants(pid: int) -> list[int]:
    """All living descendants of a process, parents first."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found, queue = [], [pid]
    while queue:
        batch = children.get(queue.pop(0), [])
        found += batch
        queue += batch
    return found


def _parents() -> Iterable[tuple[int, int]]:
    """(pid, parent pid) of every process that is not a zombie."""
    if os.path.isdir("/proc/self"):
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    stat = Path("/proc", entry, "stat").read_text(errors="replace")
                except OSError:  # it ended meanwhile
                    continue
                state, parent = stat.rpartition(")")[2].split()[:2]  # the name before ")" may contain anything
                if state not in "ZX":
                    yield int(entry), int(parent)
    else:
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
        for line in listing.stdout.splitlines():
            child, parent, state = line.split(None, 2)
            if not state.startswith("Z"):
                yield int(child), int(parent)


def main() -> None:
    with Sshd() as server:
        print(f"{server.known_hosts_line}{server.host_key_fingerprint}")
        print(f"ssh -i {server.private_key_path} -p {server.port} {server.username}@{server.host}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
