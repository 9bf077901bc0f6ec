"""The block `slack`, which alerts and flows send their messages through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.blocks.notifications import SlackWebhook
from prefect.exceptions import ObjectNotFound

from server.bootstrap.change import Change

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from pydantic import SecretStr

KIND = "block"
NAME = "slack"


def plan(client: SyncPrefectClient, url: SecretStr | None) -> list[Change]:
    """What makes the block hold `url`; without one, a line that says so and nothing else."""
    shown = f"{SlackWebhook.get_block_type_slug()}/{NAME}"
    if url is None:
        return [Change("left out", KIND, shown, ("SLACK_WEBHOOK_URL is not set",))]
    block = SlackWebhook(url=url)
    try:
        live = client.read_block_document_by_name(
            NAME, SlackWebhook.get_block_type_slug(), include_secrets=True
        )
    except ObjectNotFound:
        return [Change("create", KIND, shown, apply=lambda: _save(block))]
    if live.data.get("url") == url.get_secret_value():
        return [Change("unchanged", KIND, shown)]
    return [Change("update", KIND, shown, ("url",), lambda: _save(block))]


def _save(block: SlackWebhook) -> None:
    block.save(NAME, overwrite=True)
