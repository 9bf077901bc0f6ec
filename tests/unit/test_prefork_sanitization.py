"""A run sends no text that the database refuses, neither in its states nor in its log."""

from __future__ import annotations

import asyncio
import logging

import orjson
import pytest
from prefect.client.schemas.objects import State
from prefect.logging.handlers import APILogHandler
from prefect.states import (
    Completed,
    exception_to_crashed_state,
    exception_to_failed_state,
    to_state_create,
)

from prefect_prefork.forked import sanitization

UNFIT = "a\0b \udc80 c\ud83d"
FIT = r"a\x00b \udc80 c\ud83d"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(APILogHandler, "format", APILogHandler.format)
    monkeypatch.setattr(State, "__init__", State.__init__)
    sanitization.sanitize_outgoing()


@pytest.mark.parametrize("text", ["plain", "Größe 日本 😀", "", r"a\x00"])
def test_text_that_is_fit_stays_what_it_is(text: str) -> None:
    assert sanitization.sanitize(text) == text


def test_a_line_of_a_log_is_sent_whatever_it_holds() -> None:
    record = logging.LogRecord("a", logging.INFO, "", 1, "said %s", (UNFIT,), None)
    record.flow_run_id = "00000000-0000-0000-0000-000000000001"
    sent = APILogHandler().prepare(record)
    assert sent["message"] == f"said {FIT}"
    assert b"\\u0000" not in orjson.dumps(sent)


@pytest.mark.parametrize("make", [exception_to_failed_state, exception_to_crashed_state])
def test_an_error_ends_its_run_whatever_its_text_holds(make: object) -> None:
    state = asyncio.run(make(ValueError(UNFIT)))  # type: ignore[operator]
    assert FIT in state.message
    assert "\\u0000" not in to_state_create(state).model_dump_json()


def test_a_state_that_a_flow_returns_is_sent_whatever_it_holds() -> None:
    sent = to_state_create(Completed(name=UNFIT, message=UNFIT))
    assert (sent.name, sent.message) == (FIT, FIT)
