"""Writes docs/plugins/hooks.md from the docstrings of `runicorn.hookspecs`; `--check` only says whether it is current."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from runicorn import hookspecs

TOP = Path(__file__).parents[1]
PAGE = TOP / "docs" / "plugins" / "hooks.md"


def page() -> str:
    """The text of the page."""
    introduction = inspect.getdoc(hookspecs) or ""
    parts = [
        "# Hooks",
        "Written by `python docs/generate_hooks.py` from `runicorn.hookspecs`: change it there.",
        introduction,
    ]
    tree = ast.parse(inspect.getsource(hookspecs))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("runicorn_"):
            signature = (
                f"def {node.name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns or ast.Constant(None))}"
            )
            users = ", ".join(implementers(node.name))
            parts += [
                f"## {node.name}",
                f"```text\n{signature}\n```",
                ast.get_docstring(node) or "",
                f"Used by {users}.",
            ]
    return "\n\n".join(parts) + "\n"


def implementers(hook: str) -> Iterator[str]:
    """Plugins of this project and examples that implement a hook."""
    for package in sorted(
        [*TOP.glob("plugins/*/runicorn_*/__init__.py"), *TOP.glob("examples/*/runicorn_*/__init__.py")]
    ):
        if f"def {hook}(" in package.read_text():
            where = package.relative_to(TOP).parts[:2]
            yield f"[{where[1]}](../../{'/'.join(package.relative_to(TOP).parts)})"


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(
            0
            if PAGE.read_text() == page()
            else f"{PAGE.relative_to(TOP)} is not current: python docs/generate_hooks.py"
        )
    PAGE.write_text(page())
