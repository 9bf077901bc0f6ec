"""Finds the processes of an embedded stack under test."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from tests.stack import Stack


def processes(stack: Stack) -> list[psutil.Process]:
    """Return all processes of the stack, its supervisor and PostgreSQL's children included."""
    base = str(stack.root / ".stack" / stack.name)
    matching = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get("STACK_SUPERVISED") == base
            if marked or any(base in part for part in process.cmdline()):
                matching += [process, *process.children(recursive=True)]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return list(set(matching))


def facts(stack: Stack, *names: str) -> list[dict[str, Any]]:
    """Return these attributes, named as in `psutil`, of each process that is still there."""
    attributes = []
    for process in processes(stack):
        with suppress(psutil.NoSuchProcess):
            attributes.append(process.as_dict(names, ad_value=""))
    return attributes


def service(stack: Stack, name: str) -> psutil.Process:
    """Return the main process of a service, by the pid that `status` shows."""
    details = {shown["name"]: shown["detail"] for shown in stack.status()["services"]}
    return psutil.Process(int(details[name].split(",")[0].removeprefix("pid ")))
