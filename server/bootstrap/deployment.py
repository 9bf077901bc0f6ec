"""The model of a deployment in `prefect.yaml`.

Prefect ignores unknown keys; here a misspelt key is a mistake, reported with its line.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from pydantic import Field, field_validator, model_validator

from server.bootstrap.resource import Strict

KINDS_OF_SCHEDULE = ("cron", "interval", "rrule")


class Schedule(Strict):
    """One schedule of a deployment; `active` applies only when it is created."""

    slug: str
    cron: str | None = None
    day_or: bool | None = None
    interval: Annotated[float, Field(gt=0)] | None = None  # seconds
    anchor_date: Any = None
    rrule: str | None = None
    timezone: str | None = None
    active: bool = True
    parameters: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in KINDS_OF_SCHEDULE if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(
                f"expected exactly one of {', '.join(KINDS_OF_SCHEDULE)}; "
                f"found {', '.join(kinds) or 'none'}"
            )
        self.build()
        return self

    def build(self) -> CronSchedule | IntervalSchedule | RRuleSchedule:
        """Prefect's own schedule object, with only the declared fields set."""
        fields = self.model_dump(
            include={"cron", "day_or", "interval", "anchor_date", "rrule", "timezone"},
            exclude_none=True,
        )
        if "cron" in fields:
            return CronSchedule(**fields)
        return IntervalSchedule(**fields) if "interval" in fields else RRuleSchedule(**fields)


class WorkPool(Strict):
    """The work pool and queue for the runs of a deployment, and the variables of their jobs."""

    name: str
    work_queue_name: str | None = None
    job_variables: dict[str, Any] = Field(default_factory=dict)


class ConcurrencyLimit(Strict):
    """How many runs of a deployment may run at once, and what happens to further runs."""

    limit: Annotated[int, Field(ge=1)]
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"] | None = None
    grace_period_seconds: Annotated[int, Field(ge=60, le=86400)] | None = None


class Deployment(Strict):
    """One deployment, in Prefect's own format."""

    name: str
    entrypoint: str
    work_pool: WorkPool
    version: str | None = None
    description: str | None = None
    tags: list[str] = Field(default_factory=list)
    parameters: dict[str, Any] = Field(default_factory=dict)
    schedules: list[Schedule] = Field(default_factory=list)
    paused: bool | None = None
    concurrency_limit: ConcurrencyLimit | None = None
    enforce_parameter_schema: bool = True
    pull: list[dict[str, Any]] = Field(default_factory=list)

    @field_validator("entrypoint")
    @classmethod
    def _valid_entrypoint(cls, value: str) -> str:
        """Refuse an entrypoint that is not a file or module, and a function or method in it."""
        path, separator, function = value.rpartition(":")
        if not separator:
            path, _, function = value.rpartition(".")
        module = path if separator == "" or not path.endswith(".py") else "file"
        names = [*module.split("."), *function.split(".")]
        if not all(map(str.isidentifier, names)):
            raise ValueError(
                "flows/FILE.py:FUNCTION, flows/FILE.py:CLASS.METHOD or flows.FILE.FUNCTION"
            )
        return value

    @field_validator("concurrency_limit", mode="before")
    @classmethod
    def _a_number_is_a_limit(cls, value: Any) -> Any:
        return {"limit": value} if isinstance(value, int | str) else value
