"""Host keys in `~/.ssh/known_hosts`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paramiko import ECDSAKey, HostKeys, PKey, RSAKey

from runicorn_remote.known_hosts import known_keys

KEY, OTHER = ECDSAKey.generate(bits=256), ECDSAKey.generate(bits=256)
RSA = RSAKey.generate(2048)


def line(names: str, key: PKey = KEY) -> str:
    return f"{names} {key.get_name()} {key.get_base64()} a comment"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


def test_without_a_file_every_key_is_unknown(path: Path) -> None:
    assert known_keys("gpu", 22, path).judge(KEY) == "unknown"


SALT = "|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|"  # fixed: a test's name must be the same in every process


@pytest.mark.parametrize(
    ("names", "host", "port", "verdict"),
    [
        ("gpu", "gpu", 22, "known"),
        ("gpu,192.0.2.1", "192.0.2.1", 22, "known"),
        ("GPU", "gpu", 22, "known"),
        ("gpu", "gpu", 2222, "unknown"),
        ("[gpu]:2222", "gpu", 2222, "known"),
        ("[gpu]:2222", "gpu", 22, "unknown"),
        ("*.lab", "gpu.lab", 22, "known"),
        ("gpu?.lab", "gpu1.lab", 22, "known"),
        ("*.lab,!gpu.lab", "gpu.lab", 22, "unknown"),
        ("!gpu.lab,*.lab", "cpu.lab", 22, "known"),
        (HostKeys.hash_host("gpu", SALT), "GPU", 22, "known"),
        (HostKeys.hash_host("[gpu]:2222", SALT), "gpu", 2222, "known"),
        (HostKeys.hash_host("other", SALT), "gpu", 22, "unknown"),
        ("|1|broken", "gpu", 22, "unknown"),
        ("@cert-authority gpu", "gpu", 22, "unknown"),
    ],
)
def test_a_line_is_about_the_hosts_that_it_names(path: Path, names: str, host: str, port: int, verdict: str) -> None:
    path.write_text(line(names) + "\n")
    assert known_keys(host, port, path).judge(KEY) == verdict


def test_another_key_is_a_mismatch_also_of_another_type(path: Path) -> None:
    path.write_text(line("gpu"))
    keys = known_keys("gpu", 22, path)
    assert (keys.judge(OTHER), keys.judge(RSA)) == ("mismatch", "mismatch")


def test_one_of_several_keys_is_enough(path: Path) -> None:
    path.write_text("\n".join([line("gpu", RSA), line("gpu", OTHER), line("gpu")]))
    keys = known_keys("gpu", 22, path)
    assert keys.judge(KEY) == "known"
    assert keys.key_types == ["ssh-rsa", KEY.get_name()]


def test_a_revoked_key_is_refused_even_if_it_is_known(path: Path) -> None:
    path.write_text("\n".join([line("gpu"), "@revoked " + line("*")]))
    assert known_keys("gpu", 22, path).judge(KEY) == "revoked"


def test_lines_that_do_not_parse_are_passed_over(path: Path) -> None:
    bad = [
        "# comment",
        "",
        "gpu",
        "gpu ssh-rsa",
        "gpu ssh-rsa !!!!",
        "gpu ssh-rsa AAAA",
        "gpu unknown-type AAAA",
        "@revoked",
    ]
    path.write_bytes("\n".join([*bad, line("gpu")]).encode() + b"\n\xff\xfe")
    assert known_keys("gpu", 22, path).judge(KEY) == "known"


@given(
    st.lists(
        st.sampled_from(["gpu", "|1|", "@revoked", "ssh-rsa", KEY.get_name(), KEY.get_base64(), "*", "x="]), max_size=5
    )
)
def test_any_line_can_be_read(tmp_path_factory: pytest.TempPathFactory, fields: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any-known-hosts"
    path.write_text(" ".join(fields))
    assert known_keys("gpu", 22, path).judge(KEY) in ("known", "unknown", "revoked")
