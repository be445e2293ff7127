"""The URL of a storage root on another machine."""

from __future__ import annotations

import pytest

from runicorn.remote_place import InvalidRemote, RemotePlace, parse_remote


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("ssh://gpu/data/runicorn", RemotePlace("gpu", "/data/runicorn")),
        ("ssh://me@gpu.lab:2222/data", RemotePlace("me@gpu.lab:2222", "/data")),
        ("ssh://me@[fe80::1%eth0]:22/d", RemotePlace("me@[fe80::1%eth0]:22", "/d")),
        ("ssh://[::1]/d", RemotePlace("[::1]", "/d")),
        ("ssh://gpu/~/runicorn", RemotePlace("gpu", "~/runicorn")),
        ("ssh://my lab/a b%20c?d#e", RemotePlace("my lab", "/a b%20c?d#e")),
    ],
)
def test_a_url_says_which_machine_and_which_directory(url: str, place: RemotePlace) -> None:
    assert parse_remote(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "", "gpu:/data", "http://gpu/data", "ssh:/gpu/data", "ssh://", "ssh:///data", "ssh://gpu", "ssh://gpu/",
        "ssh://gpu//", "ssh://@gpu/data", "ssh://gpu:/data", "ssh://gpu:0/data", "ssh://gpu:65536/data",
        "ssh://gpu:x/data", "ssh://gpu:²/data", "ssh://[::1/data", "ssh://[]/data", "ssh://[::1]x/data",
        "ssh://::1/data", "ssh://gpu/a\nb", "ssh://gpu/a\0b", "ssh://gpu/" + "é" * 2048,
    ],
)  # fmt: skip
def test_anything_else_is_an_error_for_http_and_for_python(url: str) -> None:
    with pytest.raises(InvalidRemote) as caught:
        parse_remote(url)
    assert isinstance(caught.value, ValueError)
    assert caught.value.status == 400


@pytest.mark.parametrize("url", ["ssh://me:hunter2@gpu/data", "ssh://me:hun/ter2@gpu/data", "ssh://:hunter2@gpu/d"])
def test_a_password_is_refused_and_never_repeated(url: str) -> None:
    with pytest.raises(InvalidRemote) as caught:
        parse_remote(url)
    assert "hun" not in str(caught.value)


def test_the_refusal_of_a_password_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="runicorn remote add"):
        parse_remote("ssh://me:hunter2@gpu/data")
