"""The status of a stack, in the form that both backends return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel
from rich.table import Table

from scripts import report

if TYPE_CHECKING:
    from server.errors import StackError


class ServiceStatus(BaseModel):
    """One service of the stack."""

    name: str
    status: str  # running, done, starting, stopped, failed
    healthy: bool
    detail: str = ""


class StackStatus(BaseModel):
    """The status of the whole stack."""

    name: str
    backend: Literal["docker", "embedded", "none"]
    running: bool  # every service is as it should be
    url: str
    services: list[ServiceStatus]
    problem: str | None = None  # what is wrong with the stack as a whole, and what to type
    warning: str | None = None  # what the stack does not protect the machine from


@dataclass(frozen=True)
class Outcome:
    """The result of an `up` that has brought the stack up, even if bootstrap failed."""

    was_running: bool
    problem: StackError | None = None  # why bootstrap could not apply everything


def show(status: StackStatus) -> None:
    """Print the status as a table."""
    if status.backend == "none":
        report.out.print(f"{status.name} is not running; start it with scripts/stack up")
        return
    word = "is running" if status.running else "is NOT running as it should"
    report.out.print(f"{status.name} ({status.backend}) {word}: {status.url}")
    table = Table(box=None, pad_edge=False)
    for column in ("service", "status", "healthy", ""):
        table.add_column(column)
    for service in status.services:
        healthy = "yes" if service.healthy else "NO"
        table.add_row(service.name, service.status, healthy, service.detail)
    report.out.print(table)
    if status.warning:
        report.out.print(f"warning: {status.warning}")
    if status.problem:
        report.out.print(f"\n{status.problem}")
