"""Any sequence of changes: SDK, HTTP, read model and files on disk agree with a model that is obviously right."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runicorn.artifacts import Artifact, create_artifact_storage
from runicorn.host import PluginHost, Selection
from runicorn_artifacts import promoting, queries
from runicorn_artifacts.verifying import verify
from tests.projecting import InProcess
from tests.serving import Server, wait_until

KEY = "artifacts/model/net"
STAGES = ["experimental", "staging", "production", "archived"]
ALLOWED = {
    "experimental": ["staging", "archived"],
    "staging": ["production", "experimental", "archived"],
    "production": ["staging", "archived"],
    "archived": ["experimental"],
}


class ArtifactMachine(RuleBasedStateMachine):
    """One artifact."""

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp())
        self.root = self.top / "root"
        self.storage = create_artifact_storage(self.root)
        self.state = 0
        self.projector = self._open()
        self.issued = 0
        self.contents: dict[int, list[str]] = {}
        self.deleted: set[int] = set()
        self.stages: dict[int, str] = {}
        self.aliases: dict[str, int] = {}

    def _open(self) -> InProcess:
        host = PluginHost.load(Selection(frozenset({"artifacts"})))
        return InProcess(self.root, self.top / f"state{self.state}", host)

    @property
    def folder(self):
        return self.storage.lookup.find("net")

    @property
    def has_versions(self) -> bool:
        return bool(self.contents)

    def _any(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.contents)))

    @rule(contents=st.lists(st.sampled_from(["a", "bb", "ccc"]), min_size=1, max_size=2, unique=True))
    def save(self, contents: list[str]) -> None:
        artifact = Artifact("net")
        for content in contents:
            (self.top / content).write_text(content)
            artifact.add_file(self.top / content)
        self.issued += 1
        assert self.storage.save_artifact(artifact, "r", *artifact.staged) == self.issued
        self.contents[self.issued] = contents

    @precondition(lambda self: self.has_versions)
    @rule(data=st.data())
    def soft_delete(self, data: st.DataObject) -> None:
        version = self._any(data)
        assert self.storage.delete_artifact_version("net", "model", version)
        self.deleted.add(version)

    @precondition(lambda self: self.has_versions)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        version = self._any(data)
        assert self.storage.restore_artifact_version("net", "model", version)
        self.deleted.discard(version)

    @precondition(lambda self: self.has_versions)
    @rule(data=st.data())
    def purge(self, data: st.DataObject) -> None:
        version = self._any(data)
        assert self.storage.delete_artifact_version("net", "model", version, soft_delete=False)
        self._forget(version)

    @precondition(lambda self: self.has_versions)
    @rule(data=st.data(), alias=st.sampled_from(["good", "best"]))
    def set_alias(self, data: st.DataObject, alias: str) -> None:
        version = self._any(data)
        if version in self.deleted:
            with pytest.raises(FileNotFoundError):
                promoting.set_alias(self.folder, alias, version)
        else:
            promoting.set_alias(self.folder, alias, version)
            self.aliases[alias] = version

    @precondition(lambda self: self.aliases.keys() - {"production"})
    @rule(data=st.data())
    def remove_alias(self, data: st.DataObject) -> None:
        alias = data.draw(st.sampled_from(sorted(self.aliases.keys() - {"production"})))
        promoting.set_alias(self.folder, alias, None)
        del self.aliases[alias]

    @precondition(lambda self: self.has_versions)
    @rule(data=st.data(), stage=st.sampled_from(STAGES))
    def promote(self, data: st.DataObject, stage: str) -> None:
        version = self._any(data)
        before = self.stages.get(version, "experimental")
        if version in self.deleted or stage not in ALLOWED[before]:
            with pytest.raises(Exception, match=r"deleted|Invalid transition"):
                promoting.promote(self.folder, version, stage)
            return
        assert promoting.promote(self.folder, version, stage) == before
        self._promoted(version, before, stage)

    @rule()
    def collect_garbage(self) -> None:
        assert self.storage.cleanup_orphaned_dedup() == 0

    @rule()
    def replay(self) -> None:
        self.projector.close()
        self.state += 1
        self.projector = self._open()

    @invariant()
    def the_sdk_agrees(self) -> None:
        ready = sorted(self.contents.keys() - self.deleted)
        assert [item.version for item in self._versions(False)] == ready
        shown = {item.version: item for item in self._versions(True)}
        assert sorted(shown) == sorted(self.contents)
        for version, item in shown.items():
            assert item.status == ("deleted" if version in self.deleted else "ready")
            assert sorted(item.aliases) == self._aliases_of(version)
        for alias, version in self.aliases.items():
            if version not in self.deleted:
                assert self.storage.load_artifact("net", alias=alias)[0].version == version

    @invariant()
    def the_disk_agrees(self) -> None:
        assert list(verify(self.storage.lookup.artifacts())) == []
        used = {content for contents in self.contents.values() for content in contents}
        kept = [path.read_text() for path in (self.root / "artifacts/.dedup").rglob("*") if path.is_file()]
        assert sorted(kept) == sorted(used)
        if self.issued:
            index = json.loads((self.root / KEY / "versions.json").read_text())
            assert index["next_version"] == self.issued + 1
            assert [item["version"] for item in index["versions"]] == sorted(self.contents)
            latest = max(self.contents.keys() - self.deleted, default=None)
            assert index["aliases"] == self.aliases | ({} if latest is None else {"latest": latest})

    @invariant()
    def the_read_model_agrees(self) -> None:
        self.projector.sweep()
        db = self.projector.models["artifacts"].connection
        rows = queries.versions(db, KEY)
        assert {row.version: (row.is_deleted, row.stage) for row in rows} == {
            version: (version in self.deleted, self.stages.get(version, "experimental")) for version in self.contents
        }
        aliases = queries.aliases_by_version(db, KEY)
        assert {version: sorted(names) for version, names in aliases.items() if names} == {
            version: names for version in self.contents if (names := self._aliases_of(version))
        }
        if self.issued:
            index = json.loads((self.root / KEY / "versions.json").read_text())
            [(created_at, updated_at)] = db.execute("SELECT created_at, updated_at FROM artifact").fetchall()
            assert (created_at, updated_at) == (index["created_at"], index["updated_at"])
        # Whatever our own changes left in the files is what the streams say: nothing had to be observed.
        log = self.root / ".runicorn/log/00000001.jsonl"
        assert not log.exists() or "artifact" not in log.read_text()

    def teardown(self) -> None:
        self.projector.close()
        shutil.rmtree(self.top, ignore_errors=True)

    def _forget(self, version: int) -> None:
        del self.contents[version]
        self.deleted.discard(version)
        self.stages.pop(version, None)
        self.aliases = {alias: target for alias, target in self.aliases.items() if target != version}

    def _promoted(self, version: int, before: str, stage: str) -> None:
        if stage == "production":
            for other, held in self.stages.items():
                if held == "production":
                    self.stages[other] = "staging"
            self.aliases["production"] = version
        elif before == "production" and self.aliases.get("production") == version:
            del self.aliases["production"]
        self.stages[version] = stage

    def _versions(self, include_deleted: bool):
        return self.storage.list_versions("net", include_deleted=include_deleted) if self.issued else []

    def _aliases_of(self, version: int) -> list[str]:
        if version in self.deleted:
            return []
        latest = max(self.contents.keys() - self.deleted) == version
        return sorted([a for a, target in self.aliases.items() if target == version] + ["latest"] * latest)


class ServedMachine(ArtifactMachine):
    """The same, while a server shows the store; some changes go over HTTP."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server(self.root, "--rate-limit", "off")

    @precondition(lambda self: self.has_versions)
    @rule(data=st.data(), is_permanent=st.booleans())
    def delete_over_http(self, data: st.DataObject, is_permanent: bool) -> None:
        version = self._any(data)
        self._is_served()
        self._send("DELETE", f"/v{version}?permanent={is_permanent}")
        if is_permanent:
            self._forget(version)
        else:
            self.deleted.add(version)
        self._agrees_at_once()

    @precondition(lambda self: self.has_versions)
    @rule(data=st.data())
    def restore_over_http(self, data: st.DataObject) -> None:
        version = self._any(data)
        self._is_served()
        self._send("POST", f"/v{version}/restore")
        self.deleted.discard(version)
        self._agrees_at_once()

    @precondition(lambda self: self.has_versions)
    @rule(data=st.data(), stage=st.sampled_from(STAGES))
    def promote_over_http(self, data: st.DataObject, stage: str) -> None:
        version = self._any(data)
        self._is_served()
        before = self.stages.get(version, "experimental")
        expected = 409 if version in self.deleted else 200 if stage in ALLOWED[before] else 400
        self._send("POST", f"/v{version}/promote", expected, json={"to_stage": stage})
        if expected == 200:
            self._promoted(version, before, stage)
            self._agrees_at_once()

    @rule(
        contents=st.lists(st.sampled_from(["a", "bb", "ccc"]), min_size=1, max_size=2, unique=True),
        alias=st.sampled_from([None, "good"]),
    )
    def save_in_one_request(self, contents: list[str], alias: str | None) -> None:
        files = [("file", (content, content.encode())) for content in contents]
        self._is_served()
        saved = self._send("POST", "/versions?type=model", files=files, data={"alias": alias} if alias else {})
        self._saved(saved, contents, alias)

    @rule(
        contents=st.lists(st.sampled_from(["a", "bb", "ccc"]), min_size=1, max_size=2, unique=True),
        alias=st.sampled_from([None, "best"]),
    )
    def save_content_by_content(self, contents: list[str], alias: str | None) -> None:
        digests = {content: hashlib.sha256(content.encode()).hexdigest() for content in contents}
        declared = [{"path": c, "size": len(c), "digest": f"sha256:{digests[c]}"} for c in contents]
        body = {"files": declared, "aliases": [alias] if alias else []}
        self._is_served()
        upload = self._send("POST", "/uploads?type=model", json=body)
        known = {content for kept in self.contents.values() for content in kept}
        assert {item["digest"] for item in upload["missing"]} == {
            f"sha256:{digests[content]}" for content in contents if content not in known
        }
        for content in contents:
            self._send("PUT", f"/uploads/{upload['upload_id']}/contents/{digests[content]}", content=content.encode())
        self._saved(self._send("POST", f"/uploads/{upload['upload_id']}/commit"), contents, alias)

    @precondition(lambda self: self.has_versions)
    @rule(data=st.data(), alias=st.sampled_from(["good", "best"]))
    def set_alias_over_http(self, data: st.DataObject, alias: str) -> None:
        version = self._any(data)
        self._is_served()
        self._send("PUT", f"/v{version}/aliases/{alias}", 404 if version in self.deleted else 200)
        if version not in self.deleted:
            self.aliases[alias] = version
            self._agrees_at_once()

    @precondition(lambda self: self.issued)
    @rule(alias=st.sampled_from(["good", "best"]))
    def remove_alias_over_http(self, alias: str) -> None:
        is_active = alias in self.aliases and self.aliases[alias] not in self.deleted
        self._is_served()
        self._send("DELETE", f"/aliases/{alias}", 200 if is_active else 404)
        if is_active:
            del self.aliases[alias]
            self._agrees_at_once()

    @rule()
    def replay_the_server(self) -> None:
        self.server.stop()
        shutil.rmtree(self.root / ".runicorn" / "state")
        self.server = Server(self.root, "--rate-limit", "off")

    @invariant()
    def http_agrees(self) -> None:
        self._is_served()

    def teardown(self) -> None:
        self.server.stop()
        super().teardown()

    def _is_served(self) -> None:
        wait_until(lambda: self._served() == self._expected(), "the versions over HTTP")

    def _agrees_at_once(self) -> None:
        """An answer to a change comes when every reader sees it."""
        assert self._served() == self._expected()

    def _served(self) -> dict[int, tuple[str, list[str], str]] | None:
        answer = self.server.http.get("/api/artifacts/net/versions?include_deleted=true")
        if answer.status_code != 200:
            return None if self.contents or answer.status_code != 404 else {}
        shown: dict[int, tuple[str, list[str], str]] = {}
        for item in answer.json():
            detail = self.server.http.get(f"/api/artifacts/net/v{item['version']}")
            if detail.status_code != 200:
                return None  # it went meanwhile
            shown[item["version"]] = (item["status"], sorted(item["aliases"]), detail.json()["lifecycle_stage"])
        return shown

    def _expected(self) -> dict[int, tuple[str, list[str], str]]:
        return {
            version: (
                "deleted" if version in self.deleted else "ready",
                self._aliases_of(version),
                self.stages.get(version, "experimental"),
            )
            for version in self.contents
        }

    def _saved(self, answer: dict[str, Any], contents: list[str], alias: str | None) -> None:
        self.issued += 1
        assert answer["version"] == self.issued
        self.contents[self.issued] = contents
        if alias is not None:
            self.aliases[alias] = self.issued
        self._agrees_at_once()

    def _send(self, method: str, path: str, expected: int = 200, **options: Any) -> Any:
        answer = self.server.http.request(method, f"/api/artifacts/net{path}", **options)
        assert answer.status_code == expected, answer.text
        return answer.json()


class TestAnySequence(ArtifactMachine.TestCase):
    settings = settings(max_examples=4, stateful_step_count=12, deadline=None)


@pytest.mark.slow(20)
@pytest.mark.timeout(900)
class TestManySequences(ArtifactMachine.TestCase):
    settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


@pytest.mark.slow(60)
@pytest.mark.timeout(600)
class TestServedSequences(ServedMachine.TestCase):
    settings = settings(max_examples=10, stateful_step_count=18, deadline=None)
