"""Sends messages to people: to Slack where the stack has a webhook, otherwise to the run log."""

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
NOT_SLACK = "the address in the block is not a Slack address"


def notify(message: str, subject: str | None = None) -> bool:
    """Send `message` through the block `slack-webhook/slack`, or else write it to the run log.

    The message goes to the log if there is no such block. If it cannot be sent, it is logged with a
    warning that gives the reason, without the secret address. No error is raised, so a notification
    never fails a run. Outside of a flow or task, the message goes to the log of the process.

    The call blocks until Slack has answered. In an async flow that must not be blocked, use
    `await asyncio.to_thread(notify, message)`.

    Returns:
        Whether Slack has accepted the message.
    """
    log = _log()
    shown = f"{subject}: {message}" if subject else message
    try:
        # Use a new thread, since an event loop may be running in this one. Prefect's blocks also
        # have a synchronous form, but that sends nothing when it is called in an async flow.
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
    """Send; return None on success, an empty string if there is no block, else the problem."""
    try:
        block: SlackWebhook = await SlackWebhook.aload(BLOCK)
    except ValueError as error:
        if isinstance(error.__cause__, ObjectNotFound):
            return ""
        raise
    try:
        # Apprise silently ignores an address that it does not recognize as one of Slack, unless it
        # is told to raise errors.
        with block.raise_on_failure():
            await block.anotify(message, subject)
    except NotificationError as error:
        return _without(block.url.get_secret_value(), _reason(error.log))
    except Exception as error:  # noqa: BLE001 - its text may hold the secret address
        return _without(block.url.get_secret_value(), f"{type(error).__name__}: {error}")
    return None


def _reason(log: str) -> str:
    """Return the reason that Apprise gave, in one line."""
    lines = [line for line in log.splitlines() if line.startswith(("[WARNING]", "[ERROR]"))]
    reason = " ".join(line.partition(": ")[2] for line in lines)
    return NOT_SLACK if not reason or "no service" in reason else reason


def _without(address: str, text: str) -> str:
    """Mask `address`, and the tokens in its path, in `text`."""
    path = urlsplit(address).path
    for part in (address, path, *path.removeprefix("/services/").split("/")):
        text = text.replace(part, "***") if part else text
    return text


def _log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("flows.notify")
