"""`python -m server.bootstrap`: the one-shot service, and what `scripts/bootstrap.py` runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException

from server import place, settings
from server.bootstrap import declared, deployments, slack, work_pools
from server.errors import StackError, exit_with

if TYPE_CHECKING:
    from server.bootstrap.change import Change


def main() -> None:
    """Check what is declared, compare it with what is live, and make the difference go away."""
    here = place.current()
    values = settings.load()
    content, file = declared.read(settings.ROOT / "prefect.yaml")
    checked = deployments.check(settings.ROOT, content, file)
    try:
        with get_client(sync_client=True) as client:
            changes: list[Change] = [
                *work_pools.plan(client, values.worker_concurrency, here.root),
                *slack.plan(client, values.slack_webhook_url),
                *deployments.plan(client, checked),
            ]
            for change in changes:
                change.apply()
                sys.stdout.write(f"{change}\n")
                sys.stdout.flush()
    except (httpx.HTTPError, PrefectException) as error:
        raise StackError(
            "the server did not take what is declared",
            expected="an API that answers, and a login that it takes",
            found=(str(error) or repr(error)).splitlines()[0],
            do="scripts/stack status, then run it again: it goes on where it stopped",
        ) from error
    if all(change.action in {"unchanged", "left out"} for change in changes):
        sys.stdout.write("nothing changed\n")


if __name__ == "__main__":
    exit_with(main)
