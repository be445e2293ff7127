"""Keys of stored secrets: in the system keyring, or in `credentials.key`."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn.credentials.encryption import Encryption
from runicorn.credentials.key_file import KeyFile, is_key, new_key
from runicorn.credentials.keyring_key import SystemKeyring
from runicorn.user_config import NotSaved

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "made" / "when needed"


def encryption(directory: Path) -> Encryption:
    return Encryption(directory, SystemKeyring())


def test_the_key_file_is_made_when_first_needed_for_its_owner_alone(directory: Path) -> None:
    assert encryption(directory).decrypt("gAAAA") is None
    assert not directory.exists()
    token = encryption(directory).encrypt("hunter2 ü")
    assert encryption(directory).decrypt(token) == "hunter2 ü"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "credentials.key").stat().st_mode & 0o777 == 0o600


def test_one_text_has_a_different_token_each_time(directory: Path) -> None:
    cipher = encryption(directory)
    assert len({cipher.encrypt("same") for _ in range(20)}) == 20


@given(texts=st.lists(TEXT, min_size=1, max_size=3), damage=st.integers(0, 200))
def test_what_was_encrypted_comes_back_and_what_was_changed_does_not(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], damage: int
) -> None:
    cipher = encryption(tmp_path_factory.getbasetemp() / "property")
    for text in texts:
        token = cipher.encrypt(text)
        assert cipher.decrypt(token) == text
        place = damage % len(token)
        other = "A" if token[place] != "A" else "B"
        changed = token[:place] + other + token[place + 1 :]
        assert cipher.decrypt(changed) in (None, text)  # the last character of base64 has bits that nobody reads
        assert cipher.decrypt(text) is None


def test_a_key_file_that_others_can_read_is_closed(directory: Path) -> None:
    token = encryption(directory).encrypt("x")
    (directory / "credentials.key").chmod(0o644)
    assert encryption(directory).decrypt(token) == "x"
    assert (directory / "credentials.key").stat().st_mode & 0o777 == 0o600


def test_a_damaged_key_file_is_kept_aside_and_replaced(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "credentials.key").write_bytes(b"not a key")
    token = encryption(directory).encrypt("x")
    assert encryption(directory).decrypt(token) == "x"
    assert [file.read_bytes() for file in directory.glob("credentials.key.broken-*")] == [b"not a key"]


def test_without_a_place_for_a_key_nothing_is_encrypted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotSaved):
        encryption(tmp_path / "file").encrypt("x")
    (tmp_path / "d" / "credentials.key.lock").mkdir(parents=True)
    with pytest.raises(NotSaved):
        encryption(tmp_path / "d").encrypt("x")


def test_what_is_a_key() -> None:
    assert is_key(new_key())
    assert not any(map(is_key, (b"", b"x" * 44, b"\xff" * 44, new_key()[:-4], b"A" * 43)))


RACER = """
import sys
from pathlib import Path
from runicorn.credentials.key_file import KeyFile
file = KeyFile(Path(sys.argv[1]))
sys.stdin.readline()
with file.lock:
    print(file.read_or_make().decode())
"""


def test_processes_that_make_the_key_at_the_same_time_have_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACER, str(tmp_path)]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    keys = {racer.communicate()[0].strip().encode() for racer in racers}
    assert keys == {KeyFile(tmp_path).read()}


# ── the system keyring ──────────────────────────────────────────────────────

BACK_END = """
    import os, time
    from pathlib import Path
    from keyring.backend import KeyringBackend

    class Base(KeyringBackend):
        priority = 5
        file = Path(os.environ["KEYRING_FILE"])
        def get_password(self, service, username):
            return self.file.read_text() if self.file.exists() else None
        def set_password(self, service, username, password):
            assert (service, username) == ("runicorn", "credentials-key")
            self.file.write_text(password)
        def delete_password(self, service, username): ...

    class Working(Base): ...
    class PlainText(Base):
        priority = 0.5
    class Failing(Base):
        def get_password(self, service, username):
            raise RuntimeError("locked: " + str(self.file))
    class Exiting(Base):
        def get_password(self, service, username):
            raise SystemExit(3)
    class Hanging(Base):
        def get_password(self, service, username):
            time.sleep(600)
    class ReadOnly(Base):
        def set_password(self, service, username, password):
            raise NotImplementedError
    class Forgetful(Base):
        def set_password(self, service, username, password): ...
