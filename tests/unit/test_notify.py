"""`notify` never fails, is never silent, and never logs the address of the webhook."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from prefect.blocks.abstract import NotificationError
from prefect.blocks.notifications import SlackWebhook
from prefect.exceptions import ObjectNotFound

from flows.helpers import notify as module
from flows.helpers.notify import NOT_SLACK, notify

if TYPE_CHECKING:
    from collections.abc import Callable

TOKENS = "TAAAAAAAA/BBBBBBBBB/CCCCCCCCCCCC"
ADDRESS = f"https://hooks.slack.com/services/{TOKENS}"
Said = list[tuple[str, str]]
# A plugin of Apprise imports imghdr.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """The level and text of each line that is logged outside a run."""
    lines: Said = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((record.levelname, record.getMessage()))

    logger = logging.Logger("flows-under-test")  # noqa: LOG001 - of this test alone
    logger.addHandler(Keep())
    monkeypatch.setattr(module, "get_logger", lambda _: logger)
    return lines


@pytest.fixture
def block(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives the server a block with an address; sending through it may raise an error."""

    def make(address: str = ADDRESS, error: Exception | None = None) -> None:
        async def aload(_: str) -> SlackWebhook:
            return SlackWebhook(url=address)

        async def anotify(*_: object) -> None:
            if error:
                raise error

        monkeypatch.setattr(SlackWebhook, "aload", aload)
        if error or address == ADDRESS:
            monkeypatch.setattr(SlackWebhook, "anotify", anotify)

    return make


def load_fails(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    async def aload(_: str) -> SlackWebhook:
        raise error

    monkeypatch.setattr(SlackWebhook, "aload", aload)


def test_what_was_sent_is_in_the_log_too(block: Callable[..., None], said: Said) -> None:
    block()
    assert notify("All well", "Nightly")
    assert said == [("INFO", "Sent to Slack: Nightly: All well")]


def test_without_a_block_the_log_has_the_message(
    monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    missing = ValueError("Unable to find block document")
    missing.__cause__ = ObjectNotFound(RuntimeError())
    load_fails(monkeypatch, missing)
    assert not notify("All well")
    assert said == [("INFO", "No block slack-webhook/slack, so only here: All well")]


def test_a_server_that_does_not_answer_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    load_fails(monkeypatch, ConnectionRefusedError("nobody there"))
    assert not notify("All well")
    assert said == [
        ("WARNING", "Not sent to Slack (ConnectionRefusedError: nobody there): All well")
    ]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            NotificationError(f"[DEBUG]: POST {ADDRESS}\n[WARNING]: Failed: error=404."),
            "Failed: error=404.",
        ),
        (NotificationError(f"[WARNING]: no answer of {ADDRESS}"), "no answer of ***"),
        (
            NotificationError(f"[ERROR]: retries exceeded: /services/{TOKENS}"),
            "retries exceeded: ***",
        ),
        (NotificationError(""), NOT_SLACK),
        (RuntimeError(f"token {TOKENS.rpartition('/')[2]}"), "RuntimeError: token ***"),
    ],
)
def test_a_fault_of_slack_is_a_warning_without_the_address(
    block: Callable[..., None], said: Said, error: Exception, reason: str
) -> None:
    block(error=error)
    assert not notify("All well")
    assert said == [("WARNING", f"Not sent to Slack ({reason}): All well")]


@pytest.mark.parametrize(
    "address", ["https://example.com/hook", "https://hooks.slack.com/services/short", "nonsense"]
)
def test_an_address_that_is_none_of_slacks_is_a_warning(
    block: Callable[..., None], said: Said, address: str
) -> None:
    block(address)
    assert not notify("All well")
    assert said == [("WARNING", f"Not sent to Slack ({NOT_SLACK}): All well")]


def test_it_may_be_called_where_a_loop_runs(block: Callable[..., None], said: Said) -> None:
    block()

    async def main() -> bool:
        return notify("All well")

    assert asyncio.run(main())
    assert said == [("INFO", "Sent to Slack: All well")]
