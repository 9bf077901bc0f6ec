"""Finds the processes of an embedded stack under test."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from tests.stack import Stack


def processes(stack: Stack) -> list[psutil.Process]:
    """All processes of the stack, supervisor and PostgreSQL's children included."""
    base = str(stack.root / ".stack" / stack.name)
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get("STACK_SUPERVISED") == base
            if marked or any(base in part for part in process.cmdline()):
                found += [process, *process.children(recursive=True)]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return list(set(found))


def facts(stack: Stack, *names: str) -> list[dict[str, Any]]:
    """What `psutil` knows by these names of each of them that does not end while it is asked."""
    found = []
    for process in processes(stack):
        with suppress(psutil.NoSuchProcess):
            found.append(process.as_dict(names, ad_value=""))
    return found


def service(stack: Stack, name: str) -> psutil.Process:
    """The main process of a service, from what `status` says."""
    found = {each["name"]: each["detail"] for each in stack.status()["services"]}
    return psutil.Process(int(found[name].split(",")[0].removeprefix("pid ")))
