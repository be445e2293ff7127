"""Warnings of a run: each once, and not without end."""

from __future__ import annotations

import logging

import pytest

from runicorn.sdk.warn_once import Warnings


def said(warnings: Warnings, caplog: pytest.LogCaptureFixture) -> list[str]:
    with caplog.at_level(logging.WARNING, logger="runicorn"):
        warnings.say()
    return [record.getMessage() for record in caplog.records if record.name == "runicorn"]


def test_a_thing_is_said_once(caplog):
    warnings = Warnings()
    for _ in range(3):
        warnings.note("loss", "loss is not a number")

    assert said(warnings, caplog) == ["loss is not a number"]


def test_names_that_are_new_with_every_call_are_not_warned_about_without_end(caplog):
    warnings = Warnings()
    for number in range(10_000):
        warnings.note(f"gradient/{number}", f"gradient/{number} is not a number")

    texts = said(warnings, caplog)
    assert len(texts) == 101
    assert texts[99:] == ["gradient/99 is not a number", "further warnings about this run are not shown"]
