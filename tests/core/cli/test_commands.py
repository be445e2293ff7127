from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from runicorn.cli import CORE_COMMANDS
from runicorn.config import config_file
from runicorn.server.rate_limit_table import limit_file_path
from tests import commands
from tests.plugin_on_path import PluginDirectory


def runicorn(
    *arguments: str, module: str = "runicorn", answer: str = "", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        input=answer,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(environment or {})},
        check=False,
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--allow-origin", "foo"),
        ("--allow-origin", "http://x/"),
        ("--allow-origin", "*"),
        ("--allow-host", "a b"),
        ("--trusted-proxy", "proxy.example"),
    ],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_can_never_match_is_refused_before_anything_is_served(tmp_path, option, value, workers):
    result = runicorn("serve", "--storage", str(tmp_path / "r"), "--port", "0", "--workers", workers, option, value)

    assert (result.returncode, result.stdout) == (1, "")
    assert value in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("module", ["runicorn", "runicorn.cli"])
@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["serve", "--nonsense"], ["serve", "--port", "x"]])
def test_bad_arguments_print_usage_on_stderr_and_exit_2(module, arguments):
    result = runicorn(*arguments, module=module)

    assert result.returncode == 2
    assert "Usage: runicorn" in result.stderr
    assert result.stdout == ""


