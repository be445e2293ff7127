"""Artifacts: saving big and many files beside a plain copy, the next version, and the lineage of many runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import runicorn
from benchmarks.client import Client
from benchmarks.figures import Times, amount, duration, mebibytes, timed
from benchmarks.served import serving
from benchmarks.table import Row
from benchmarks.workspace import Workspace, progress

_PROJECT = "vision"
_VERSIONS = 100  # of each model: saving one costs time in proportion to how many there are
_SMALL_BYTES = 1024
_ROUNDS = 3


def saving(space: Workspace) -> Iterator[Row]:
    """Rows for a directory of big files, for its next version, and for many small files."""
    source = space.fresh("artifact-source")
    big, each = space.size.artifact_files, space.size.artifact_mb << 20
    _write(source / "big", big, each)
    times, copies = _saved_and_copied(space, source / "big")
    what = f"{big} files of {mebibytes(each)}"
    yield Row(
        name="artifacts",
        what=f"`log_artifact` of {what}: hashed, stored once, verified, durable",
        measured=f"{duration(times.p50)}, {big * each / times.p50 / 1e6:.0f} MB/s; {times.p50 / copies.p50:.1f}× a plain copy",
        baseline=f"a copy without hashes and disk sync: {duration(copies.p50)}",
        ratio=copies.p50 / times.p50,
        values={"p50": times.p50, "copy": copies.p50},
    )
    root = space.fresh("artifact-versions")
    _save(root, source / "big")
    before = _stored(root)
    changed = Times([_changed(root, source / "big", number) for number in range(_ROUNDS)])
    grown = (_stored(root) - before) / _ROUNDS
    yield Row(
        name="artifacts",
        what=f"… the next version, one of {what} changed",
        measured=f"{duration(changed.p50)}; {mebibytes(grown)} more on disk",
        values={"p50": changed.p50, "bytes": grown},
    )
    shutil.rmtree(root)
    _write(source / "small", space.size.small_files, _SMALL_BYTES)
    times, copies = _saved_and_copied(space, source / "small")
    yield Row(
        name="artifacts",
        what=f"`log_artifact` of {amount(space.size.small_files)} files of 1 KiB",
        measured=f"{duration(times.p50)}, {amount(space.size.small_files / times.p50)} files/s;"
        f" {times.p50 / copies.p50:.1f}× a plain copy",
        baseline=f"a copy without hashes and disk sync: {duration(copies.p50)}",
        ratio=copies.p50 / times.p50,
        values={"p50": times.p50, "copy": copies.p50},
    )
    shutil.rmtree(source)


def lineage(space: Workspace) -> Iterator[Row]:
    """Rows for questions about a data set that every run has used, and about one of the models made with it."""
    runs = space.size.lineage_runs
    root = space.fresh("lineage")
    folder = space.fresh("lineage-files")
    progress(f"{runs} runs use a data set and save a model")
    last = _star(root, folder, runs)
    questions = (
        ("lineage of a model", f"/api/artifacts/{last}/lineage"),
        ("provenance of a model", f"/api/artifacts/{last}/provenance"),
        ("impact of the data set", "/api/artifacts/images/v1/impact"),
    )
    with serving(root, space.fresh("state-lineage")) as server:
        client = Client(server.url)
        server.wait_until_level(client, runs + 1)
        for what, path in questions:
            answer = client.get(path)
            if answer.status != 200:
                raise RuntimeError(f"{path} is answered with {answer.status}")
            times = Times([timed(lambda path=path: client.get(path)) for _ in range(max(10, space.size.rounds * 3))])
            yield Row(
                name="lineage",
                what=f"{what}, where {amount(runs)} runs have used one data set ({len(answer.body) / 1e3:.1f} kB)",
                measured=str(times),
                values={"p50": times.p50, "p99": times.p99, "bytes": float(len(answer.body))},
            )
        client.close()


def _star(root: Path, folder: Path, runs: int) -> str:
    """Every hundred runs make versions of a model of their own; the last version, as addresses name it."""
    data = folder / "data.bin"
    data.write_bytes(os.urandom(64))
    with runicorn.init(_PROJECT, storage=str(root), name="prepare", capture_env=False):
        runicorn.log_artifact(data, name="images", type="dataset")
    model = folder / "model.bin"
    for number in range(runs):
        model.write_bytes(number.to_bytes(8, "little"))
        with runicorn.init(_PROJECT, storage=str(root), name="train", capture_env=False):
            runicorn.use_artifact("images:latest")
            runicorn.log_artifact(model, name=f"net-{number // _VERSIONS}", type="model")
        if number % 1000 == 999:
            progress(f"{number + 1} of {runs} runs")
    return f"net-{(runs - 1) // _VERSIONS}/v{(runs - 1) % _VERSIONS + 1}"


def _write(directory: Path, files: int, size: int) -> None:
    directory.mkdir(parents=True)
    random = np.random.default_rng(size)
    for number in range(files):
        (directory / f"{number:05}.bin").write_bytes(random.bytes(size))


def _saved_and_copied(space: Workspace, source: Path) -> tuple[Times, Times]:
    """In turn, each time into an empty root and an empty directory."""
    pairs: list[tuple[float, float]] = []
    for number in range(min(_ROUNDS, space.size.rounds)):
        root, copy = space.fresh(f"{source.name}-root-{number}"), space.directory / f"{source.name}-copy-{number}"
        pairs.append(
            (timed(lambda root=root: _save(root, source)), timed(lambda copy=copy: shutil.copytree(source, copy)))
        )
        shutil.rmtree(root)
        shutil.rmtree(copy)
    return Times([pair[0] for pair in pairs]), Times([pair[1] for pair in pairs])


def _save(root: Path, source: Path) -> None:
    with runicorn.init(_PROJECT, storage=str(root), capture_env=False):
        runicorn.log_artifact(source, name="weights", type="model")


def _changed(root: Path, source: Path, number: int) -> float:
    (source / f"{number:05}.bin").write_bytes(
        np.random.default_rng(number).bytes((source / "00000.bin").stat().st_size)
    )
    return timed(lambda: _save(root, source))


def _stored(root: Path) -> int:
    """Bytes on disk; a file with several names counts once."""
    found = (path.stat() for path in root.rglob("*") if path.is_file())
    return sum({one.st_ino: one.st_blocks * 512 for one in found}.values())
