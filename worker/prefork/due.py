"""When a run is to begin."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

AT_ONCE = timedelta(seconds=1)


def seconds_until_due(flow_run: FlowRun) -> float:
    """How long `flow_run` has to wait for its time; negative when that has passed.

    0 for one that is to begin at once, whatever the clock of this machine is.
    """
    due = flow_run.next_scheduled_start_time
    if due is None or (flow_run.created and due <= flow_run.created + AT_ONCE):
        return 0.0
    return due.timestamp() - time.time()
