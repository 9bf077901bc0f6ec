"""Decides which modules a template imports: installed packages, never the user's own code.

Each run imports the user's modules itself, so that it always runs the code that is on disk.
Installed packages take most of the time; the worker learns from the runs which of them to preload.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import sysconfig
from pathlib import Path

from pydantic import BaseModel

from prefect_prefork.common import linux
from prefect_prefork.forked import side_effects

MAX_REFUSED = 20
State = tuple[int, ...]

INSTALLED = tuple(
    {
        str(path) + os.sep
        for name in ("purelib", "platlib", "stdlib", "platstdlib")
        for path in (Path(sysconfig.get_path(name)), Path(sysconfig.get_path(name)).resolve())
    }
)


def state() -> State:
    """Return a value that changes when a package is installed, removed or replaced."""
    folders = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return tuple(os.stat(each).st_mtime_ns for each in sorted(folders))  # noqa: PTH116


def installed(name: str) -> bool:
    """Return whether the loaded module `name` belongs to Python or to an installed package."""
    origin = getattr(sys.modules.get(name), "__file__", None)
    return isinstance(origin, str) and origin.startswith(INSTALLED)


def learnt(before: frozenset[str]) -> list[str]:
    """Return the installed modules that were loaded since `before`, in the order of loading."""
    return [name for name in list(sys.modules) if name not in before and installed(name)]


def keep_warm(names: list[str]) -> tuple[list[str], dict[str, str]]:
    """Import those of the modules `names` that are safe to import before a fork.

    Return their names, and the reason for each module that was left out.
    """
    reasons: dict[str, str] = {}
    while refused := _rehearse([name for name in names if name not in reasons]):
        reasons |= refused
        if len(reasons) > MAX_REFUSED:
            reasons = dict.fromkeys(
                names, "too many of the modules that these import have side effects"
            )
    kept = [name for name in names if name not in reasons]
    for name in kept:
        importlib.import_module(name)
    return kept, reasons


def complete_models() -> None:
    """Build the validators that Pydantic builds only when a model is first used."""
    waiting = BaseModel.__subclasses__()
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        if not model.__pydantic_complete__:
            model.model_rebuild(raise_errors=False)


def _rehearse(names: list[str]) -> dict[str, str]:
    """Import `names` in a child process, which then exits; return why some of them are unsafe."""
    if not names:
        return {}
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        reasons: dict[str, str] = {}
        side_effects.watch()
        for name in names:
            if reason := _why_unsafe(name):
                reasons[name] = reason
                if name in sys.modules:
                    break  # judge the modules that it has imported in a process of their own
        with os.fdopen(writer, "w") as file:
            json.dump(reasons, file)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        answer = file.read()
    os.waitpid(pid, 0)
    if not answer:
        return dict.fromkeys(names, "one of them ended the process when it was imported")
    unsafe: dict[str, str] = json.loads(answer)
    return unsafe


def _why_unsafe(name: str) -> str | None:
    threads, files, modules = linux.threads(), _files(), set(sys.modules)
    before = side_effects.snapshot()
    try:
        importlib.import_module(name)
    except BaseException as error:  # noqa: BLE001 - the run reports any error
        return f"{type(error).__name__} when it is imported"
    if linux.threads() > threads:
        return "starts a thread when it is imported"
    if any(kind.startswith("socket:") for kind in _files() - files):
        return "opens a connection when it is imported"
    if what := side_effects.changed(before, sys.modules.keys() - modules):
        return f"changes {what} when it is imported"
    own = [each for each in sys.modules.keys() - modules if _is_own(each)]
    return f"imports {min(own)}, which is not an installed package" if own else None


def _is_own(name: str) -> bool:
    """Return whether the loaded module is one of the user's own files."""
    return bool(getattr(sys.modules[name], "__file__", None)) and not installed(name)


def _files() -> set[str]:
    targets = set()
    for path in Path("/proc/self/fd").iterdir():
        try:
            targets.add(str(path.readlink()))
        except OSError:  # the descriptor of the listing itself
            continue
    return targets
