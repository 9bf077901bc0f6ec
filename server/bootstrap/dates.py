"""Computes the next date of a schedule with the server's own classes, before it is declared.

The server takes schedules whose dates it cannot compute: such a deployment gets no runs at all
(upstream #18272), and one whose computation does not end stops the scheduler.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any

from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

from server.bootstrap import isolation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.bootstrap.deployment import Schedule

SECONDS = 10  # to compute the next date of one schedule
BEGINNING = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)  # before every date that a rule could mean

FINE, OVER, WRONG = "fine", "over", "wrong"
Verdict = tuple[str, str]  # one of the three above, and the reason


def check(schedules: Sequence[Schedule]) -> list[Verdict]:
    """Whether each schedule has a date to come, only dates in the past, or none at all."""
    declared = [each.build().model_dump(mode="json") for each in schedules]
    return [
        (WRONG, f"a rule whose dates cannot be computed: {answer.reason}")
        if isinstance(answer, isolation.Ended)
        else (answer[0], answer[1])
        for answer in isolation.run_each(declared, _verdict, seconds=SECONDS)
    ]


def _verdict(declared: dict[str, Any]) -> Verdict:
    try:
        if _next(declared, dt.datetime.now(dt.UTC)):
            return FINE, ""
        past = _next(declared, BEGINNING)
    except Exception as error:  # noqa: BLE001 - each kind of schedule has its own ways to fail
        return WRONG, " ".join(str(error).split()) or type(error).__name__
    if past:
        return OVER, f"its dates are over: the first was {past.isoformat()}"
    return WRONG, "a rule that has no date at all"


def _next(declared: dict[str, Any], start: dt.datetime) -> dt.datetime | None:
    schedule: CronSchedule | IntervalSchedule | RRuleSchedule
    if "cron" in declared:
        schedule = CronSchedule(**declared)
    elif "interval" in declared:
        schedule = IntervalSchedule(**declared)
    else:
        schedule = RRuleSchedule(**declared)
    found = asyncio.run(schedule.get_dates(n=1, start=start))
    return found[0] if found else None
