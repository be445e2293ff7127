"""The documentation cannot go stale: its commands and Python blocks are run, its links and tables are compared."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from runicorn import hookspecs
from tests.serving import Server, serve

__all__ = ["serve"]

Serve = Callable[..., Server]

TOP = Path(__file__).parents[2]
PAGES = sorted({*TOP.glob("*.md"), *TOP.glob("docs/**/*.md"), *TOP.glob("examples/**/*.md")} - {TOP / "CHANGELOG.md"})
# These are the two commands of the README and what a contributor runs; `.ci/run` runs all of them.
RUN_BY_CI = re.compile(r"python3 -m venv|pip install|pytest|ruff |pyright|\.ci/run|python -m benchmarks")

CHANGES = re.compile(r" (-X|--request|-F|--form|-T|--upload-file|-d|--data|--json)\b(?!-urlencode)")
"""A `curl` that does more than read, and gets a server of its own."""

RUN_IN_ORDER = ("docs/http.md#", "docs/artifacts.md#")
"""What is on them needs each other: see test_http_guide and test_artifacts_page."""


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, block in enumerate(re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)):
            yield f"{page.relative_to(TOP)}#{number}", block


def bash_lines() -> list[tuple[str, str]]:
    found = [
        (place, line.partition("  #")[0].strip()) for place, block in blocks("bash") for line in block.splitlines()
    ]
    return [
        (place, line)
        for place, line in found
        if line and not line.startswith("#") and not RUN_BY_CI.search(line) and not place.startswith(RUN_IN_ORDER)
    ]


def inline_commands() -> list[str]:
    texts = (page.read_text() for page in PAGES if "adr" not in page.parts)
    return sorted({found for text in texts for found in re.findall(r"`(runicorn [^`]+)`", text)})


@pytest.fixture(scope="module")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that examples expect, which nobody changes: one finished run."""
    root = tmp_path_factory.mktemp("documented") / "my_runs"
    logging = "import runicorn as rn; rn.init('demo', capture_env=False); rn.log({'a': 1}); rn.finish()"
    subprocess.run([sys.executable, "-c", logging], env={**os.environ, "RUNICORN_DIR": str(root)}, check=True)
    return root


