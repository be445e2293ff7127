"""Every answer is as `/openapi.json` says, whatever is sent: statuses, content types and bodies of every operation.

Nothing here names an operation but those that must not be called with invented values; new ones are checked as they appear.
`RUNICORN_FUZZ_EXAMPLES=2000 pytest -m slow tests/contract/test_openapi.py` looks longer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.recorded import wait_until_live
from tests.serving import Server
from tests.stores import make_run, metrics_event

FEW = 3
MANY = int(os.environ.get("RUNICORN_FUZZ_EXAMPLES", "25"))
RUNS = ("20260101_000000_aaaaaa", "20260101_000000_bbbbbb")
RUN_PARAMETERS = frozenset({"run_id", "exp_id"})
SKIPPED = {
    "POST /api/config/user_root_dir": "makes a directory wherever an invented path says, and serves it from then on",
}
"""Operations that are left out, with the reason."""

RATE_HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a store that may be destroyed, with a home and a configuration of its own."""
    directory = tmp_path_factory.mktemp("fuzzed")
    root = directory / "root"
    for name, run_id in zip("ab", RUNS, strict=True):
        make_run(
            root,
            f"p/{name}/runs/{run_id}",
            events=metrics_event(global_step=1, loss=0.5) * 3,
            meta={"project": "p", "name": name, "created_at": 1.0},
            status={"status": "finished"},
            summary={"best_metric_value": 0.5, "best_metric_name": "loss"},
        )
    environment = {"HOME": str(directory / "home"), "XDG_CONFIG_HOME": str(directory / "config")}
    (directory / "home").mkdir()
    server = Server(root, "--rate-limit", "off", environment=environment)
    wait_until_live(server)
    yield server
    server.stop()


def is_endless(operation: Any) -> bool:
    """An answer that ends when the client leaves."""
    content = operation.definition.raw["responses"].get("200", {}).get("content", {})
    return "text/event-stream" in content


def accepts_anything(operation: Any) -> bool:
    """Nothing that can be sent breaks its rules: the text in its path is all that there is."""
    raw = operation.definition.raw
    parameters = raw.get("parameters", [])
    return "requestBody" not in raw and all(
        parameter["in"] == "path" and parameter["schema"] == {"type": "string"} for parameter in parameters
    )


def operations(server: Server) -> list[Any]:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    return [result.ok() for result in schema.get_all_operations()]


@pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.slow(30))])
@pytest.mark.timeout(0 if MANY > 100 else 600)
def test_every_answer_is_as_the_document_says(server: Server, examples: int) -> None:
    problems: list[str] = []
    found = operations(server)
    for operation in found:
        name = f"{operation.method.upper()} {operation.path}"
        if name not in SKIPPED and not is_endless(operation):
            problems += [f"{name}: {problem}" for problem in problems_of(server, operation, examples)]
    assert not problems, "\n\n".join(problems)
    assert len(found) > 10
    assert server.process.poll() is None


def problems_of(server: Server, operation: Any, examples: int) -> Iterator[str]:
    modes = [GenerationMode.POSITIVE]
    if not accepts_anything(operation):  # hundreds of values would be invented to find that out
        modes.append(GenerationMode.NEGATIVE)
    for mode in modes:

        @seed(20260101)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), known=st.sampled_from([None, *RUNS]))
        def check(case: Any, known: str | None) -> None:
            if known is not None:  # invented ids name no run
                for name in RUN_PARAMETERS.intersection(case.path_parameters or {}):
                    case.path_parameters[name] = known
            if isinstance(case.body, dict) and isinstance(case.body.get("host"), str) and case.body["host"]:
                case.body |= {"host": "127.0.0.1", "port": 1}  # no machine is called whose name was invented
            response = case.call(base_url=server.url, timeout=20)
            case.validate_response(response, checks=CHECKS)
            check_common_rules(response, server)

        try:
            check()
        except Exception as error:
            yield f"{type(error).__name__}: {error}"[:1500]


def check_common_rules(response: Any, server: Server) -> None:
    """What holds for every answer below `/api`, whoever gives it."""
    assert set(RATE_HEADERS) <= set(response.headers), "an answer without the headers of rate limits"
    assert "access-control-allow-credentials" not in response.headers
    assert response.headers.get("access-control-allow-origin") != ["*"]
    if response.status_code >= 400:
        assert os.fsencode(server.root) not in response.content, "an error that shows a path"


def test_preflights_allow_every_method_that_there_is(server: Server) -> None:
    asked = {"origin": "http://localhost:5173", "access-control-request-method": "PATCH"}
    answer = server.http.options("/api/experiments/x", headers=asked)
    allowed = set(answer.headers["access-control-allow-methods"].split(", "))
    assert {operation.method.upper() for operation in operations(server)} <= allowed
