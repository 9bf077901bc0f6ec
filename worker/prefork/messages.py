"""What worker, templates and runs say to each other."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]
HookKind = Literal["cancellation", "crashed"]


@dataclass(frozen=True)
class Order:
    """From the worker to a template, once: what it is to import."""

    preload: list[str]

    def encode(self) -> bytes:
        """As `decode` takes it."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, content: bytes) -> Order:
        """What the worker has sent."""
        return cls(**json.loads(content))


@dataclass(frozen=True)
class Request:
    """From the worker to a template: the run that is to be forked."""

    env: Mapping[str, str]
    cwd: str
    stream_output: bool
    flow_run: Json
    deployment: Json | None
    result_storage: Mapping[str, str | None] | None
    hooks: HookKind | None = None  # these instead of the flow
    state: Json | None = None  # in which the hooks find the run
    brought: Json | None = None  # a `Brought` of the run, whose pull steps are not to run again

    def encode(self) -> bytes:
        """As `decode` takes it; variables may hold bytes that are no text, as the kernel's do."""
        return json.dumps(vars(self)).encode()

    @classmethod
    def decode(cls, content: bytes) -> Request:
        """What the worker has sent."""
        return cls(**json.loads(content))


@dataclass(frozen=True)
class Suspended:
    """From the worker to a run: it is suspended, and to end at its next step."""

    state: Json

    def encode(self) -> bytes:
        """As `decode` takes it."""
        return json.dumps(vars(self)).encode()

    @classmethod
    def decode(cls, content: bytes) -> Suspended:
        """What the worker has sent."""
        return cls(**json.loads(content))


class _ToWorker(BaseModel):
    """Read by the worker, from a process in which a flow may have sent anything."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def encode(self) -> bytes:
        """As the functions below take it."""
        return self.model_dump_json().encode()


class Ready(_ToWorker):
    """From a template: what it has imported, and what it has left to the runs, and why."""

    type: Literal["ready"] = "ready"
    kept: list[str]
    left_out: dict[str, str]
    threads: int


class Forked(_ToWorker):
    """From a run's process, which waits for an answer: it is there."""

    type: Literal["forked"] = "forked"
    pid: int = Field(gt=1)


class Refused(_ToWorker):
    """From a template: why it has not forked."""

    type: Literal["refused"] = "refused"
    reason: str


class Learnt(_ToWorker):
    """From a run: the installed modules that it has imported by now."""

    type: Literal["learnt"] = "learnt"
    names: list[str]


class Problem(_ToWorker):
    """From a run: why its flow could not be loaded, in one sentence. Its process ends with it."""

    type: Literal["problem"] = "problem"
    message: str
    traceback: str


class Brought(_ToWorker):
    """From a run whose pull steps are done: where its code is, for who loads the flow again."""

    type: Literal["brought"] = "brought"
    directory: str
    entrypoint: str
    path: list[str]  # what is looked at for modules, besides what each process looks at
    python_path: str  # the variable PYTHONPATH


class Loaded(_ToWorker):
    """From a run whose flow is loaded: which hooks this has that are left to the worker."""

    type: Literal["loaded"] = "loaded"
    hooks: list[HookKind]


FromRun = Learnt | Brought | Loaded | Problem
GO = b"go"  # from the worker to a run that has said that it is there

_from_run: TypeAdapter[FromRun] = TypeAdapter(Annotated[FromRun, Field(discriminator="type")])
_answer: TypeAdapter[Forked | Refused] = TypeAdapter(
    Annotated[Forked | Refused, Field(discriminator="type")]
)


def from_run(content: bytes) -> FromRun:
    """What a run has said.

    Raises:
        ValueError: it is none of the messages that a run sends.
    """
    return _from_run.validate_json(content)


def ready(content: bytes) -> Ready:
    """What a template has said of itself.

    Raises:
        ValueError: it is something else.
    """
    return Ready.model_validate_json(content)


def answer(content: bytes) -> Forked | Refused:
    """What has come of a request.

    Raises:
        ValueError: it is something else.
    """
    return _answer.validate_json(content)