def test_help_lists_all_commands_and_does_not_import_the_server():
    code = (
        "import sys, runicorn.cli as c; c.main(['--help'], standalone_mode=False); assert 'litestar' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 0, result.stderr
    for name in CORE_COMMANDS:
        assert f"  {name} " in result.stdout


@pytest.mark.parametrize("command", sorted(CORE_COMMANDS))
def test_every_command_has_help_and_accepts_a_storage_root(command):
    result = commands.runicorn(command, "--help")

    assert result.returncode == 0, result.stderr
    assert "--storage" in result.stdout or "Commands:" in result.stdout


# ── plugins ─────────────────────────────────────────────────────────────────


@pytest.fixture
def plugins(tmp_path: Path) -> PluginDirectory:
    directory = PluginDirectory(tmp_path / "plugins")
    directory.add("broken", "import nothing_of_that_name")
    directory.add(
        "complete",
        """
        import click
        from litestar import get
        from runicorn.plugin import hookimpl

        @get("/api/complete", sync_to_thread=False)
        def route() -> str:
            return ""

        @click.command()
        def greet():
            click.echo("hello from a plugin")

        @hookimpl
        def runicorn_routes():
            return [route]

        @hookimpl
        def runicorn_commands():
            return [greet]
        """,
        version="2.5",
    )
    return directory


def test_plugins_are_listed_with_what_they_contribute(plugins):
    result = runicorn("plugins", "--json", "--without", "remote", environment=plugins.environment)
    reports = {report["name"]: report for report in json.loads(result.stdout)}

    assert reports["complete"]["version"] == "2.5"
    assert reports["complete"]["distribution"] == "complete"
    assert reports["complete"]["state"] == "enabled"
    assert reports["complete"]["routes"] == ["GET /api/complete"]
    assert reports["complete"]["commands"] == ["greet"]
    assert reports["broken"]["state"] == "failed"
    assert "nothing_of_that_name" in reports["broken"]["error"]
    assert reports["remote"]["state"] == "disabled"


def test_plugins_are_listed_for_people(plugins):
    result = runicorn("plugins", environment=plugins.environment)

    assert result.returncode == 0
    assert "complete 2.5 (complete): enabled" in result.stdout
    assert "broken 1.0 (broken): failed" in result.stdout


def test_a_plugins_command_is_a_command(plugins):
    result = runicorn("greet", environment=plugins.environment)

    assert (result.returncode, result.stdout) == (0, "hello from a plugin\n")


def test_a_command_that_exists_already_is_refused_with_both_names(tmp_path):
    plugins = PluginDirectory(tmp_path / "plugins")
    plugins.add(
        "greedy",
        """
        import click
        from runicorn.plugin import hookimpl

        @hookimpl
        def runicorn_commands():
            return [click.Command("serve")]
        """,
    )
    result = runicorn("--help", environment=plugins.environment)

    assert result.returncode == 1
    assert "greedy" in result.stderr
    assert "Traceback" not in result.stderr


# ── config ──────────────────────────────────────────────────────────────────


def test_config_shows_where_it_is_and_that_nothing_is_set():
    result = runicorn("config")

    assert result.stdout.startswith("Runicorn user config:\n  File          : ")
    assert str(config_file()) in result.stdout
    assert "  user_root_dir : (not set)\n" in result.stdout


def test_the_user_root_is_created_stored_and_shown(tmp_path):
    root = tmp_path / "a" / "b"
    result = runicorn("config", "--set-user-root", "$HERE/a/b", environment={"HERE": str(tmp_path)})

    assert result.stdout == f"Set user_root_dir to: {root}\n"
    assert (root / "runs").is_dir()
    assert f"  user_root_dir : {root}\n" in runicorn("config", "--show").stdout
    assert stat.S_IMODE(config_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(config_file().parent.stat().st_mode) == 0o700


def test_the_configuration_is_also_json(tmp_path):
    assert json.loads(runicorn("config", "--json", "--storage", "/given").stdout) == {
        "config_file": str(config_file()),
        "user_root_dir": "",
        "storage": "/given",
    }
    result = runicorn("config", "--set-user-root", str(tmp_path / "ü"), "--json")
    root = str(tmp_path / "ü")
    expected = {"config_file": str(config_file()), "user_root_dir": root, "storage": root}
    assert json.loads(result.stdout) == expected


def test_other_keys_of_the_config_survive_and_a_broken_one_is_kept_aside(tmp_path):
    config_file().parent.mkdir(parents=True)
    config_file().write_text('{"other": "é"}')
    runicorn("config", "--set-user-root", str(tmp_path / "one"))
    assert json.loads(config_file().read_text()) == {"other": "é", "user_root_dir": str(tmp_path / "one")}

    config_file().write_text("[1, 2]")
    runicorn("config", "--set-user-root", str(tmp_path / "two"))
    assert json.loads(config_file().read_text()) == {"user_root_dir": str(tmp_path / "two")}
    (aside,) = config_file().parent.glob("config.json.broken-*")
    assert aside.read_text() == "[1, 2]"


@pytest.mark.parametrize("path", ["", "  ", "rel/dir", "{tmp}/file", "{tmp}/file/below", "{tmp}/a\nb"])
def test_an_unusable_user_root_changes_nothing(tmp_path, path):
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    result = runicorn("config", "--set-user-root", path.replace("{tmp}", str(tmp_path)))

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("Invalid path: ")
    assert sorted(tmp_path.rglob("*")) == before
    assert not config_file().exists()


def test_many_writers_lose_no_key():
    code = (
        "import sys; from runicorn.config import config_file; from runicorn.user_config import change_json\n"
        "for n in range(10): change_json(config_file(), lambda content: content.update({f'{sys.argv[1]}-{n}': n}))"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(number)]) for number in range(6)]
    assert [writer.wait(60) for writer in writers] == [0] * 6

    assert len(json.loads(config_file().read_text())) == 60


# ── rate-limit ──────────────────────────────────────────────────────────────


def test_limits_can_be_set_shown_got_listed_and_removed():
    assert json.loads(runicorn("rate-limit").stdout)["default"]["max_requests"] == 60
    arguments = ["--endpoint", "GET /api/runs", "--max-requests", "5", "--window", "10", "--burst", "2"]
    assert runicorn("rate-limit", "--action", "set", *arguments).returncode == 0

    shown = json.loads(runicorn("rate-limit", "--action", "show").stdout)["endpoints"]["GET /api/runs"]
    assert (shown["max_requests"], shown["window_seconds"], shown["burst_size"]) == (5, 10, 2)
    got = runicorn("rate-limit", "--action", "get", "--endpoint", "GET /api/runs").stdout
    assert got == "GET /api/runs: 5 requests per 10 s, at most 2 within a second\n"
    assert got in runicorn("rate-limit", "--action", "list").stdout
    assert runicorn("rate-limit", "--action", "remove", "--endpoint", "GET /api/runs").returncode == 0
    got = runicorn("rate-limit", "--action", "get", "--endpoint", "GET /api/runs").stdout
    assert got == "GET /api/runs: 100 requests per 60 s\n"


