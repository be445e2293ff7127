"""The images that runs have logged, as a read model: always what the streams say now."""

from __future__ import annotations

import json
import shutil

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.projecting import InProcess
from tests.stores import make_run

ODD = [
    '{"ts":1,"type":"metrics","data":{"image":1}}\n',
    '{"ts":1,"type":"image","data":{"key":5,"path":"media/x"}}\n',
    '{"ts":1,"type":"image","data":{"path":"media/x"}}\n',
    '{"ts":1,"type":"image"}\n',
    "broken\n",
    "\n",
]


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, tuple[object, ...] | None]:
    """A line, and the row that it makes."""
    if draw(st.booleans()):
        return draw(st.sampled_from(ODD)), None
    key, path = draw(st.text(max_size=5)), draw(st.sampled_from(["media/a.png", "../x", "", "media/ü\u0000.png"]))
    step = draw(st.none() | st.integers(-(1 << 70), 1 << 70))
    caption = draw(st.none() | st.text(max_size=5))
    ts = draw(st.sampled_from([1.5, float("nan")]))
    event = {"ts": ts, "type": "image", "data": {"key": key, "path": path, "step": step, "caption": caption}}
    kept = step if step is not None and -(1 << 63) <= step < 1 << 63 else None
    return json.dumps(event, ensure_ascii=draw(st.booleans())) + "\n", (key, path, kept, caption)


def rows(projector: InProcess, key: str) -> list[tuple[object, ...]]:
    return projector.db.execute(
        "SELECT key, path, step, caption FROM run_image JOIN stream ON id = stream_id WHERE name = ? ORDER BY run_image.offset",
        (key,),
    ).fetchall()


@settings(max_examples=25)
@given(st.lists(lines(), max_size=12), st.lists(lines(), max_size=5), st.integers(0, 12))
def test_rows_are_the_images_of_the_stream_in_order_also_when_it_grows_or_is_replaced(
    tmp_path_factory, first: list[tuple[str, tuple[object, ...] | None]], second, cut: int
) -> None:
    base = tmp_path_factory.mktemp("images")
    key = "p/n/runs/one"
    run = make_run(base / "root", key, events="".join(line for line, _ in first[:cut]))
    make_run(base / "root", "p/n/runs/two", events="".join(line for line, _ in second))
    projector = InProcess(base / "root", base / "state")
    try:
        projector.sweep()
        assert rows(projector, key) == [row for _, row in first[:cut] if row]
        with open(run / "events.jsonl", "a") as events:
            events.write("".join(line for line, _ in first[cut:]))
        projector.sweep()
        assert rows(projector, key) == [row for _, row in first if row]
        replacement = run / "new"
        replacement.write_text("".join(line for line, _ in second))
        replacement.replace(run / "events.jsonl")
        projector.sweep()
        assert rows(projector, key) == rows(projector, "p/n/runs/two") == [row for _, row in second if row]
        shutil.rmtree(run)
        projector.sweep()
        assert rows(projector, key) == []
    finally:
        projector.close()
