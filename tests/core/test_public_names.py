"""What `import runicorn` offers, and what it costs."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import runicorn
from tests.core.sdk.run_files import run_python

HEAVY = ["numpy", "asyncio", "litestar", "sqlite3", "apsw", "psutil", "pandas", "PIL", "click", "pluggy", "subprocess"]


def test_every_public_name_exists_and_is_listed():
    assert len(set(runicorn.__all__)) == len(runicorn.__all__)
    for name in runicorn.__all__:
        assert getattr(runicorn, name).__name__ == name
        assert name in dir(runicorn)
    assert runicorn.__version__


def test_type_checkers_see_the_names_where_they_are():
    tree = ast.parse(Path(runicorn.__file__).read_text())
    seen = {
        alias.name: node.module
        for guard in tree.body
        if isinstance(guard, ast.If)
        for node in guard.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == runicorn._HOME_OF
    assert set(seen) == set(runicorn.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'runicorn' has no attribute 'nothing'"):
        runicorn.nothing  # noqa: B018  # to look it up is what raises


def test_the_order_of_arguments_is_that_of_0_4_0():
    expected = ["project", "storage", "run_id", "name", "capture_env"]
    for function in (runicorn.init, runicorn.Run):
        parameters = inspect.signature(function).parameters.values()
        positional = [parameter for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
        assert [parameter.name for parameter in positional] == expected
        assert [parameter.default for parameter in positional] == ["default", None, None, None, True]
    assert list(inspect.signature(runicorn.log_image).parameters) == [
        "key",
        "image",
        "step",
        "caption",
        "format",
        "quality",
    ]


def test_logging_imports_nothing_heavy(tmp_path: Path):
    code = f"""
import sys
import runicorn as rn
assert not any(name.startswith("runicorn.sdk") for name in sys.modules), "imported before use"
rn.init("p", sys.argv[1], capture_env=False)
rn.set_primary_metric("a")
rn.log(a=1.0)
rn.log_text("t")
rn.summary({{"s": 1}})
rn.finish()
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = run_python(code, tmp_path)
    assert done.stdout == "[]\n", done.stderr


def test_a_star_import_has_the_public_names():
    done = run_python("from runicorn import *; print(init.__module__, MetricsExporter.__name__)")
    assert done.stdout == "runicorn.sdk.active MetricsExporter\n", done.stderr
