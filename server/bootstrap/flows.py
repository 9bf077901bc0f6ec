"""Loads the flows of deployments, each with the environment that its runs will have.

Each distinct environment has a process of its own: a flow may read its variables when it is
imported, and what it changes must not reach the next.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from prefect.context import refresh_global_settings_context
from prefect.exceptions import MissingFlowError, ScriptError
from prefect.flows import Flow, load_flow_from_entrypoint

from server.bootstrap import isolation

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping
    from pathlib import Path

SECONDS = 120  # for the import of one file
# The variables that a flow is imported with besides the declared ones. No other variable of the
# shell may make an import succeed that would fail in the worker.
KEPT = {
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH"),
    *("PYTHONTZPATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "STACK_PLACE"),
}
KEPT_PREFIXES = ("PREFECT_", "LC_")


@dataclass(frozen=True)
class LoadedFlow:
    """The facts about a flow that its deployment needs."""

    name: str
    version: str | None
    description: str | None
    parameters: dict[str, Any]  # a JSON schema


@dataclass(frozen=True)
class NotLoaded:
    """Why a flow could not be loaded, as the parts of a message."""

    what: str
    expected: str
    found: str
    do: str | None = None


@dataclass(frozen=True)
class Wanted:
    """A flow, and the variables that its deployment and its pool declare for it."""

    entrypoint: str
    variables: Mapping[str, str] = field(default_factory=dict)


def load_all(
    root: Path, wanted: Mapping[Hashable, Wanted], common: Mapping[str, str]
) -> dict[Hashable, LoadedFlow | NotLoaded]:
    """Every flow of `wanted`, imported with `root` as the working folder, as a run does.

    `common` is what the worker gives to every run besides what is declared.
    """
    groups: dict[tuple[tuple[str, str], ...], dict[str, list[Hashable]]] = {}
    for key, each in wanted.items():
        group = groups.setdefault(tuple(sorted(each.variables.items())), {})
        group.setdefault(each.entrypoint, []).append(key)
    found: dict[Hashable, LoadedFlow | NotLoaded] = {}
    kept = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith(KEPT_PREFIXES)}
    for variables, entrypoints in groups.items():
        env = {**kept, **common, **dict(variables)}
        for entrypoint, flow in zip(
            entrypoints, _with_environment(root, list(entrypoints), env), strict=True
        ):
            found |= dict.fromkeys(entrypoints[entrypoint], flow)
    return found


def load(root: Path, entrypoint: str) -> LoadedFlow | NotLoaded:
    """Import one flow into this process, whose working folder and `sys.path` have to be set."""
    path = path_of(entrypoint)
    function = entrypoint[len(path) + 1 :]
    if not _is_there(root, path):
        return NotLoaded(
            "names a file that does not exist", expected="a Python file under flows/", found=path
        )
    try:
        flow: Flow[..., Any] = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
        return LoadedFlow(
            flow.name,
            flow.version,
            flow.description or None,
            flow.parameters.model_dump(mode="json", exclude_unset=True),
        )
    except MissingFlowError:
        return NotLoaded(
            f"names a flow that does not exist in {path}",
            expected=f"one of {', '.join(_flows(root, path)) or 'its flows (it has none)'}",
            found=function,
        )
    # A user's file may do anything when it is imported, even raise SystemExit.
    except BaseException as error:  # noqa: BLE001
        cause = error.user_exc if isinstance(error, ScriptError) else error
        return not_imported(root, path, explain(cause))


def not_imported(root: Path, path: str, found: str) -> NotLoaded:
    """The parts of the message about a file that fails to import."""
    in_flows = (root / "flows/requirements.txt").is_file()  # as the clone has it
    requirements = "flows/requirements.txt" if in_flows else "requirements.txt"
    return NotLoaded(
        f"names {path}, which fails to import",
        expected=f"a file that imports; packages of your own go into {requirements}",
        found=found,
        do=f"correct {path}, or add the package and run `scripts/stack up` again",
    )


def path_of(entrypoint: str) -> str:
    """The file or the module that an entrypoint names."""
    return entrypoint.rsplit(":" if ":" in entrypoint else ".", 1)[0]


def explain(error: BaseException) -> str:
    """An exception in one line, with the line that raised it.

    Pydantic's ends in an address, and says what is wrong in the lines before.
    """
    if isinstance(error, SyntaxError):
        name = _relative(error.filename or "the file")
        return f"{type(error).__name__} in {name}, line {error.lineno}: {error.msg}"
    lines = [line.strip() for line in "".join(traceback.format_exception_only(error)).splitlines()]
    lines = [line for line in lines if line and not line.startswith("For further information")]
    line = ": ".join(lines[:3]) if len(lines) > 1 else lines[0]
    frames = traceback.extract_tb(error.__traceback__)
    return f"{line} (line {frames[-1].lineno} of {frames[-1].name})" if frames else line


def _with_environment(
    root: Path, entrypoints: list[str], env: Mapping[str, str]
) -> Iterable[LoadedFlow | NotLoaded]:
    def prepare() -> None:
        os.environ.clear()
        os.environ.update(env)
        time.tzset()
        os.chdir(root)
        paths = env.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = [str(root), *filter(None, paths)]
        for name in [each for each in sys.modules if each.partition(".")[0] == "server"]:
            del sys.modules[name]  # the project may have a module of this name, as a run finds it
        refresh_global_settings_context()

    def work(entrypoint: str) -> dict[str, Any]:
        found = load(root, entrypoint)
        return {"loaded": isinstance(found, LoadedFlow), **asdict(found)}

    answers = isolation.run_each(entrypoints, work, seconds=SECONDS, prepare=prepare)
    for entrypoint, answer in zip(entrypoints, answers, strict=True):
        if isinstance(answer, isolation.Ended):
            yield not_imported(root, path_of(entrypoint), answer.reason)
        else:
            kind = LoadedFlow if answer.pop("loaded") else NotLoaded
            yield kind(**answer)


def _is_there(root: Path, path: str) -> bool:
    if path.endswith(".py"):
        return (root / path).is_file()
    importlib.invalidate_caches()
    parts = root.joinpath(*path.split("."))
    local = parts.with_suffix(".py").is_file() or parts.is_dir()
    # A name that the project does not have is that of an installed package.
    return local or not (root / path.split(".", maxsplit=1)[0]).exists()


def _flows(root: Path, path: str) -> list[str]:
    """The names of the functions in a file that have a decorator with "flow" in it."""
    file = (
        root / path if path.endswith(".py") else root.joinpath(*path.split(".")).with_suffix(".py")
    )
    if not file.is_file():
        return []
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=file.name)
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [f.name for f in functions if any("flow" in ast.unparse(d) for d in f.decorator_list)]


def _relative(name: str) -> str:
    return os.path.relpath(name) if os.path.isabs(name) else name  # noqa: PTH117 - names of files