@pytest.fixture(scope="module")
def reader(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for the commands that only read, of the same store as in the workspace."""
    root = tmp_path_factory.mktemp("read") / "my_runs"
    shutil.copytree(small_store, root, symlinks=True)
    with Server(root, environment={"XDG_CONFIG_HOME": str(root.with_name("config"))}) as server:
        yield server


@pytest.fixture
def workspace(small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which examples may write, with a small store that they expect."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNICORN_DIR", str(tmp_path / "my_runs"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "figure.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    shutil.copytree(small_store, tmp_path / "my_runs", symlinks=True)
    return tmp_path


@pytest.mark.parametrize(("place", "line"), bash_lines(), ids=lambda value: value[:60])
def test_shell_commands_work(
    place: str, line: str, workspace: Path, serve: Serve, request: pytest.FixtureRequest
) -> None:
    if line.startswith(("runicorn serve", "runicorn viewer")):
        arguments = shlex.split(line)[2:]
        for option in ("--storage", "--port"):
            if option in arguments:
                del arguments[arguments.index(option) : arguments.index(option) + 2]
        assert serve(workspace / "my_runs", *arguments).http.get("/api/health").status_code == 200
        return
    if line.startswith("curl"):
        server = serve(workspace / "my_runs") if CHANGES.search(line) else request.getfixturevalue("reader")
        line = line.replace("http://127.0.0.1:23300", server.url)
    done = subprocess.run(["bash", "-c", f"set -e; {line}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{place}: {line}\n{done.stdout}{done.stderr}"


def python_blocks() -> list[tuple[str, str]]:
    return [(place, block) for place, block in blocks("python") if not place.startswith(RUN_IN_ORDER)]


@pytest.mark.parametrize(("place", "block"), python_blocks(), ids=lambda value: value[:40])
def test_python_blocks_run(place: str, block: str, workspace: Path) -> None:
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{place}:\n{done.stderr}"


@pytest.mark.parametrize("command", inline_commands())
def test_commands_in_running_text_exist_with_their_options(command: str) -> None:
    from runicorn.cli import main

    words = shlex.split(command.replace("…", ""))[1:]
    found: click.Command = main
    context = click.Context(main)
    while words and isinstance(found, click.Group) and not words[0].startswith("-"):  # a group has options, too
        names = words.pop(0).split("|")
        commands = [found.get_command(context, name) for name in names]
        assert all(commands), f"{command}: no such command"
        found = commands[0] or found
    options = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if word.startswith("-"):
            assert word.partition("=")[0] in {*options, "--help"}, f"{command}: no option {word}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.relative_to(TOP)} links to {target}"


def test_the_plugin_guide_lists_every_hook_with_its_parameters() -> None:
    page = (TOP / "docs" / "plugins" / "README.md").read_text()
    documented = dict(re.findall(r"^\| `(runicorn_\w+)\(([^)]*)\)`", page, re.M))
    hooks = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("runicorn_")}
    assert set(documented) == set(hooks)
    for name, hook in hooks.items():
        parameters = hook.__code__.co_varnames[: hook.__code__.co_argcount]
        assert documented[name] == ", ".join(parameters)
        assert len(hook.__doc__ or "") > 100


def test_the_reference_of_hooks_is_as_the_script_writes_it() -> None:
    command = [sys.executable, str(TOP / "docs" / "generate_hooks.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_page_about_plugins_is_linked_from_their_first_page() -> None:
    directory = TOP / "docs" / "plugins"
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (directory / "README.md").read_text()))
    assert linked == {path.name for path in directory.glob("*.md")} - {"README.md"}


def test_every_decision_is_listed() -> None:
    directory = TOP / "docs" / "adr"
    listed = set(re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (directory / "README.md").read_text()))
    assert listed == {path.name for path in directory.glob("0*.md")}


TRANSLATED = (("README.md", "README.zh.md"), ("docs/quick-reference.md", "docs/quick-reference.zh.md"))


def test_the_chinese_pages_have_the_same_parts_and_lead_to_the_same_pages() -> None:
    for english, chinese in TRANSLATED:
        texts = [(TOP / page).read_text() for page in (english, chinese)]
        # Neither has to name itself, nor the other.
        links = [
            set(re.findall(r"\]\(([^)]+)\)", text))
            - {*re.findall(r"[\w./-]*(?:README|quick-reference)(?:\.zh)?\.md", text)}
            for text in texts
        ]
        assert links[0] == links[1], english
        for part in (r"^(#+) ", r"^(\|)[^-]", r"^(```\w*)$"):
            parts = [re.findall(part, text, re.M) for text in texts]
            assert parts[0] == parts[1], f"{english}: {part}"


def test_every_page_is_linked_from_the_readme_and_every_example_from_its_page() -> None:
    linked = set(re.findall(r"\]\(docs/([\w.-]+\.md)\)", (TOP / "README.md").read_text()))
    assert {path.name for path in TOP.glob("docs/*.md")} == linked
    shown = set(re.findall(r"\]\(\.\./examples/(\w+(?:\.py)?)", (TOP / "docs" / "examples.md").read_text()))
    examples = {
        path.name for path in (TOP / "examples").iterdir() if path.suffix == ".py" or (path / "README.md").exists()
    }
    assert shown == examples


def test_the_chinese_pages_show_the_same_commands() -> None:
    for english, chinese in TRANSLATED:
        commands = [
            set(re.findall(r"(?:^|`)(runicorn [a-z -]+)", (TOP / page).read_text(), re.M))
            for page in (english, chinese)
        ]
        assert commands[0] == commands[1]
