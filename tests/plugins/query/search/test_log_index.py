"""The index of logs finds what a naive scan finds, whatever happened to the files in between."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from runicorn_query.search import blocks, log_search
from runicorn_query.search.blocks import Block, cut, lines_of
from runicorn_query.search.index_file import index_path, open_to_read
from runicorn_query.search.indexer import Indexer
from runicorn_query.search.log_search import FIRST, LineHit, LogSearch
from runicorn_query.search.needle import Needle
from runicorn_query.search.searching import Request
from runicorn_query.search.settings import Settings

KEYS = [f"p/n/runs/{name}" for name in "abc"]
ALPHABET = "ab AßİſéÉ\N{KELVIN SIGN}k訓练0:|\"'*%_\t\f\x00\u2028\ufffd\uffff\U0001f600\N{LATIN SMALL LIGATURE FFI}fi"
TEXTS = st.text(ALPHABET, max_size=12)
BYTES = st.one_of(
    TEXTS.map(lambda text: text.encode()),
    st.sampled_from([b"\n", b"\r\n", b"\r", b"12:34:56 | ", b"\xe7\xbb", b"\x83", b"\xff", b"\n\n"]),
)
CONTENT = st.lists(BYTES, max_size=30).map(b"".join)


def naive(data: bytes, needle: str) -> list[tuple[int, int, str]]:
    """(line number, offset, text) of each line that holds the needle, as plainly as can be written."""
    found = []
    offset = 0
    for number, line in enumerate(re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z", data), 1):
        text = line.rstrip(b"\r\n").decode("utf-8", "ignore")
        if needle.casefold() in text.casefold():
            found.append((number, offset, text))
        offset += len(line)
    return found


def search(root: Path, state: Path, needle: str, *, page: int = 1000) -> list[LineHit]:
    """All hits, page by page."""
    db = open_to_read(state)
    assert db is not None
    hits: list[LineHit] = []
    place = FIRST
    while True:
        found = LogSearch(db, root, Needle(needle), lambda key: True).find(page, place)
        hits += found.hits
        if found.next is None:
            db.close()
            return hits
        assert found.next < place
        place = found.next


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of three lines or 40 bytes, lines of at most 60: small files have many."""
    monkeypatch.setattr(blocks, "BLOCK_LINES", 3)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 40)


