"""What the worker, its templates and its runs say to each other.

Every message is a frozen class that names its own `type` on the wire; `framing` sends it with the
version of this protocol. The worker checks what comes from a run with Pydantic: a flow may have
written it. Templates and runs trust the worker.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")
Json = dict[str, Any]
HookKind = Literal["cancellation", "crashed"]


class UnknownMessageError(ValueError):
    """The worker has sent a message of another type than the one that is expected."""


@dataclass(frozen=True)
class _FromWorker:
    """A message from the worker, which its receiver trusts."""

    type: ClassVar[str]

    def encode(self) -> bytes:
        """Return the message as `decode` reads it.

        Variables of the environment may hold bytes that are not text; JSON with escapes keeps them.
        """
        return json.dumps({"type": self.type, **vars(self)}).encode()

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Read a message of this type.

        Raises:
            UnknownMessageError: it is of another type.
        """
        fields = json.loads(content)
        if (type_ := fields.pop("type", None)) != cls.type:
            raise UnknownMessageError(
                f"the worker has sent a message of type {type_!r} where {cls.type!r} is expected"
            )
        return cls(**fields)


@dataclass(frozen=True)
class Order(_FromWorker):
    """To a template, once: the modules to import."""

    type: ClassVar[str] = "order"
    preload: list[str]


@dataclass(frozen=True)
class Request(_FromWorker):
    """To a template: the run to fork for."""

    type: ClassVar[str] = "request"
    env: Mapping[str, str]
    cwd: str
    stream_output: bool
    flow_run: Json
    deployment: Json | None
    result_storage: Mapping[str, str | None] | None
    hooks: HookKind | None = None  # run these hooks instead of the flow
    state: Json | None = None  # that the hooks are given
    brought: Json | None = None  # a `Brought` of the run, whose pull steps are not to run again


@dataclass(frozen=True)
class Go(_FromWorker):
    """To a run that has reported itself: the worker knows its process, and it may begin."""

    type: ClassVar[str] = "go"


@dataclass(frozen=True)
class Suspended(_FromWorker):
    """To a run: it is suspended, and has to end at its next step."""

    type: ClassVar[str] = "suspended"
    state: Json


class _ToWorker(BaseModel):
    """A message to the worker, from a process in which a flow may have written anything."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def encode(self) -> bytes:
        """Return the message as the functions below read it."""
        return self.model_dump_json().encode()


class Ready(_ToWorker):
    """From a template: what it has imported, and what it has left to the runs, and why."""

    type: Literal["ready"] = "ready"
    kept: list[str]
    left_out: dict[str, str]
    threads: int


class Refused(_ToWorker):
    """From a template: why it does not do what it was asked for."""

    type: Literal["refused"] = "refused"
    reason: str


class Forked(_ToWorker):
    """From a run's process, which begins when the worker has answered with `Go`."""

    type: Literal["forked"] = "forked"
    pid: int = Field(gt=1)


class Learnt(_ToWorker):
    """From a run: the installed modules that it has imported so far."""

    type: Literal["learnt"] = "learnt"
    names: list[str]


class Problem(_ToWorker):
    """From a run: why its flow could not be loaded, in one sentence. Its process then ends."""

    type: Literal["problem"] = "problem"
    message: str
    traceback: str


class Brought(_ToWorker):
    """From a run whose pull steps are done: where its code is, for whoever loads the flow again."""

    type: Literal["brought"] = "brought"
    directory: str
    entrypoint: str
    path: list[str]  # where modules are looked for besides the places of every process
    python_path: str  # the variable PYTHONPATH


class Loaded(_ToWorker):
    """From a run whose flow is loaded: which of the hooks that the worker has to run it has."""

    type: Literal["loaded"] = "loaded"
    hooks: list[HookKind]


FromRun = Learnt | Brought | Loaded | Problem

_from_run: TypeAdapter[FromRun] = TypeAdapter(Annotated[FromRun, Field(discriminator="type")])
_from_new_template: TypeAdapter[Ready | Refused] = TypeAdapter(
    Annotated[Ready | Refused, Field(discriminator="type")]
)
_answer: TypeAdapter[Forked | Refused] = TypeAdapter(
    Annotated[Forked | Refused, Field(discriminator="type")]
)


def from_run(content: bytes) -> FromRun:
    """Read what a run has said.

    Raises:
        ValueError: it is not one of the messages that a run sends.
    """
    return _check(_from_run, content)


def from_new_template(content: bytes) -> Ready | Refused:
    """Read what has come of an order.

    Raises:
        ValueError: it is something else.
    """
    return _check(_from_new_template, content)


def answer(content: bytes) -> Forked | Refused:
    """Read what has come of a request.

    Raises:
        ValueError: it is something else.
    """
    return _check(_answer, content)


def _check(expected: TypeAdapter[T], content: bytes) -> T:
    """Read a message, or say in one line what is wrong with it."""
    try:
        return expected.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(": ".join([*map(str, first["loc"]), first["msg"]])) from error
