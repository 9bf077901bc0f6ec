"""What goes wrong with one cancellation ends nothing but itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from prefect.exceptions import ObjectNotFound

if TYPE_CHECKING:
    import logging
    from uuid import UUID

    from worker.prefork.upstream import FlowRunExecutorContext

# Between one try and the next, in seconds.
TRIES = (1, 5, 15, 30)


def guard_cancelling(
    context: FlowRunExecutorContext, logger: logging.Logger | logging.LoggerAdapter[Any]
) -> None:
    """Have a cancellation that fails tried again while its process lives.

    Prefect's own runs in a task group of the context, where one that fails ends all others and
    every process: right for the one run that a context of Prefect's has.
    """
    manager = context._cancellation_manager  # noqa: SLF001
    once = manager.cancel_by_id

    async def cancel_by_id(flow_run_id: UUID) -> None:
        for wait in TRIES:
            try:
                await once(flow_run_id)
            except ObjectNotFound:  # it was deleted
                await context.process_manager.kill(flow_run_id)
            except Exception:
                logger.exception("Flow run '%s' could not be cancelled", flow_run_id)
            else:
                return
            if context.process_manager.get(flow_run_id) is None:
                return
            await asyncio.sleep(wait)

    cast("Any", manager).cancel_by_id = cancel_by_id
