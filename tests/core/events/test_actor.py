"""Who decides: the way on which a command comes in, also in threads; and nobody where a version did not record it."""

from __future__ import annotations

import asyncio
import getpass

import msgspec
import pytest

from runicorn.events.actor import Actor, acting, signed, user_of_process
from runicorn.events.decided import RunPinned
from runicorn.events.envelope import Event, decode_payload, encode_event
from runicorn.events.run import RunFinished
from runicorn.history.telling import decider

PINNED = RunPinned(run="p/n/runs/r", run_id="r", pinned=True)


def test_a_program_and_the_command_line_act_for_the_user_of_the_process() -> None:
    assert signed(PINNED).by == Actor("sdk", getpass.getuser())
    with acting("cli"):
        assert signed(PINNED).by == Actor("cli", getpass.getuser())
    assert signed(PINNED).by == Actor("sdk", getpass.getuser())


def test_a_request_acts_for_nobody_whose_name_is_known() -> None:
    async def request() -> RunPinned:
        with acting("http"):
            return await asyncio.to_thread(signed, PINNED)

    assert asyncio.run(request()).by == Actor("http")


def test_a_decision_that_names_somebody_is_not_signed_again() -> None:
    with acting("http"):
        by_http = signed(PINNED)
    assert signed(by_http) is by_http


def test_what_nobody_decided_is_not_signed() -> None:
    finished = RunFinished(status="finished", ended_at=1.0)
    assert signed(finished) is finished


def test_a_user_without_a_name_leaves_the_way_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    user_of_process.cache_clear()
    try:
        assert signed(PINNED).by == Actor("sdk")
    finally:
        user_of_process.cache_clear()


def test_events_of_versions_that_did_not_record_it_are_read_and_written_as_they_were() -> None:
    line = encode_event(1.0, "run.pinned", PINNED)
    assert b'"by"' not in line
    event = msgspec.json.decode(line, type=Event)
    assert decode_payload(event, RunPinned) == PINNED
    assert decider(PINNED) is None
