"""Files shared with other programs."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn.fields import without_surrogates
from runicorn.files import (
    SIDE_FILE_BYTES,
    LockTimeout,
    as_file,
    dump_json,
    file_lock,
    parse_json,
    read_json_object,
    replace_file,
    write_json,
)


def test_a_replaced_file_is_whole_in_every_moment(tmp_path):
    path = tmp_path / "file.json"
    contents = [bytes([letter]) * 50_000 for letter in b"abcd"]
    replace_file(path, contents[0])
    seen: set[bytes] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        for content in contents:
            replace_file(path, content)
    stop.set()
    reader.join()
    assert seen <= set(contents)
    assert os.listdir(tmp_path) == ["file.json"]


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.mkdir()
    (path / "inside").touch()
    with pytest.raises(OSError, match=r".*"):
        replace_file(path, b"new")
    assert os.listdir(tmp_path) == ["file"]


def test_json_is_written_as_0_4_0_writes_it(tmp_path):
    write_json(tmp_path / "meta.json", {"name": "naïve 模型", "best": float("nan"), "bad": "\ud800"}, fsync=True)
    text = (tmp_path / "meta.json").read_text("utf-8")
    assert text == '{\n  "name": "naïve 模型",\n  "best": NaN,\n  "bad": "�"\n}'
    assert (tmp_path / "meta.json").stat().st_mode & 0o777 == 0o644


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    )
)
def test_json_files_are_byte_for_byte_what_json_dumps_writes(value):
    expected = without_surrogates(json.dumps(value, ensure_ascii=False, indent=2)).encode()
    assert as_file(value) == expected


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": NaN}', None),
        (b'{"a": "\xff\xfex"}', {"a": "x"}),
        (b"", None),
        (b"   ", None),
        (b"[1]", None),
        (b'{"a": 1', None),
        (b"[" * 100_000, None),
        (b'{"a": %s}' % (b"9" * 10_000), {"a": None}),
        (b'{"a": "\\ud800"}', {"a": "�"}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
    ],
)
def test_a_stored_object_is_read_tolerantly(tmp_path, content, value):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    found = read_json_object(path)
    assert found == value or (content.endswith(b"NaN}") and found is not None and found["a"] != found["a"])


def test_what_is_not_a_readable_file_is_none(tmp_path):
    assert read_json_object(tmp_path / "missing") is None
    assert read_json_object(tmp_path) is None
    (tmp_path / "large").write_bytes(b'{"a": 1}'.ljust(SIDE_FILE_BYTES))
    assert read_json_object(tmp_path / "large") == {"a": 1}
    (tmp_path / "large").write_bytes(b'{"a": 1}'.ljust(SIDE_FILE_BYTES + 1))
    assert read_json_object(tmp_path / "large") is None
    assert read_json_object(tmp_path / "large", limit=None) == {"a": 1}
    os.mkfifo(tmp_path / "pipe")
    assert read_json_object(tmp_path / "pipe") is None


def test_two_hundred_levels_are_read_and_more_are_refused():
    fits = b"[" * 200 + b"]" * 200
    assert json.dumps(parse_json(fits)).encode() == fits
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(b"[" * 202 + b"]" * 202)
    assert len(parse_json(b"[" + b"[],[]," * 1000 + b"[]]")) == 2001  # many brackets are not many levels


def test_dumped_json_is_compact_and_any_size(tmp_path):
    assert (
        dump_json({"big": 10**30, "zero": -0.0, "text": "ü"}) == '{"big":%d,"zero":-0.0,"text":"ü"}'.encode() % 10**30
    )


def _hold(path, is_held, release):
    with file_lock(path):
        is_held.set()
        release.wait(30)


def test_a_lock_held_by_another_process_times_out_and_is_free_after_its_end(tmp_path):
    context = multiprocessing.get_context("spawn")
    is_held, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "lock", is_held, release))
    holder.start()
    try:
        assert is_held.wait(30)
        with pytest.raises(LockTimeout), file_lock(tmp_path / "lock", timeout_s=0.05):
            pass
    finally:
        holder.kill()
        holder.join()
    with file_lock(tmp_path / "lock", timeout_s=10):
        pass


def test_a_lock_excludes_threads_of_one_process(tmp_path):
    count = 0

    def work() -> None:
        nonlocal count
        for _ in range(50):
            with file_lock(tmp_path / "lock"):
                before = count
                os.stat(tmp_path)
                count = before + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 200


def test_a_pipe_that_somebody_holds_open_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "meta.json")
    writer = os.open(tmp_path / "meta.json", os.O_RDWR)
    try:
        assert read_json_object(tmp_path / "meta.json") is None
    finally:
        os.close(writer)
