"""Reading `~/.ssh/config`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn_remote.errors import BadHostName, ConfigUnusable
from runicorn_remote.ssh_config import HostsFile, IdentityFile

Write = Callable[[str], None]


@pytest.fixture(autouse=True)
def _home(ssh_directory: Path) -> None:
    """No test reads the configuration of whoever runs it."""


def test_without_a_file_there_are_no_hosts_and_defaults_for_all() -> None:
    file = HostsFile()
    assert file.aliases() == []
    host = file.host("gpu.example.org")
    assert (host.hostname, host.port, host.user, host.identity_files) == ("gpu.example.org", 22, None, [])


def test_a_host_has_the_settings_of_its_blocks(write_config: Write, ssh_directory: Path) -> None:
    (ssh_directory / "id_gpu").write_text("a key")
    write_config(
        """
        # the big machine
        Host gpu big
            HostName %h.example.org
            Port = 2222
            IdentityFile ~/.ssh/id_gpu
            ProxyJump admin@gate
        Host gpu
            Port 99
        Host *
            User me
            IdentityFile ~/.ssh/id_gone
        """
    )
    host = HostsFile().host("gpu")
    assert (host.hostname, host.port, host.user, host.proxy_jump) == ("gpu.example.org", 2222, "me", "admin@gate")
    assert host.identity_files == [
        IdentityFile(str(ssh_directory / "id_gpu"), True),
        IdentityFile(str(ssh_directory / "id_gone"), False),
    ]


def test_aliases_are_the_names_of_host_lines_without_patterns_and_what_ssh_refuses(write_config: Write) -> None:
    write_config(
        'Host b a\nHost *.lab ?x !no c\nMatch host z user root\n Port 5\nHost a\nhost=d\nHOST\t"e f"\n  HostName Host\n'
    )
    assert HostsFile().aliases() == ["b", "a", "c", "d"]


@pytest.mark.parametrize(
    "name", ["x;touch oops", "$(id)", "`id`", "a'b", 'a"b', "a\\b", "a|b", "-x", "~x", "", "a" * 254]
)
def test_a_name_that_a_shell_would_interpret_is_never_looked_up(write_config: Write, tmp_path: Path, name: str) -> None:
    write_config(f'Match exec "touch {tmp_path}/seen"\n Port 5\n')
    with pytest.raises(BadHostName):
        HostsFile().host(name)
    assert not (tmp_path / "seen").exists()


@pytest.mark.parametrize("name", ["fe80::1%eth0", "gpu_1.lab", "bücher.example", "10.0.0.1"])
def test_what_is_a_name_is_looked_up(write_config: Write, name: str) -> None:
    write_config("Host *\n Port 5\n")
    assert HostsFile().host(name).port == 5


def test_match_blocks_apply(write_config: Write) -> None:
    write_config("Host gpu\n HostName g.lab\nMatch host *.lab\n User labuser\nMatch originalhost other\n User nobody\n")
    assert HostsFile().host("gpu").user == "labuser"
    assert HostsFile().host("other").user == "nobody"


def test_no_proxy_is_no_proxy(write_config: Write) -> None:
    write_config(
        "Host a\n ProxyCommand none\nHost b\n ProxyJump none\nHost c\n ProxyCommand nc %h %p\n IdentityFile none\n"
    )
    file = HostsFile()
    assert [file.host(name).proxy_command for name in "abc"] == [None, None, "nc c 22"]
    assert [file.host(name).proxy_jump for name in "abc"] == [None, None, None]
    assert file.host("c").identity_files == []


def test_included_files_count_where_they_are_named(write_config: Write, ssh_directory: Path) -> None:
    (ssh_directory / "conf.d").mkdir()
    (ssh_directory / "conf.d" / "1").write_text("Host one\n Port 1\n")
    (ssh_directory / "conf.d" / "2").write_text("Host two\n Port 2\nInclude ~/.ssh/deep\n")
    (ssh_directory / "deep").write_text("User deep\n")
    write_config("Include conf.d/* missing\nUser me\nHost three\n Include port3\n User you\n")
    (ssh_directory / "port3").write_text("Port 3\n")
    file = HostsFile()
    assert file.aliases() == ["one", "two", "three"]
    assert [(host.port, host.user) for host in map(file.host, file.aliases())] == [(1, "me"), (2, "deep"), (3, "me")]
    assert file.host("four").user == "me"


def test_files_that_include_each_other_are_an_error(write_config: Write) -> None:
    write_config("Include config\n")
    with pytest.raises(ConfigUnusable, match="include each other"):
        HostsFile()


@pytest.mark.parametrize("text", ["Host\n", "nonsense\n", "Match\n", "Match frobnicated\n", 'Host "a\n'])
def test_what_cannot_be_understood_is_one_error(write_config: Write, text: str) -> None:
    write_config(text)
    with pytest.raises(ConfigUnusable, match="cannot be understood"):
        HostsFile().aliases()


@pytest.mark.parametrize("port", ["ssh", "0", "65536", "-1"])
def test_a_port_that_is_none_is_an_error_of_its_host(write_config: Write, port: str) -> None:
    write_config(f"Host bad\n Port {port}\nHost good\n Port 5\n")
    with pytest.raises(ConfigUnusable, match="bad: "):
        HostsFile().host("bad")
    assert HostsFile().host("good").port == 5


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    assert HostsFile().host("::1").address == "[::1]:22"


lines = st.lists(
    st.sampled_from(["Host", "Match", "Include", "Port", "User", "HostName", "ProxyJump"]).flatmap(
        lambda keyword: st.sampled_from(["", " a", " *", " host a", ' "', " 5", "=x y", " all", " %h"]).map(
            keyword.__add__
        )
    )
    | st.text(max_size=20)
)


@given(lines)
def test_any_file_has_hosts_or_is_an_error(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any-ssh-config"
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    try:
        file = HostsFile(path)
        for alias in [*file.aliases(), "a"]:
            assert 0 < file.host(alias).port < 65536
    except ConfigUnusable as error:
        assert "\n" not in str(error)  # noqa: PT017  # other errors are allowed, too
