"""Fills the column *result* of docs/faults.md from reports of the tests that its lines name.

`python docs/generate_faults.py REPORT.xml…`; reports are what `pytest --junitxml=REPORT.xml` writes. `--check` changes nothing
and fails where the page says something else, or a test is in no report. One that was skipped, because this machine lacks
what it needs, is named, and no failure. A line whose test is in no report keeps its result.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

PAGE = Path(__file__).with_name("faults.md")
HOLDS, FAILS, SKIPPED = "holds", "**fails**", "not run: it was skipped"
_ROW = re.compile(r"^(\|.*`(tests/[\w/]+)\.py::(\w+)` \| )([^|]*)( \|)$")


def results(reports: Iterable[Path]) -> dict[tuple[str, str], str]:
    """By module (`tests.faults.test_kill`) and function: what became of all of its cases together."""
    found: dict[tuple[str, str], set[str]] = {}
    for report in reports:
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag for child in case}
            result = FAILS if kinds & {"failure", "error"} else SKIPPED if "skipped" in kinds else HOLDS
            name = (case.get("name") or "").partition("[")[0]
            found.setdefault((case.get("classname") or "", name), set()).add(result)
    return {
        test: next(result for result in (FAILS, SKIPPED, HOLDS) if result in several) for test, several in found.items()
    }


def filled(page: str, known: dict[tuple[str, str], str]) -> tuple[str, list[str]]:
    """The page with these results, and the tests that it names and that are not among them."""
    lines: list[str] = []
    missing: list[str] = []
    for line in page.split("\n"):
        row = _ROW.match(line)
        if row is not None:
            before, module, function, said, after = row.groups()
            result = known.get((module.replace("/", "."), function))
            if result is None:
                missing.append(f"{module}.py::{function}")
            line = f"{before}{result or said}{after}"
        lines.append(line)
    return "\n".join(lines), list(dict.fromkeys(missing))


def main(arguments: list[str]) -> int:
    reports = [Path(argument) for argument in arguments if argument != "--check"]
    if not reports:
        sys.exit(__doc__)
    page = PAGE.read_text()
    known = results(reports)
    text, missing = filled(page, known)
    for test in missing:
        print(f"in no report: {test}", file=sys.stderr)
    if "--check" not in arguments:
        PAGE.write_text(text)
        return 0
    text, untold = filled(page, {test: result for test, result in known.items() if result != SKIPPED})
    for test in untold:
        if test not in missing:
            print(f"was skipped: {test}", file=sys.stderr)
    for said, is_so in zip(page.split("\n"), text.split("\n"), strict=True):
        if said != is_so:
            print(f"is not so:  {said}\nit is:      {is_so}", file=sys.stderr)
    return 1 if missing or text != page else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
