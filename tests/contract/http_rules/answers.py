"""What the tests of this folder share: names of headers, and how an error looks."""

from __future__ import annotations

import httpx

RATE_HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
DEVELOPMENT = "http://localhost:5173"
"""The origin of a front end that is being developed."""


def assert_is_error(response: httpx.Response, status: int, detail: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"].startswith("application/json")
    assert response.json()["detail"] == detail
