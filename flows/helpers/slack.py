"""Messages to people, through Slack when the stack has it."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from urllib.parse import urlsplit

from prefect.blocks.abstract import NotificationError
from prefect.blocks.notifications import SlackWebhook
from prefect.exceptions import MissingContextError, ObjectNotFound
from prefect.logging import get_logger, get_run_logger

BLOCK = "slack"
NOT_SLACK = "the address in the block is none of Slack's"


def notify(message: str, subject: str | None = None) -> bool:
    """Send `message` through the block `slack-webhook/slack`, or write it into the run log.

    The log gets the message when there is no such block, and also when it cannot be sent: with a
    warning that says why, without the address. Nothing that happens here fails the run. It may be
    called in a flow, in a task, or in neither, which logs to the process's own log.

    It waits for Slack. An async flow that must not wait calls it by
    `await asyncio.to_thread(notify, message)`.

    Returns:
        Whether Slack has taken the message.
    """
    log = _log()
    shown = f"{subject}: {message}" if subject else message
    try:
        # A thread, because a loop may run in this one. Prefect's blocks have a form for callers
        # without a loop too, but it sends nothing when it is called from an async flow.
        with ThreadPoolExecutor(1) as executor:
            sent = executor.submit(copy_context().run, asyncio.run, _send(message, subject))
            problem = sent.result()
    except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
        problem = f"{type(error).__name__}: {error}"
    if problem is None:
        log.info("Sent to Slack: %s", shown)
        return True
    if problem:
        log.warning("Not sent to Slack (%s): %s", problem, shown)
    else:
        log.info("No block slack-webhook/%s, so only here: %s", BLOCK, shown)
    return False


async def _send(message: str, subject: str | None) -> str | None:
    """None when Slack has taken the message, empty when there is no block, else what is wrong."""
    try:
        block: SlackWebhook = await SlackWebhook.aload(BLOCK)
    except ValueError as error:
        if isinstance(error.__cause__, ObjectNotFound):
            return ""
        raise
    try:
        # What Apprise does not take for an address of Slack it leaves out without a word, unless
        # it has to raise.
        with block.raise_on_failure():
            await block.anotify(message, subject)
    except NotificationError as error:
        return _without(block.url.get_secret_value(), _reason(error.log))
    except Exception as error:  # noqa: BLE001 - its text may hold the address, so not to be raised
        return _without(block.url.get_secret_value(), f"{type(error).__name__}: {error}")
    return None


def _reason(log: str) -> str:
    """What Apprise said, in a line."""
    lines = [line for line in log.splitlines() if line.startswith(("[WARNING]", "[ERROR]"))]
    said = " ".join(line.partition(": ")[2] for line in lines)
    return NOT_SLACK if not said or "no service" in said else said


def _without(address: str, text: str) -> str:
    """`text` without `address` and the tokens in its path."""
    path = urlsplit(address).path
    for part in (address, path, *path.removeprefix("/services/").split("/")):
        text = text.replace(part, "***") if part else text
    return text


def _log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("flows.notify")
