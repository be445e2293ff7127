"""What a specification of a version means: one rule, wherever versions and aliases come from."""

from __future__ import annotations

import msgspec
import pytest

from runicorn_artifacts.naming import aliased_version, existing_version, stored_path, version_meant


class Known(msgspec.Struct):
    name: str
    versions: set[int]
    aliases: dict[str, int]

    def has(self, version: int, /) -> bool:
        return version in self.versions


NET = Known("net", {1, 2, 3}, {"latest": 3, "best": 1, "vast": 2})


@pytest.mark.parametrize(
    ("spec", "version"), [("v1", 1), ("V2", 2), ("v+3", 3), ("v01", 1), ("best", 1), ("latest", 3), ("vast", 2)]
)
def test_numbers_and_aliases(spec: str, version: int) -> None:
    assert version_meant(NET, spec) == version


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("v4", "Version not found: net:v4"), ("v0", "Version not found: net:v0"), ("v-1", "Version not found: net:v-1"),
        ("Best", "Alias not found: Best for artifact net. Available aliases: ['latest', 'best', 'vast']"),
        ("v1.5", "Alias not found: v1.5 for artifact net. Available aliases: ['latest', 'best', 'vast']"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_named(spec: str, text: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the text is compared below
        version_meant(NET, spec)
    assert str(caught.value) == text


def test_the_latest_of_nothing() -> None:
    empty = Known("net", set(), {})
    with pytest.raises(FileNotFoundError, match=r"^No versions found for artifact: net$"):
        version_meant(empty, "latest")
    with pytest.raises(ValueError, match=r"^Alias not found: latest for artifact net. Available aliases: \[\]$"):
        aliased_version(empty, "latest")
    with pytest.raises(FileNotFoundError):
        existing_version(empty, 1)


@pytest.mark.parametrize("path", ["a" * 255, "/".join(["é" * 127] * 16), "a/" * 2047 + "ab"])
def test_paths_that_a_disk_can_hold(path: str) -> None:
    assert stored_path(path) == path


@pytest.mark.parametrize("path", ["a" * 256, "é" * 128, "x/" + "é" * 128, "a/" * 2047 + "abc", "a/" * 1_000_000 + "b"])
def test_paths_that_no_disk_can_hold(path: str) -> None:
    with pytest.raises(ValueError, match=r"^Invalid artifact path \(too long\): .{10,128}$"):
        stored_path(path)
