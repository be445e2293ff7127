"""Entries of `ssh_connections`, as a plugin uses them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from runicorn.credentials.address import SECRET_FIELDS, Address, SecretField
from runicorn.credentials.connections import MAX_CONNECTIONS, ConnectionNotFound, SavedConnection, SavedConnections

LAB = Address("lab", 22, "me")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


def test_what_0_4_0_stored_is_encrypted_once_and_only_if_there_is_any(file: Path) -> None:
    connections = SavedConnections(file=file)
    connections.convert()
    assert not file.exists()
    entry = {"host": "lab", "username": "me", "password": "plain", "private_key": None, "note": "kept"}
    file.write_text(json.dumps({"ssh_connections": [entry, 5], "other": 1}))
    connections.convert()
    content = json.loads(file.read_text())
    assert content["ssh_connections"][1:] == [5]
    assert content["ssh_connections"][0]["note"] == "kept"
    assert "plain" not in file.read_text()
    assert connections.get(LAB.key).secrets == {"password": "plain"}
    before = file.stat().st_ino
    connections.convert()
    assert file.stat().st_ino == before


def test_a_connection_shows_no_secret_of_its_own_accord(file: Path) -> None:
    connections = SavedConnections(file=file)
    connections.save(SavedConnection(address=LAB, remember_password=True), {"password": "hunter2"})
    saved = connections.get(LAB.stored_key)
    assert saved.secrets["password"] == "hunter2"
    assert "hunter2" not in f"{saved} {saved!r} {saved.__rich_repr__()}"
    with pytest.raises(ConnectionNotFound, match="Connection not found: nothing"):
        connections.get("nothing")


def test_plain_values_are_resolved_to_themselves(file: Path) -> None:
    connections = SavedConnections(file=file)
    for value in (None, "", "secret", "Saved:x"):
        assert connections.resolve(value, "password", LAB) == value


class Machine(RuleBasedStateMachine):
    """Saving and deleting against a list that is obviously right; another object on the same file reads."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        file = Path(self.directory.name) / "config.json"
        self.model: list[tuple[Address, str, dict[SecretField, str]]] = []
        self.one, self.two = SavedConnections(file=file), SavedConnections(file=file)

    def teardown(self) -> None:
        self.directory.cleanup()

    @rule(
        host=st.sampled_from([f"h{n}" for n in range(13)]),
        name=st.text(max_size=3),
        remember=st.booleans(),
        submitted=st.dictionaries(st.sampled_from(SECRET_FIELDS), st.none() | st.sampled_from(["", "a", "b"])),
    )
    def save(self, host: str, name: str, remember: bool, submitted: dict[SecretField, str | None]) -> None:
        address = Address(host, 22, "u")
        before = next((secrets for known, _, secrets in self.model if known == address), {})
        secrets = {**before, **{field: value for field, value in submitted.items() if value is not None}}
        kept = {field: value for field, value in secrets.items() if value} if remember else {}
        self.one.save(SavedConnection(address=address, name=name, remember_password=remember), submitted)
        self.model = [entry for entry in self.model if entry[0] != address][-MAX_CONNECTIONS + 1 :]
        self.model.append((address, name, kept))

    @rule(host=st.sampled_from([f"h{n}" for n in range(13)]), old=st.booleans())
    def delete(self, host: str, old: bool) -> None:
        address = Address(host, 22, "u")
        self.one.delete(address.stored_key if old else address.key)
        self.model = [entry for entry in self.model if entry[0] != address]

    @invariant()
    def both_see_what_the_model_has(self) -> None:
        seen = [(saved.address, saved.name, dict(saved.secrets)) for saved in self.two.latest()]
        assert seen == self.model


TestSavedConnections = Machine.TestCase
TestSavedConnections.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
