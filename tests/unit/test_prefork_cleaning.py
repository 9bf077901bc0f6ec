"""What a database refuses never leaves a run: neither in its states nor in the lines of its log."""

from __future__ import annotations

import json
import logging

import orjson
import pytest
from prefect.client.schemas.actions import LogCreate, StateCreate
from prefect.logging.handlers import APILogHandler
from prefect.states import Failed, to_state_create

from worker.prefork import cleaning, upstream
from worker.prefork.ends import End

UNFIT = "a\0b \udc80 c\ud83d"
FIT = r"a\x00b \udc80 c\ud83d"


@pytest.fixture(autouse=True)
def _cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(APILogHandler, "format", APILogHandler.format)
    monkeypatch.setattr(APILogHandler, "prepare", APILogHandler.prepare)
    for each in upstream.STATES_BY:
        monkeypatch.setattr(each, "to_state_create", to_state_create)
    upstream.clean_what_is_sent()


@pytest.mark.parametrize("text", ["plain", "Größe 日本 😀", "", r"a\x00"])
def test_text_that_is_fit_stays_what_it_is(text: str) -> None:
    assert cleaning.clean(text) == text


def test_a_line_of_a_log_is_sent_whatever_it_holds() -> None:
    record = logging.LogRecord(UNFIT, logging.INFO, "", 1, "said %s", (UNFIT,), None)
    record.flow_run_id = "00000000-0000-0000-0000-000000000001"
    sent = APILogHandler().prepare(record)
    assert (sent["message"], sent["name"]) == (f"said {FIT}", FIT)
    orjson.dumps(sent)
    LogCreate.model_validate(sent)


@pytest.mark.parametrize("module", upstream.STATES_BY)
def test_the_message_of_a_state_is_sent_whatever_it_holds(module: object) -> None:
    create = module.to_state_create(Failed(message=UNFIT, name=UNFIT))  # type: ignore[attr-defined]
    assert isinstance(create, StateCreate)
    assert (create.message, create.name) == (FIT, FIT)
    json.loads(create.model_dump_json())
