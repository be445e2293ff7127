from __future__ import annotations

import csv
import io
import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runicorn.export import csv_pieces, open_run
from runicorn.export.csv import metric_columns

NOW = datetime(2025, 1, 14, 15, 30, 45, 641996)


def csv_of(metrics, meta=None, **options) -> str:
    return "".join(csv_pieces(metrics, meta, now=NOW, **options))


class TestText:
    def test_comments_end_in_lf_rows_in_crlf(self):
        metrics = [{"loss": 1.0, "acc": 0.58, "global_step": 10, "time": 1704067200.75, "stage": "warmup"}]
        meta = {"project": "vision", "name": "resnet", "id": "20250114_153045_a1b2c3"}
        assert csv_of(metrics, meta) == (
            "# Runicorn Export - 2025-01-14T15:30:45.641996\n"
            "# Project: vision\n"
            "# Experiment: resnet\n"
            "# Run ID: 20250114_153045_a1b2c3\n"
            "#\n"
            "global_step,time,stage,acc,loss\r\n"
            "10,1704067200.75,warmup,0.58,1.0\r\n"
        )

    def test_what_meta_lacks_is_not_available_without_meta_nothing_is_said(self):
        assert csv_of([{"x": 1}], {"name": "two\r\nlines\u2028here"}) == (
            "# Runicorn Export - 2025-01-14T15:30:45.641996\n"
            "# Project: N/A\n# Experiment: two lines here\n# Run ID: N/A\n#\nx\r\n1\r\n"
        )
        assert csv_of([{"x": 1}]) == "# Runicorn Export - 2025-01-14T15:30:45.641996\n#\nx\r\n1\r\n"
        assert csv_of([{"x": 1}], {}, comments=False) == "x\r\n1\r\n"

    def test_values_are_as_python_prints_them(self):
        values = [None, float("nan"), float("-inf"), 1e-7, 1.0, True, False, 10**25, [1, "a"], {"b": None}]
        metrics = [{f"{index:02}": value for index, value in enumerate(values)}]
        assert csv_of(metrics, comments=False).splitlines()[1] == (
            ",nan,-inf,1e-07,1.0,True,False,10000000000000000000000000,\"[1, 'a']\",{'b': None}"
        )

    def test_events_are_not_merged_and_stay_in_order(self):
        metrics = [{"global_step": 2, "a": 1}, {"global_step": 1, "b": 2}, {"global_step": 2, "a": 3}]
        assert csv_of(metrics, comments=False) == "global_step,a,b\r\n2,1,\r\n1,,2\r\n2,3,\r\n"

    def test_leading_columns_then_code_point_order(self):
        assert metric_columns([{"b": 1, "é": 1, "Z": 1}, {"stage": 1, "step": 2}]) == ["step", "stage", "Z", "b", "é"]

    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
    def test_formulas_are_neutralised_in_cells_and_headers(self, start):
        rows = list(
            csv.reader(io.StringIO(csv_of([{f"{start}x": f"{start}cmd()", "n": -1}], comments=False), newline=""))
        )
        assert sorted(rows[0]) == sorted([f"'{start}x", "n"])
        assert sorted(rows[1]) == sorted([f"'{start}cmd()", "-1"])

    def test_no_metrics_give_no_text(self):
        assert csv_of([], {"id": "x"}) == ""

    def test_lone_surrogates_can_be_encoded(self):
        assert csv_of([{"\ud800": "\udfff"}], comments=False).encode().decode() == "\ufffd\r\n\ufffd\r\n"

    @given(
        st.lists(
            st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text(), min_size=1),
            min_size=1,
        )
    )
    def test_every_cell_reads_back(self, metrics):
        text = csv_of(metrics, comments=False)
        header, *rows = list(csv.reader(io.StringIO(text, newline="")))
        columns = metric_columns(metrics)
        assert len(header) == len(columns)
        assert len(rows) == len(metrics)
        for row, data in zip(rows, metrics, strict=True):
            for cell, key in zip(row, columns, strict=True):
                value = data.get(key)
                if isinstance(value, str):
                    assert cell == value or (cell == "'" + value and value[0] in "=+-@\t\r")
                else:
                    assert cell == ("" if value is None else str(value))


class TestReading:
    def write(self, run_dir, *lines: bytes) -> None:
        run_dir.mkdir(exist_ok=True)
        (run_dir / "events.jsonl").write_bytes(b"".join(lines))

    def test_odd_lines_do_not_hide_their_neighbours(self, tmp_path):
        self.write(
            tmp_path / "run",
            b'{"ts":1,"type":"metrics","data":{"a":1}}\n',
            b'{"ts":1,"type":"metrics","data":null}\n{"ts":1,"type":"metrics","data":[1]}\n',
            b"not json\n[1,2]\n\n7\n",
            b'{"ts":1,"type":"image","data":{"a":7}}\n{"ts":1,"type":"run.created","data":{"a":7}}\n',
            b'{"ts":1,"type":"metrics","data":{"a":NaN,"b":"\xff\xfex"}}\r\n',
            b'{"type":"metrics","data":{"a":"\\ud800"}}\n',
            b'{"ts":1,"type":"metrics","data":{"a":' + b"9" * 5000 + b"}}\n",
            b'{"ts":1,"type":"metrics","data":{"a":"torn"}}',
        )
        run = open_run(tmp_path / "run")
        assert csv_of(run.metrics, comments=False) == "a,b\r\n1,\r\nnan,x\r\n\ufffd,\r\n,\r\n"

    def test_what_is_appended_meanwhile_does_not_appear(self, tmp_path):
        self.write(tmp_path / "run", b'{"ts":1,"type":"metrics","data":{"a":1}}\n{"ts":2,"type":"met')
        run = open_run(tmp_path / "run")
        with open(tmp_path / "run" / "events.jsonl", "ab") as file:
            file.write(b'rics","data":{"b":1}}\n{"ts":1,"type":"metrics","data":{"c":1}}\n')
        assert list(run.metrics) == list(run.metrics) == [{"a": 1}]
        assert csv_of(open_run(tmp_path / "run").metrics, comments=False).startswith("a,b,c\r\n")

    def test_many_events_come_in_many_pieces(self, tmp_path):
        lines = (
            json.dumps({"ts": i, "type": "metrics", "data": {"global_step": i, "pad": "x" * 200}}) for i in range(12000)
        )
        self.write(tmp_path / "run", "".join(line + "\n" for line in lines).encode())
        pieces = list(csv_pieces(open_run(tmp_path / "run").metrics, None))
        assert len(pieces) > 10
        assert [line.split(",")[0] for line in "".join(pieces).splitlines()[3:]] == [str(i) for i in range(12000)]

    def test_a_run_without_files_has_nothing(self, tmp_path):
        run = open_run(tmp_path / "missing")
        assert run.is_empty
        assert list(run.metrics) == []

    def test_damaged_side_files_are_empty_missing_ones_are_none(self, tmp_path):
        (tmp_path / "meta.json").write_text("[]")
        (tmp_path / "status.json").write_text("{torn")
        run = open_run(tmp_path)
        assert (run.meta, run.status, run.summary) == ({}, {}, None)