class Logs(RuleBasedStateMachine):
    """Logs that grow, are truncated, rotated, replaced and removed; the index looks at them now and then."""

    @initialize()
    def begin(self) -> None:
        self.base = Path(tempfile.mkdtemp())
        self.root, self.state = self.base / "root", self.base / "state"
        self.state.mkdir()
        for key in KEYS:
            (self.root / key).mkdir(parents=True)
        self.indexer = Indexer(self.root, self.state, Settings())
        self.times = 0

    def path(self, key: str) -> Path:
        return self.root / key / "logs.txt"

    def changed(self, key: str) -> None:
        self.times += 1  # two changes within one tick of the clock, at the same size, look alike to anybody
        if self.path(key).exists():
            os.utime(self.path(key), ns=(self.times * 10**9, self.times * 10**9))

    @rule(key=st.sampled_from(KEYS), content=CONTENT)
    def append(self, key: str, content: bytes) -> None:
        with self.path(key).open("ab") as file:
            file.write(content)
        self.changed(key)

    @rule(key=st.sampled_from(KEYS), size=st.integers(0, 60))
    def truncate(self, key: str, size: int) -> None:
        if self.path(key).exists():
            os.truncate(self.path(key), min(size, self.path(key).stat().st_size))
            self.changed(key)

    @rule(key=st.sampled_from(KEYS), content=CONTENT)
    def rewrite_in_place(self, key: str, content: bytes) -> None:
        self.path(key).write_bytes(b"!" + content)
        self.changed(key)

    @rule(key=st.sampled_from(KEYS), content=CONTENT)
    def rotate(self, key: str, content: bytes) -> None:
        if self.path(key).exists():
            self.path(key).rename(self.path(key).with_name("logs.txt.1"))
        self.path(key).write_bytes(content)
        self.changed(key)

    @rule(key=st.sampled_from(KEYS))
    def remove(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    @rule(key=st.sampled_from(KEYS))
    def remove_run(self, key: str) -> None:
        shutil.rmtree(self.root / key)
        (self.root / key).mkdir()

    @rule(key=st.sampled_from(KEYS))
    def look_at(self, key: str) -> None:
        self.indexer.look_at(key)

    @rule()
    def reopen(self) -> None:
        self.indexer.close()
        self.indexer = Indexer(self.root, self.state, Settings())

    @rule(needle=TEXTS.filter(lambda text: text.strip()), page=st.sampled_from([1, 2, 1000]))
    def search_as_a_naive_scan_does(self, needle: str, page: int) -> None:
        self.indexer.sweep()
        contents = {key: self.path(key).read_bytes() for key in KEYS if self.path(key).exists()}
        # What is there, as well as what was made up.
        needles = {needle, *(_pick(data, len(needle)) for data in contents.values())}
        for text in needles - {""}:
            hits = search(self.root, self.state, text, page=page)
            for key in KEYS:
                own = [(hit.line, hit.offset, hit.text) for hit in hits if hit.key == key]
                assert own[::-1] == naive(contents.get(key, b""), text), (key, text)

    def teardown(self) -> None:
        self.indexer.close()
        shutil.rmtree(self.base)


def _pick(data: bytes, length: int) -> str:
    """A part of a line."""
    lines = [text for text in re.split(r"[\r\n]+", data.decode("utf-8", "ignore")) if text]
    return lines[len(data) % len(lines)][:length] if lines else ""


def test_every_part_of_every_line_is_found_whatever_happens_to_the_files(small_blocks: None) -> None:
    run_state_machine_as_test(Logs, settings=settings(max_examples=40, stateful_step_count=25, deadline=None))


@given(CONTENT, st.data())
def test_blocks_do_not_depend_on_how_the_file_was_read(content: bytes, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_LINES", 3)
        patch.setattr(blocks, "LINE_BYTES", 16)
        whole = cut(content, is_end=True)
        parts: list[Block] = []
        start = end = 0
        while end < len(content):
            end = data.draw(st.integers(end + 1, len(content)))
            is_end = end == len(content) or data.draw(st.booleans())
            found = cut(content[start:end], is_end=is_end)
            closed = [block for block in found if block.is_closed]
            parts += [block._replace(start=block.start + start, end=block.end + start) for block in closed]
            start += closed[-1].end if closed else 0
        assert parts == [block for block in whole if block.is_closed]
        assert b"".join(lines_of(content)) == content
        assert sum(block.lines for block in whole) == len(list(lines_of(content)))


@pytest.fixture
def logs(tmp_path: Path) -> Callable[..., Indexer]:
    """Write logs, and make an indexer for them: `logs({"a": b"…"}, Settings(…))`."""
    (tmp_path / "state").mkdir()

    def make(contents: dict[str, bytes], chosen: Settings | None = None) -> Indexer:
        for number, (name, content) in enumerate(contents.items()):
            path = tmp_path / "root" / "p" / "n" / "runs" / name / "logs.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
        return Indexer(tmp_path / "root", tmp_path / "state", chosen or Settings())

    return make


def found(tmp_path: Path, needle: str) -> list[str]:
    return [hit.key.rpartition("/")[2] for hit in search(tmp_path / "root", tmp_path / "state", needle)]


def test_logs_that_were_not_written_to_for_longest_make_room(tmp_path: Path, logs: Callable[..., Indexer]) -> None:
    filler = b"12:00:00 | nothing to be found\n" * 40_000
    contents = dict.fromkeys("abcd", b"12:00:00 | needle\n" + filler)  # 1.2 MiB each; an index of 1 MiB holds two
    indexer = logs(contents, Settings(limit_mib=1))
    indexer.sweep()
    assert indexer.state.left_out == 2
    assert indexer.state.files == 2
    assert set(found(tmp_path, "needle")) == {"c", "d"}
    with (tmp_path / "root/p/n/runs/a/logs.txt").open("ab") as file:
        file.write(b"12:00:01 | needle again\n")  # the newest now
    indexer.sweep()
    assert set(found(tmp_path, "needle")) == {"a", "d"}
    indexer.sweep()
    assert indexer.state.left_out == 2
    indexer.close()


def test_a_log_that_is_larger_than_the_index_may_become_is_left_out(
    tmp_path: Path, logs: Callable[..., Indexer]
) -> None:
    indexer = logs({"huge": b"needle\n" * 600_000, "small": b"needle\n"}, Settings(limit_mib=1))
    indexer.sweep()
    assert found(tmp_path, "needle") == ["small"]
    assert (indexer.state.left_out, indexer.state.is_complete) == (1, True)
    indexer.close()


def test_excluded_logs_are_not_indexed_and_forgotten(tmp_path: Path, logs: Callable[..., Indexer]) -> None:
    indexer = logs({"a": b"needle\n", "b": b"needle\n"})
    indexer.sweep()
    indexer.close()
    indexer = logs({}, Settings(exclude=("p/*/a",)))
    indexer.sweep()
    assert found(tmp_path, "needle") == ["b"]
    indexer.close()


def test_a_damaged_index_is_made_anew(tmp_path: Path, logs: Callable[..., Indexer]) -> None:
    logs({"a": b"needle\n"}).close()
    index_path(tmp_path / "state").write_bytes(b"no database at all" * 1000)
    (tmp_path / "state" / "query-logs-0.db").write_bytes(b"of an older version")
    indexer = logs({})
    indexer.sweep()
    assert found(tmp_path, "needle") == ["a"]
    assert not (tmp_path / "state" / "query-logs-0.db").exists()
    indexer.close()


def test_what_cannot_be_looked_at_is_not_forgotten(tmp_path: Path, logs: Callable[..., Indexer]) -> None:
    indexer = logs({"a": b"needle\n", "b": b"needle\n"})
    indexer.sweep()
    root, log = tmp_path / "root", tmp_path / "root" / KEYS[0] / "logs.txt"

    def look() -> int:
        indexer.look_at(KEYS[0])
        indexer.look_at_active()
        indexer.sweep()
        return indexer.state.log_bytes

    known = indexer.state.log_bytes
    root.rename(tmp_path / "away")
    assert look() == known
    root.mkdir()  # an empty mount point
    assert look() == known
    root.rmdir()
    (tmp_path / "away").rename(root)
    assert look() == known

    log.rename(log.with_suffix(".away"))
    log.symlink_to(log)  # an error that is not "no such file"
    assert look() == known
    log.unlink()
    assert look() < known
    indexer.close()


def test_an_indexer_that_is_stopped_goes_on_where_it_was(tmp_path: Path, logs: Callable[..., Indexer]) -> None:
    logs({"a": b"".join(b"12:00:00 | line %d of many\n" % number for number in range(200_000))}).close()
    slices = 0
    for _ in range(10):
        asked = iter([False, True])  # one slice, then stop
        indexer = Indexer(tmp_path / "root", tmp_path / "state", Settings(), lambda asked=asked: next(asked, True))
        before = indexer.state.log_bytes
        indexer.sweep()
        slices += indexer.state.log_bytes > before
        indexer.close()
    assert slices == 3  # 5.1 MB in slices of 2 MiB
    assert len(found(tmp_path, "LINE 199999 of")) == 1
    assert len(found(tmp_path, "line 5 of")) == 1


def test_a_search_that_takes_too_long_says_where_to_go_on(
    tmp_path: Path, logs: Callable[..., Indexer], monkeypatch: pytest.MonkeyPatch
) -> None:
    indexer = logs(dict.fromkeys("abcdef", b"needle\n" + b"nothing here\n" * 3000))
    indexer.sweep()
    indexer.close()
    monkeypatch.setattr(log_search, "_MOST_READ_BYTES", 1)
    db = open_to_read(tmp_path / "state")
    assert db is not None
    first = LogSearch(db, tmp_path / "root", Needle("needle"), lambda key: True).find(20)
    assert first.is_truncated
    assert len(first.hits) == 1
    assert first.next is not None
    for place in (FIRST, first.next):
        assert Request(query="needle", cursor="l:{}:{}".format(*place))  # what clients are given is accepted
    db.close()
    assert sorted(found(tmp_path, "needle")) == sorted("abcdef")
    assert len(found(tmp_path, "n")) > 3000  # and without the trigrams


def test_the_index_stays_below_its_share_of_the_log(tmp_path: Path, logs: Callable[..., Indexer]) -> None:
    from random import Random

    random = Random(1)
    line = "12:%02d:%02d | epoch %d step %d loss=%.4f acc=%.4f lr=1.0e-03\n"
    text = "".join(
        line % (step // 60 % 60, step % 60, step // 1000, step, random.random(), random.random())
        for step in range(60_000)
    )
    indexer = logs({"a": text.encode()})
    indexer.sweep()
    assert indexer.state.index_bytes / indexer.state.log_bytes < 0.35
    indexer.close()
