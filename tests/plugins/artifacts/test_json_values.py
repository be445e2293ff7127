"""What users say of a version is stored as JSON reads it back, or refused before anything is written."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runicorn.artifacts import Artifact, ArtifactStorage
from runicorn_artifacts.events import VersionCreated
from runicorn_artifacts.uploads.draft import Draft, check_facts
from runicorn_artifacts.verifying import verify
from tests.plugins.artifacts.conftest import Make
from tests.plugins.artifacts.test_saving import everything


class Kind(enum.IntEnum):
    FIRST = 1


class Word(str):
    pass


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


STORED: list[tuple[Any, Any]] = [
    ({"acc": np.float64(0.5)}, {"acc": 0.5}),
    ({"best": {"by": [np.float64(0.25), np.float64("nan")]}}, {"best": {"by": [0.25, None]}}),
    ({"name": np.str_("net"), np.str_("key"): 1}, {"name": "net", "key": 1}),
    ({"classes": {None: 0, True: 1, 2: "two", 0.5: "half"}}, {"classes": {"null": 0, "true": 1, "2": "two", "0.5": "half"}}),
    ({None: 1}, {"null": 1}),
    ({"kind": Kind.FIRST, "word": Word("w"), "pair": (1, 2)}, {"kind": 1, "word": "w", "pair": [1, 2]}),
    ({"big": 10**30, "half": "\ud800"}, {"big": 10**30, "half": "�"}),
    ({"deep": nested(190)}, {"deep": nested(190)}),
]  # fmt: skip
REFUSED: list[Any] = [
    {"deep": nested(250)}, {"deep": nested(197)}, {"weights": {1, 2}}, {"digits": 10**5000}, {"pair": {(1, 2): 3}},
]  # fmt: skip


@pytest.mark.parametrize(("given", "stored"), STORED)
def test_what_json_can_say_is_stored_as_it_reads_it_back(
    root: Path, storage: ArtifactStorage, make: Make, given: dict[Any, Any], stored: dict[str, Any]
) -> None:
    artifact = Artifact("net", description=Word("a net"), metadata=given).add_file(make()).add_tags(Word("good"))
    artifact.add_reference(Word("s3://b"), size=Kind.FIRST, region=Word("eu"))
    assert storage.save_artifact(artifact, Word("r1"), *artifact.staged) == 1
    kept = artifact.get_metadata()
    assert kept is not None
    assert kept.metadata == stored
    metadata, manifest = storage.load_artifact("net")
    assert (metadata.metadata, metadata.description, metadata.tags) == (stored, "a net", ["good"])
    assert metadata.to_dict() == kept.to_dict()
    assert [reference.to_dict() for reference in manifest.references] == [
        {"uri": "s3://b", "checksum": None, "size": 1, "metadata": {"region": "eu"}}
    ]
    assert list(verify(storage.lookup.artifacts())) == []
    [line] = (root / "artifacts/model/net/events.jsonl").read_bytes().splitlines()
    from runicorn.events.envelope import decode_event, decode_payload

    event = decode_event(line)
    assert event is not None
    assert decode_payload(event, VersionCreated).record.metadata == stored


@pytest.mark.parametrize("given", REFUSED)
def test_what_json_cannot_say_is_refused_by_its_key_and_leaves_no_trace(
    root: Path, storage: ArtifactStorage, make: Make, given: dict[str, Any]
) -> None:
    [key] = given
    before = everything(root)
    for artifact in (
        Artifact("net", metadata={"fine": 1, **given}).add_file(make()),
        Artifact("net").add_file(make()).add_reference("s3://b", **given),
    ):
        with pytest.raises(TypeError, match=f"'{key}'"):
            storage.save_artifact(artifact, "r1", *artifact.staged)
    assert everything(root) == before


def test_metadata_that_contains_itself_is_refused(root: Path, storage: ArtifactStorage, make: Make) -> None:
    loop: dict[str, Any] = {}
    loop["itself"] = loop
    artifact = Artifact("net", metadata={"loop": loop}).add_file(make())
    with pytest.raises(TypeError, match="'loop'"):
        storage.save_artifact(artifact, "r1", *artifact.staged)
    assert not (root / "artifacts/model").exists()


def test_a_client_cannot_declare_what_would_read_as_damaged() -> None:
    deep = json.loads("[" * 250 + "]" * 250)
    with pytest.raises(Exception, match="nested too deeply"):
        check_facts(Draft(metadata={"deep": deep}))
