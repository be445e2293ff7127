"""What an error says, and what it never says. Over real HTTP against a real server."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.http_rules.answers import DEVELOPMENT, RATE_HEADERS, assert_is_error
from tests.serving import wait_until


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/nope", "/api/probe", "/api/probe/ws", "/.openapi/openapi.json"]
)
def test_an_unknown_path_is_a_json_404(server, path):
    assert_is_error(server.http.get(path), 404, "Not Found")


def test_an_encoded_slash_never_matches_a_segment(server):
    assert_is_error(server.http.get("/api/probe/items/a%2Fb"), 404, "Not Found")
    assert_is_error(server.http.get("/api/probe%2fitems/a"), 404, "Not Found")


def test_a_path_parameter_is_decoded_once(server):
    assert server.http.get("/api/probe/items/%2541%20%C3%A9").json()["id"] == "%41 é"


def test_a_trailing_slash_is_no_redirect(server):
    assert server.http.get("/api/probe/items/x/").status_code in (200, 404)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
def test_another_method_is_a_405_that_says_what_is_allowed(server, method):
    response = server.http.request(method, "/api/probe/items/x")

    assert_is_error(response, 405, "Method Not Allowed")
    assert "GET" in response.headers["allow"]
    assert method not in response.headers["allow"]


def test_head_on_an_api_path_is_405(server):
    response = server.http.head("/api/health")

    assert response.status_code == 405
    assert "GET" in response.headers["allow"]
    assert response.content == b""


def test_a_bug_is_a_500_without_its_text_but_with_the_headers(server):
    response = server.http.get("/api/probe/bug", headers={"origin": DEVELOPMENT})

    assert_is_error(response, 500, "Internal Server Error")
    assert set(RATE_HEADERS) <= set(response.headers)
    assert response.headers["access-control-allow-origin"] == DEVELOPMENT
    wait_until(lambda: "secret/place" in server.log, "the log line")
    assert "secret" not in response.text


texts = st.text(st.characters(codec="utf-8"), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(
    body=values | st.dictionaries(st.sampled_from(["run_id", "count", "note", "x"]), values),
    query=st.dictionaries(st.sampled_from(["number", "ratio", "flag", "text", "metric", "x"]), texts, max_size=3),
    segment=texts.filter(lambda text: text.strip("/") not in ("", ".", "..")),
)
def test_whatever_is_sent_the_answer_is_json_with_a_detail(server, body, query, segment):
    answers = [
        server.http.post("/api/probe/body", json=body),
        server.http.get("/api/probe/typed", params=query),
        server.http.get("/api/probe/needs", params=query),
        server.http.get("/api/probe/items/" + "".join(f"%{byte:02X}" for byte in segment.encode())),
    ]
    for response in answers:
        assert response.status_code in (200, 400, 404), response.text
        if response.status_code != 200:
            assert isinstance(response.json()["detail"], str)
            assert "\n" not in response.json()["detail"]
