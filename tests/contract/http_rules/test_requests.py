"""What a client sends: parameters, bodies, their encodings and types. Over real HTTP against a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.http_rules.answers import assert_is_error


def test_numbers_and_text_that_json_does_not_have_are_replaced(server):
    response = server.http.get("/api/probe/odd")

    assert response.text == '{"nan":null,"huge":1' + 30 * "0" + ',"zero":-0.0,"text":"café \ufffd!"}'


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("number=%2B5", {"number": 5}),
        ("number=-5", {"number": -5}),
        ("number=1&number=7", {"number": 7}),
        ("number=7&number=", {"number": 5}),
        ("number=", {"number": 5}),
        ("number=1&unknown=x", {"number": 1}),
        ("ratio=1e3", {"ratio": 1000.0}),
        ("ratio=-.5", {"ratio": -0.5}),
        ("text=", {"text": None}),
        ("raw=", {"raw": ""}),
        ("text=a%2Bb+c%26d%C3%A9", {"text": "a+b c&dé"}),
        *((f"flag={word}", {"flag": True}) for word in ("true", "1", "YES", "on", "T", "y")),
        *((f"flag={word}", {"flag": False}) for word in ("False", "0", "no", "OFF", "f", "N")),
    ],
)
def test_query_values_are_read_as_the_contract_says(server, query, expected):
    response = server.http.get(f"/api/probe/typed?{query}")

    assert response.status_code == 200, response.text
    assert response.json() == {"number": 5, "ratio": None, "flag": False, "text": None, "raw": None} | expected


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("number=1.0", "number"),
        ("number=1_0", "number"),
        ("number=%D9%A3", "number"),
        ("number=x", "number"),
        ("number=" + "9" * 5000, "number"),
        ("ratio=nan", "ratio"),
        ("ratio=inf", "ratio"),
        ("ratio=1e400", "ratio"),
        ("flag=maybe", "flag"),
        ("flag=2", "flag"),
    ],
)
def test_a_wrong_query_value_is_named(server, query, name):
    response = server.http.get(f"/api/probe/typed?{query}")

    assert response.status_code == 400
    assert response.json()["detail"].startswith(f"Invalid value for {name}: ")


def test_all_wrong_values_are_listed_and_the_first_is_the_detail(server):
    body = server.http.get("/api/probe/typed?flag=maybe&number=x").json()

    assert body["detail"].startswith("Invalid value for flag: ")
    assert [error["field"] for error in body["errors"]] == ["flag", "number"]


@pytest.mark.parametrize(
    ("query", "detail", "fields"),
    [
        (
            "page=x&per_page=0&order_by=x",
            "Invalid value for page: must be an integer",
            ["page", "per_page", "order_by"],
        ),
        ("order_by=x&page=0", "Invalid order_by: x", ["order_by", "page"]),
        ("per_page=1001", "Invalid value for per_page: must be between 1 and 1000", []),
        ("page=0", "Invalid value for page: must be at least 1", []),
        ("q=(&page=0", "Invalid value for q: ", ["q", "page"]),
    ],
)
def test_wrong_values_of_all_kinds_are_listed_together(server, query, detail, fields):
    body = server.http.get(f"/api/v2/experiments?{query}").json()

    assert body["detail"].startswith(detail)
    assert [error["field"] for error in body.get("errors", [])] == fields


def test_all_missing_parameters_are_listed(server):
    body = server.http.get("/api/config/column-widths").json()

    assert body["detail"] == "Missing required parameter: table"
    assert body["errors"] == [{"field": name, "message": "required"} for name in ("table", "size")]


@pytest.mark.parametrize(
    ("method", "path", "body", "errors"),
    [
        (
            "POST",
            "/api/config/ssh_connections",
            {"host": 5, "username": 6, "port": "x"},
            {"host": "must be a string", "port": "must be between 1 and 65535", "username": "must be a string"},
        ),
        ("POST", "/api/config/ssh_connections", {}, {"host": "required", "username": "required"}),
        (
            "POST",
            "/api/config/column-widths",
            {"table": "", "size": 5, "widths": {"a": "x"}},
            {
                "table": "must have 1 to 64 characters",
                "size": "must be a string",
                "widths": "the width of 'a' must be a finite number",
            },
        ),
        (
            "POST",
            "/api/config/column-widths",
            {"table": "", "size": "1@2", "widths": {}, "window_width": "x"},
            {
                "table": "must have 1 to 64 characters",
                "size": "must have 1 to 64 characters, without @",
                "window_width": "must be a finite number",
            },
        ),
        (
            "POST",
            "/api/experiments/tag",
            {"tags": 5, "append": 1},
            {
                "run_id": "run_id is required",
                "append": "must be true or false",
                "tags": "must be a list of strings",
            },
        ),
        (
            "PATCH",
            "/api/experiments/x",
            {"tags": [5], "description": 5, "pinned": "yes"},
            {
                "tags": "must be a list of strings",
                "description": "must be null or a text of at most 10000 characters",
                "pinned": "must be true or false",
            },
        ),
    ],
)
def test_all_wrong_fields_of_a_body_are_listed_and_the_first_is_the_detail(server, method, path, body, errors):
    response = server.http.request(method, path, json=body)
    answer = response.json()

    assert response.status_code == 400
    assert {error["field"]: error["message"] for error in answer["errors"]} == errors
    first = answer["errors"][0]
    assert first["field"] in answer["detail"]
    assert answer["detail"].endswith(first["message"]) or answer["detail"].startswith("Missing required field: ")


def test_a_missing_parameter_and_a_missing_field_are_named(server):
    assert_is_error(server.http.get("/api/probe/needs"), 400, "Missing required parameter: metric")
    assert_is_error(server.http.post("/api/probe/body", json={}), 400, "Missing required field: run_id")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b'"x"', b"5", b'{"a":' * 100_000, b"\xff\xfe"])
def test_a_body_that_is_no_json_object_is_refused(server, content):
    response = server.http.post("/api/probe/body", content=content, headers={"content-type": "application/json"})

    assert_is_error(response, 400, "Request body must be a JSON object")


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_json_body_needs_its_content_type(server, content_type):
    headers = {"content-type": content_type} if content_type else {}
    response = server.http.post("/api/probe/body", content=b'{"run_id":"x"}', headers=headers)

    assert_is_error(response, 400, "Request body must be a JSON object")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"])
def test_json_content_types_may_have_parameters(server, content_type):
    body = b'{"run_id":"x","unknown":[1]}'
    response = server.http.post("/api/probe/body", content=body, headers={"content-type": content_type})

    assert response.json()["run_id"] == "x"


@pytest.mark.parametrize(
    ("content", "content_type"), [(b"", "application/json"), (b"x", "application/json"), (b"a=1", None)]
)
def test_an_endpoint_that_ignores_its_body_accepts_any(server, content, content_type):
    headers = {"content-type": content_type} if content_type else {}

    assert server.http.post("/api/probe/ignores", content=content, headers=headers).json() == {"ok": True}


def test_a_large_body_is_refused_with_and_without_a_length(server):
    def pieces() -> Iterator[bytes]:
        for _ in range(32):
            yield b"x" * (64 << 10)

    headers = {"content-type": "application/json"}
    announced = server.http.post("/api/probe/body", content=b"x" * (2 << 20), headers=headers)
    assert_is_error(announced, 413, "Request body too large")
    assert_is_error(
        server.http.post("/api/probe/body", content=pieces(), headers=headers), 413, "Request body too large"
    )


def test_a_refused_value_of_a_secret_is_not_repeated(server):
    response = server.http.post("/api/probe/body", json={"run_id": "x", "password": ["hunter2"]})

    assert response.status_code == 400
    assert "hunter2" not in response.text
