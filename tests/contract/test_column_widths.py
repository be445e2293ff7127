"""`/api/config/column-widths`: table layouts of the web interface."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import Server

PATH = "/api/config/column-widths"
PLACE = {"table": "experiments", "size": "1900x1000"}


class Session:
    """A server with a configuration of its own."""

    def __init__(self, base: Path) -> None:
        self.file = base / "config" / "runicorn" / "ui_preferences.json"
        config = {"XDG_CONFIG_HOME": str(base / "config")}
        self.server = Server(base / "root", "--rate-limit", "off", environment=config)
        self.http = self.server.http

    def save(self, widths: object, **fields: object):
        return self.http.post(PATH, json={**PLACE, "widths": widths, **fields})

    def widths(self, **place: str) -> object:
        return self.http.get(PATH, params={**PLACE, **place}).json()["widths"]

    def delete(self, **query: str):
        return self.http.delete(PATH, params=query)


@pytest.fixture(scope="module")
def module_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    session = Session(tmp_path_factory.mktemp("widths"))
    yield session
    assert session.server.stop() == 0
    assert "Traceback" not in session.server.log


@pytest.fixture
def session(module_session: Session) -> Session:
    module_session.file.parent.mkdir(parents=True, exist_ok=True)
    for file in module_session.file.parent.glob("ui_preferences.json*"):
        file.unlink()
    return module_session


def test_what_is_not_stored_has_no_widths(session: Session) -> None:
    answer = session.http.get(PATH, params=PLACE)
    assert (answer.status_code, answer.json()) == (200, {**PLACE, "widths": {}})
    assert not session.file.exists()


def test_a_layout_is_stored_rounded_and_clamped(session: Session) -> None:
    widths = {"project": 120.5, "name": "99", "a": "100.4", "b": -5, "c": 10**30, "d": 1e300, "ü": 0}
    answer = session.save(widths, window_width=1913.6, window_height="1003", other=[])
    assert answer.json() == {"ok": True, "message": "Column width preferences saved"}
    assert session.widths() == {"project": 120, "name": 99, "a": 100, "b": 0, "c": 10000, "d": 10000, "ü": 0}
    ((key, entry),) = json.loads(session.file.read_text())["column_widths"].items()
    assert key == "experiments@1900x1000"
    assert list(entry) == ["widths", "window_width", "window_height", "updated_at"]
    assert (entry["window_width"], entry["window_height"]) == (1914, 1003)
    assert entry["updated_at"] > 1.7e9
    assert session.file.stat().st_mode & 0o777 == 0o600


def test_a_layout_replaces_the_earlier_one(session: Session) -> None:
    session.save({"a": 1, "b": 2})
    session.save({"b": 3})
    assert session.widths() == {"b": 3}
    assert session.save({}).status_code == 200
    assert session.widths() == {}


def test_resetting_a_table_leaves_those_whose_name_goes_on(session: Session) -> None:
    for table, size in (("t", "1x1"), ("t", "2x2"), ("t@x", "1x1"), ("tt", "1x1")):
        session.save({"a": 1}, table=table, size=size)
    done = {"ok": True, "message": "Column width preferences reset"}
    assert session.delete(table="t", size="2x2").json() == done
    assert session.widths(table="t", size="1x1") == {"a": 1}
    assert session.delete(table="t").json() == done
    assert list(json.loads(session.file.read_text())["column_widths"]) == ["t@x@1x1", "tt@1x1"]
    assert session.delete(table="nothing").json() == done
    assert session.delete(table="tt", size="").json() == done  # an empty parameter is an absent one
    assert list(json.loads(session.file.read_text())["column_widths"]) == ["t@x@1x1"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"size": "s", "widths": {}}, "Missing required field: table"),
        ({"table": "t", "widths": {}}, "Missing required field: size"),
        ({"table": "t", "size": "s"}, "Missing required field: widths"),
        ({"table": "", "size": "s", "widths": {}}, "Invalid value for table: "),
        ({"table": "t" * 65, "size": "s", "widths": {}}, "Invalid value for table: "),
        ({"table": 5, "size": "s", "widths": {}}, "Invalid value for table: "),
        ({"table": "t", "size": "a@b", "widths": {}}, "Invalid value for size: "),
        ({"table": "t", "size": "s" * 65, "widths": {}}, "Invalid value for size: "),
        ({"table": "t", "size": "s", "widths": []}, "Invalid value for widths: "),
        ({"table": "t", "size": "s", "widths": None}, "Invalid value for widths: "),
        ({"table": "t", "size": "s", "widths": {"a": None}}, "Invalid value for widths: "),
        ({"table": "t", "size": "s", "widths": {"a": True}}, "Invalid value for widths: "),
        ({"table": "t", "size": "s", "widths": {"a": "x"}}, "Invalid value for widths: "),
        ({"table": "t", "size": "s", "widths": {"a": "nan"}}, "Invalid value for widths: "),
        ({"table": "t", "size": "s", "widths": {"a": "1_0"}}, "Invalid value for widths: "),
        ({"table": "t", "size": "s", "widths": {"a": "1e999"}}, "Invalid value for widths: "),
        ({"table": "t", "size": "s", "widths": {"a": [1]}}, "Invalid value for widths: "),
        ({"table": "t", "size": "s", "widths": {"a" * 300: 1}}, "Invalid value for widths: "),
        ({"table": "t", "size": "s", "widths": {str(n): 1 for n in range(201)}}, "Invalid value for widths: "),
        ({"table": "t", "size": "s", "widths": {}, "window_width": "wide"}, "Invalid value for window_width: "),
        ({"table": "t", "size": "s", "widths": {}, "window_height": True}, "Invalid value for window_height: "),
        ([], "Request body must be a JSON object"),
    ],
)
def test_what_is_no_layout_is_refused_and_nothing_is_written(session: Session, body: object, detail: str) -> None:
    answer = session.http.post(PATH, json=body)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail), answer.text
    assert not session.file.exists()


@pytest.mark.parametrize(
    ("method", "query", "detail"),
    [
        ("GET", {"size": "s"}, "Missing required parameter: table"),
        ("GET", {"table": "t"}, "Missing required parameter: size"),
        ("GET", {"table": "", "size": "s"}, "Missing required parameter: table"),
        ("GET", {"table": "t" * 65, "size": "s"}, "Invalid value for table: must have 1 to 64 characters"),
        ("GET", {"table": "t", "size": "a@b"}, "Invalid value for size: must have 1 to 64 characters, without @"),
        ("DELETE", {}, "Missing required parameter: table"),
        ("DELETE", {"size": "s"}, "Missing required parameter: table"),
        ("DELETE", {"table": "t", "size": "@"}, "Invalid value for size: must have 1 to 64 characters, without @"),
    ],
)
def test_parameters_are_checked(session: Session, method: str, query: dict[str, str], detail: str) -> None:
    answer = session.http.request(method, PATH, params=query)
    assert (answer.status_code, answer.json()["detail"]) == (400, detail)


@pytest.mark.parametrize(
    "content",
    [
        "[1, 2]", "garbage", "", '{"column_widths": []}', '{"column_widths": {"experiments@1900x1000": 5}}',
        '{"column_widths": {"experiments@1900x1000": {"widths": [1]}, "x": null, "y": []}}',
        '{"column_widths": {"experiments@1900x1000": {"widths": {"a": "x", "b": null}, "updated_at": "never"}}}',
    ],
)  # fmt: skip
def test_odd_preferences_are_no_error_and_nothing_of_them_is_lost(session: Session, content: str) -> None:
    session.file.write_text(content)
    assert session.widths() == {}
    assert session.delete(table="other").status_code == 200
    assert session.file.read_text() == content
    assert session.save({"a": 5}).status_code == 200
    assert session.widths() == {"a": 5}
    kept = [file.read_text() for file in session.file.parent.glob("ui_preferences.json.broken-*")]
    assert kept == ([content] if "never" not in content else [])


def test_other_preferences_survive_and_the_oldest_layouts_go(session: Session) -> None:
    layouts = {f"t@{n}": {"widths": {"a": n}, "updated_at": 1000.0 + n} for n in range(500)}
    layouts["t@7"]["updated_at"] = 5.0
    session.file.write_text(json.dumps({"theme": "dark", "column_widths": layouts}))
    session.save({"a": 1})
    stored = json.loads(session.file.read_text())
    assert stored["theme"] == "dark"
    assert len(stored["column_widths"]) == 500
    assert "t@7" not in stored["column_widths"]
    assert "t@0" in stored["column_widths"]
    assert session.widths() == {"a": 1}