def test_the_limits_that_hold_are_shown_whoever_has_set_them():
    shown = json.loads(runicorn("rate-limit").stdout)["endpoints"]
    assert (shown["GET /api/runs"]["max_requests"], shown["GET /api/health"]["max_requests"]) == (100, 240)
    got = runicorn("rate-limit", "--action", "get", "--endpoint", "/api/config/ssh_connections").stdout
    assert got == "POST /api/config/ssh_connections: 20 requests per 60 s\n"
    got = runicorn("rate-limit", "--action", "get", "--endpoint", "/api/config").stdout
    assert got == "/api/config: 60 requests per 60 s (Default)\n"

    runicorn("rate-limit", "--action", "set", "--endpoint", "/api/runs", "--max-requests", "7")
    shown = json.loads(runicorn("rate-limit").stdout)["endpoints"]
    seven = {"/api/runs", "GET /api/runs", "GET /api/runs/{run_id}", "POST /api/runs/soft-delete"}
    assert {shown[key]["max_requests"] for key in seven} == {7}
    got = runicorn("rate-limit", "--action", "get", "--endpoint", "GET /api/runs/{any}/logs").stdout
    assert got == "GET /api/runs/{any}/logs: 7 requests per 60 s\n"
    assert list(json.loads(limit_file_path().read_text())["endpoints"]) == ["/api/runs"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["set", "--max-requests", "5"],
        ["set", "--endpoint", "/api/runs"],
        ["set", "--endpoint", "api/runs", "--max-requests", "5"],
        ["set", "--endpoint", "/api/runs", "--max-requests", "0"],
        ["set", "--endpoint", "/api/runs", "--max-requests", "5", "--burst", "0"],
        ["get"],
        ["get", "--endpoint", "api/runs"],
        ["remove", "--endpoint", "/api/nothing"],
    ],
)
def test_wrong_limits_are_refused(arguments):
    result = runicorn("rate-limit", "--action", *arguments)

    assert result.returncode == 1
    assert result.stderr
    assert "Traceback" not in result.stderr
    assert not limit_file_path().exists()


def test_settings_are_changed_one_by_one():
    runicorn("rate-limit", "--action", "settings", "--disable", "--whitelist-localhost")
    result = runicorn("rate-limit", "--action", "settings", "--no-log-violations")

    assert "enable_rate_limiting: false\nlog_violations: false\nwhitelist_localhost: true\n" in result.stdout


def test_reset_asks_first():
    runicorn("rate-limit", "--action", "settings", "--disable")
    assert "[y/N]" in runicorn("rate-limit", "--action", "reset", answer="n\n").stdout
    assert json.loads(limit_file_path().read_text())["settings"]["enable_rate_limiting"] is False
    runicorn("rate-limit", "--action", "reset", answer="y\n")

    assert json.loads(limit_file_path().read_text())["settings"]["enable_rate_limiting"] is True


def test_validate_says_what_is_wrong():
    assert runicorn("rate-limit", "--action", "validate").stdout == "✓ Configuration is valid\n"
    limit_file_path().parent.mkdir(parents=True, exist_ok=True)
    limit_file_path().write_text('{"default": {"max_requests": 0}}')
    result = runicorn("rate-limit", "--action", "validate")

    assert result.returncode == 1
    assert result.stderr.startswith("✗ Configuration error: max_requests must be at least 1")
    assert runicorn("rate-limit", "--action", "settings", "--enable").returncode == 1

    for content, told in (
        ('{"default": {"max_requests": "x"}}', "default.max_requests must be an integer"),
        ('{"settings": {"log_violations": 5}}', "settings.log_violations must be true or false"),
        ("[]", "the whole must be an object"),
    ):
        limit_file_path().write_text(content)
        result = runicorn("rate-limit", "--action", "validate")
        assert result.stderr == f"✗ Configuration error: {told}\n"
