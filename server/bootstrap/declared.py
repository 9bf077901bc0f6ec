"""What `prefect.yaml` may declare, and its reading.

Prefect ignores a key that it does not know; here a misspelt key is a mistake with a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from server.bootstrap.yaml_file import YamlFile, plain

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

KINDS_OF_SCHEDULE = ("cron", "interval", "rrule")
# What a message says instead of Prefect's words, which only say that it is wrong.
EXPECTED = {
    "cron": "five fields, such as 0 2 * * *",
    "timezone": "a name of the IANA database, such as Europe/Madrid",
    "rrule": "a rule of RFC 5545, such as FREQ=DAILY",
}


class Strict(BaseModel):
    """A mapping without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Schedule(Strict):
    """One schedule of a deployment. `active` is its state when it is first made."""

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
        given = [kind for kind in KINDS_OF_SCHEDULE if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected exactly one of {', '.join(KINDS_OF_SCHEDULE)}; "
                f"found {', '.join(given) or 'none'}"
            )
        self.build()
        return self

    def build(self) -> CronSchedule | IntervalSchedule | RRuleSchedule:
        """The schedule as Prefect's own object, with the declared fields only set."""
        fields = self.model_dump(
            include={"cron", "day_or", "interval", "anchor_date", "rrule", "timezone"},
            exclude_none=True,
        )
        if "cron" in fields:
            return CronSchedule(**fields)
        return IntervalSchedule(**fields) if "interval" in fields else RRuleSchedule(**fields)


class WorkPool(Strict):
    """Where a deployment's runs go."""

    name: str
    work_queue_name: str | None = None
    job_variables: dict[str, Any] = Field(default_factory=dict)


class ConcurrencyLimit(Strict):
    """How many runs of a deployment may run at once, and what becomes of one more."""

    limit: Annotated[int, Field(ge=1)]
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"] | None = None
    grace_period_seconds: Annotated[int, Field(ge=60, le=86400)] | None = None


class Deployment(Strict):
    """One deployment, in Prefect's own words."""

    name: str
    entrypoint: Annotated[str, Field(pattern=r"^[^:]+\.py:[A-Za-z_]\w*$")]
    work_pool: WorkPool
    version: str | None = None
    description: str | None = None
    tags: list[str] = Field(default_factory=list)
    parameters: dict[str, Any] = Field(default_factory=dict)
    schedules: list[Schedule] = Field(default_factory=list)
    paused: bool | None = None
    concurrency_limit: ConcurrencyLimit | None = None
    enforce_parameter_schema: bool = True
    pull: list[dict[str, Any]] | None = None

    @field_validator("concurrency_limit", mode="before")
    @classmethod
    def _a_number_is_a_limit(cls, value: Any) -> Any:
        return {"limit": value} if isinstance(value, int) else value


class PrefectFile(Strict):
    """The whole of `prefect.yaml`."""

    name: str | None = None
    pull: list[dict[str, Any]] = Field(default_factory=list)
    definitions: Any = None  # a place for YAML anchors
    deployments: list[Deployment] = Field(default_factory=list)


def read(path: Path) -> tuple[PrefectFile, YamlFile]:
    """The declaration in `path`, and the file, for later mistakes to point into.

    Raises:
        MistakeError: naming file and line.
    """
    file = YamlFile(path)
    try:
        declared = PrefectFile.model_validate(plain(file.content))
    except ValidationError as error:
        details = error.errors()[0]
        what, expected, found = _explain(details)
        raise file.mistake(details["loc"], what, expected=expected, found=found) from None
    _refuse_twins(declared, file)
    return declared, file


def _explain(details: ErrorDetails) -> tuple[str, str, str]:
    *parents, key = details["loc"] or ("the file",)
    subject = f"item {key + 1} of {parents[-1]!r}" if isinstance(key, int) else repr(key)
    match details["type"]:
        case "extra_forbidden":
            return (
                f"unknown key {key!r}",
                "a key that Prefect takes here, spelt as in its documentation",
                repr(key),
            )
        case "missing":
            return f"{key!r} is missing", f"a value for {key!r}", "none"
        case _:
            message = details["msg"].removeprefix("Value error, ").removeprefix("expected ")
            message = EXPECTED.get(str(key), message)
            found = details["input"]
            if isinstance(found, dict):
                found = {name: found[name] for name in KINDS_OF_SCHEDULE if name in found}
            return f"{subject} is not valid", message, repr(found)


def _refuse_twins(declared: PrefectFile, file: YamlFile) -> None:
    seen: set[tuple[str, str]] = set()
    for index, deployment in enumerate(declared.deployments):
        key = (deployment.entrypoint, deployment.name)
        if key in seen:
            raise file.mistake(
                ("deployments", index, "name"),
                f"{deployment.name!r} of {deployment.entrypoint} is declared twice",
                expected="one deployment of a name for each flow",
                found="two",
            )
        seen.add(key)
        slugs = [schedule.slug for schedule in deployment.schedules]
        for number, slug in enumerate(slugs):
            if slug in slugs[:number]:
                raise file.mistake(
                    ("deployments", index, "schedules", number, "slug"),
                    f"slug {slug!r} is used twice in {deployment.name!r}",
                    expected="a slug for each schedule",
                    found="two of one name",
                )
