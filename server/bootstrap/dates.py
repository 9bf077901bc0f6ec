"""Checks, with the server's own classes, that a declared schedule has a next date.

The server accepts schedules whose dates it cannot compute: the deployment then gets no runs at all
(upstream #18272). If the computation never ends, the whole scheduler stops.
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

TIMEOUT_SECONDS = 10  # to compute the next date of one schedule
BEGINNING = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)  # earlier than any date of a sensible rule

FINE, OVER, WRONG = "fine", "over", "wrong"
Verdict = tuple[str, str]  # FINE, OVER or WRONG, and the reason


def check(schedules: Sequence[Schedule]) -> list[Verdict]:
    """For each schedule, whether it has a future date, only past dates, or no date at all."""
    declared = [schedule.build().model_dump(mode="json") for schedule in schedules]
    return [
        (WRONG, f"a rule whose dates cannot be computed: {answer.reason}")
        if isinstance(answer, isolation.Ended)
        else (answer[0], answer[1])
        for answer in isolation.run_each(declared, _verdict, seconds=TIMEOUT_SECONDS)
    ]


def _verdict(declared: dict[str, Any]) -> Verdict:
    try:
        if _next_date(declared, dt.datetime.now(dt.UTC)):
            return FINE, ""
        past = _next_date(declared, BEGINNING)
    except Exception as error:  # noqa: BLE001 - the kinds of schedules raise different errors
        return WRONG, " ".join(str(error).split()) or type(error).__name__
    if past:
        return OVER, f"its dates are over: the first was {past.isoformat()}"
    return WRONG, "a rule that has no date at all"


def _next_date(declared: dict[str, Any], start: dt.datetime) -> dt.datetime | None:
    schedule: CronSchedule | IntervalSchedule | RRuleSchedule
    if "cron" in declared:
        schedule = CronSchedule(**declared)
    elif "interval" in declared:
        schedule = IntervalSchedule(**declared)
    else:
        schedule = RRuleSchedule(**declared)
    dates = asyncio.run(schedule.get_dates(n=1, start=start))
    return dates[0] if dates else None
