"""`python -m benchmarks [--size tiny|small|full] [--rows name,name] [--with mlflow] [--json FILE] [--doc FILE]`.

Prints a Markdown table; progress goes to standard error. The exit status is 1 if a row could not be measured. A missed
budget is not an error: the table says so.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import sys
import tempfile
import traceback
from pathlib import Path

import msgspec

from benchmarks.loopback import client_cost
from benchmarks.machine import machine
from benchmarks.rows import BENCHMARKS, OPTIONAL
from benchmarks.sizes import SIZES, Size
from benchmarks.table import Row, markdown
from benchmarks.workspace import Workspace, progress

_BEGIN, _END = "<!-- table: begin -->\n", "<!-- table: end -->"


def measure(size: Size, names: list[str], directory: Path) -> list[Row]:
    """Run the named benchmarks. One that fails becomes a row that says so; the others go on."""
    space = Workspace(directory, size)
    rows: list[Row] = []
    for name in names:
        progress(name)
        gc.collect()
        try:
            for row in (BENCHMARKS | OPTIONAL)[name](space):
                progress(f"{row.what}: {row.measured}")
                rows.append(row)
        except Exception as error:  # whatever a benchmark meets concerns its own rows alone
            traceback.print_exc()
            rows.append(Row(name=name, what=name, measured=f"failed: {type(error).__name__}", failed=True))
    return rows


def report(size: Size, rows: list[Row]) -> str:
    """The table with what it was measured on."""
    small, large = client_cost(min(size.requests, 500))
    facts = machine() | {
        "client": f"included in HTTP times: {small} for 200 bytes, p50 {large.p50 * 1e3:.2f} ms for 3 MB"
    }
    heading = "; ".join(f"{key}: {value}" for key, value in facts.items())
    return f"Size `{size.name}`. {heading}.\n\n{markdown(rows)}\n"


def main() -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[2])
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--rows", default=",".join(BENCHMARKS), help="names of benchmarks, separated by commas")
    parser.add_argument(
        "--with",
        dest="others",
        action="append",
        default=[],
        choices=sorted(OPTIONAL),
        help="also compare with another tracker on the same data; it is an extra: pip install -e '.[mlflow]'",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--doc", type=Path, metavar="FILE", help="also replace the table in a Markdown file")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where stores are written (default: temporary)")
    arguments = parser.parse_args()
    names = [name.strip() for name in arguments.rows.split(",") if name.strip()]
    names = [name for name in names if name not in arguments.others]
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"no such rows: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    names += arguments.others
    for other in arguments.others:
        if importlib.util.find_spec(other) is None:
            parser.error(f"{other} is not installed; pip install -e '.[{other}]' installs it")
    size = SIZES[arguments.size]
    with tempfile.TemporaryDirectory(prefix="runicorn-benchmarks-", dir=arguments.directory) as directory:
        rows = measure(size, names, Path(directory))
    text = report(size, rows)
    print(text)
    if arguments.json is not None:
        facts = {"size": size.name, "machine": machine(), "rows": rows}
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(facts), indent=2) + b"\n")
    if arguments.doc is not None:
        before, _, rest = arguments.doc.read_text("utf-8").partition(_BEGIN)
        arguments.doc.write_text(f"{before}{_BEGIN}{text}{_END}{rest.partition(_END)[2]}", "utf-8")
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
