"""How a stack is doing, the same for both backends."""

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
    """The whole stack; `running` when every service is as it should be."""

    name: str
    backend: Literal["docker", "embedded", "none"]
    running: bool
    url: str
    services: list[ServiceStatus]
    problem: str | None = None  # what is wrong with the stack as a whole, and what to type
    warning: str | None = None  # what it does not protect the machine from


@dataclass(frozen=True)
class Outcome:
    """What `up` has done: the stack is up, whatever the problem."""

    was_running: bool
    problem: StackError | None = None  # why bootstrap did not do all that is declared


def show(status: StackStatus) -> None:
    """Print it as a table."""
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