"""

USER = """
import sys
from pathlib import Path
from runicorn.credentials.encryption import Encryption
from runicorn.credentials.keyring_key import SystemKeyring
keyring = SystemKeyring(timeout_s=0.5)
directory = Path(sys.argv[1])
for line in sys.stdin:
    what, _, value = line.rstrip("\\n").partition(" ")
    cipher = Encryption(directory, keyring)
    print(cipher.encrypt(value) if what == "encrypt" else cipher.decrypt(value), flush=True)
"""


class Keyrings:
    """Runs our code in a process that has a keyring of a kind."""

    def __init__(self, base: Path) -> None:
        self.directory = base / "config"
        self.file = base / "keyring"
        (base / "back_ends").mkdir()
        (base / "back_ends" / "back_ends.py").write_text(textwrap.dedent(BACK_END))
        self._path = str(base / "back_ends")

    def run(self, kind: str, *lines: str) -> tuple[list[str], str]:
        """What the process answers to each line, and what it logs."""
        environment = {
            **os.environ,
            "PYTHON_KEYRING_BACKEND": f"back_ends.{kind}",
            "PYTHONPATH": self._path,
            "KEYRING_FILE": str(self.file),
        }
        done = subprocess.run(
            [sys.executable, "-c", USER, str(self.directory)],
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(), done.stderr


@pytest.fixture
def keyrings(tmp_path: Path) -> Keyrings:
    return Keyrings(tmp_path)


def test_the_key_lives_in_the_system_keyring_where_there_is_one(keyrings: Keyrings) -> None:
    (token,), _ = keyrings.run("Working", "encrypt hunter2")
    assert is_key(keyrings.file.read_bytes())
    assert not (keyrings.directory / "credentials.key").exists()
    assert keyrings.run("Working", f"decrypt {token}")[0] == ["hunter2"]
    keyrings.file.unlink()
    assert keyrings.run("Working", f"decrypt {token}")[0] == ["None"]


@pytest.mark.parametrize("kind", ["PlainText", "Failing", "Exiting", "Hanging", "ReadOnly", "Forgetful", "NoSuchClass"])
def test_a_keyring_that_cannot_be_used_is_done_without(keyrings: Keyrings, kind: str) -> None:
    started = time.monotonic()
    (token, text), log = keyrings.run(kind, "encrypt hunter2", "encrypt more")
    assert time.monotonic() - started < 50  # it hangs for ten minutes
    assert (keyrings.directory / "credentials.key").exists()
    assert keyrings.run(kind, f"decrypt {token}", f"decrypt {text}")[0] == ["hunter2", "more"]
    assert not keyrings.file.exists()
    assert str(keyrings.file) not in log
    assert log.count("doing without") == (0 if kind == "PlainText" else 1)


def test_both_keys_decrypt_whichever_is_used_today(keyrings: Keyrings) -> None:
    (by_file,), _ = keyrings.run("Failing", "encrypt one")
    (by_keyring, found), _ = keyrings.run("Working", "encrypt two", f"decrypt {by_file}")
    assert found == "one"
    assert is_key(keyrings.file.read_bytes())
    assert keyrings.run("Working", f"decrypt {by_file}", f"decrypt {by_keyring}")[0] == ["one", "two"]
    assert keyrings.run("Failing", f"decrypt {by_keyring}")[0] == ["None"]
    assert keyrings.run("Working", f"decrypt {by_keyring}")[0] == ["two"]
