"""Which remote files are metadata, whatever a server calls them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn_remote.smart.places import place_of


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("p/n/runs/one/meta.json", "experiments/p/n/runs/one/meta.json"),
        ("runs/one/.deleted", "experiments/runs/one/.deleted"),
        ("artifacts/model/net/versions.json", "artifacts/model/net/versions.json"),
        ("artifacts/model/net/v3/manifest.json", "artifacts/model/net/v3/manifest.json"),
        ("artifacts/a zoo/net/v3/lifecycle.json", "artifacts/a zoo/net/v3/lifecycle.json"),
        ("artifacts/model/net/v3/files/manifest.json", None),
        ("artifacts/.tmp/0a1b/v3/manifest.json", None),
        ("artifacts/model/.net/versions.json", None),
        ("artifacts/model/net/v0/manifest.json", None),
        ("artifacts/x/runs/one/meta.json", None),
        (".hidden/n/runs/one/meta.json", None),
        ("sweeps/n/runs/one/meta.json", None),
        ("p/n/runs/one/events.jsonl", None),
        ("p/n/runs/one/media/meta.json", None),
        ("p/../runs/one/meta.json", None),
        ("/p/n/runs/one/meta.json", None),
        ("p/n/runs/\x00/meta.json", None),
        ("p/n/runs//meta.json", None),
        ("p/n/runs/" + "x" * 256 + "/meta.json", None),
    ],
)
def test_metadata_have_a_place_and_nothing_else_has(path: str, place: str | None) -> None:
    assert place_of(path) == place


@given(st.lists(st.sampled_from(["..", ".", "", "a", "runs", "artifacts", "v1", "meta.json", "metadata.json"])))
def test_no_place_leads_out_of_the_cache(parts: list[str]) -> None:
    place = place_of("/".join(parts))
    assert place is None or not {"..", ".", ""}.intersection(place.split("/"))
