"""The messages between the worker, its templates and its runs.

Every message is a frozen class with a `type` that identifies it on the wire; `framing` adds the
version of the protocol. The worker validates what it receives with Pydantic, since the code of a
flow may have sent it. Templates and runs trust the worker.
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
    """The worker has sent a message of an unexpected type."""


@dataclass(frozen=True)
class _FromWorker:
    """A message from the worker, which its receiver trusts."""

    type: ClassVar[str]

    def encode(self) -> bytes:
        """Return the message as `decode` reads it.

        Environment variables may contain bytes that are not text; escapes in JSON preserve them.
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
    """Sent to a template once: the modules to import."""

    type: ClassVar[str] = "order"
    preload: list[str]


@dataclass(frozen=True)
class Request(_FromWorker):
    """Sent to a template: the run to fork for."""

    type: ClassVar[str] = "request"
    env: Mapping[str, str]
    cwd: str
    stream_output: bool
    flow_run: Json
    deployment: Json | None
    result_storage: Mapping[str, str | None] | None
    hooks: HookKind | None = None  # run these hooks instead of the flow
    state: Json | None = None  # passed to the hooks
    brought: Json | None = None  # the `Brought` of the run, so that no pull step runs again


@dataclass(frozen=True)
class Go(_FromWorker):
    """Sent to a run that has reported itself: the worker knows its process, and it may begin."""

    type: ClassVar[str] = "go"


@dataclass(frozen=True)
class Suspended(_FromWorker):
    """Sent to a run: it is suspended, and has to end at its next step."""

    type: ClassVar[str] = "suspended"
    state: Json


class _ToWorker(BaseModel):
    """A message to the worker, from a process in which the code of a flow may send anything."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def encode(self) -> bytes:
        """Return the message as the functions of this module read it."""
        return self.model_dump_json().encode()


class Ready(_ToWorker):
    """Sent by a template: the modules it has imported, and those left to the runs with reasons."""

    type: Literal["ready"] = "ready"
    kept: list[str]
    left_out: dict[str, str]
    threads: int


class Refused(_ToWorker):
    """Sent by a template: why it does not carry out an order or a request."""

    type: Literal["refused"] = "refused"
    reason: str


class Forked(_ToWorker):
    """Sent by the process of a run, which begins when the worker has answered with `Go`."""

    type: Literal["forked"] = "forked"
    pid: int = Field(gt=1)


class Learnt(_ToWorker):
    """Sent by a run: the installed modules that it has imported so far."""

    type: Literal["learnt"] = "learnt"
    names: list[str]


class Problem(_ToWorker):
    """Sent by a run: why its flow could not be loaded, in one sentence. Its process then exits."""

    type: Literal["problem"] = "problem"
    message: str
    traceback: str


class Brought(_ToWorker):
    """Sent by a run after its pull steps: the location of its code, to load the flow again."""

    type: Literal["brought"] = "brought"
    directory: str
    entrypoint: str
    path: list[str]  # entries of `sys.path` that other processes do not have
    python_path: str  # the variable PYTHONPATH


class Loaded(_ToWorker):
    """Sent by a run whose flow is loaded: which kinds of hooks for the worker to run it has."""

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
    """Decode a message from a run.

    Raises:
        ValueError: it is not one of the messages that a run sends.
    """
    return _check(_from_run, content)


def from_new_template(content: bytes) -> Ready | Refused:
    """Decode the answer to an order.

    Raises:
        ValueError: it is something else.
    """
    return _check(_from_new_template, content)


def answer(content: bytes) -> Forked | Refused:
    """Decode the answer to a request.

    Raises:
        ValueError: it is something else.
    """
    return _check(_answer, content)


def _check(expected: TypeAdapter[T], content: bytes) -> T:
    """Validate a message; raise `ValueError` with a description of one line if it is invalid."""
    try:
        return expected.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(": ".join([*map(str, first["loc"]), first["msg"]])) from error
