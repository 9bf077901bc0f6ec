"""Loads the flows of deployments, each in the environment that its runs will have.

Flows with different environments are loaded in different processes: a flow may read its variables
during import, and changes that it makes to its process must not affect other flows.
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

TIMEOUT_SECONDS = 120  # for the import of one file
# Variables of this process that a flow sees during import besides the declared ones. All others are
# hidden, because they might make an import succeed that would fail in the worker.
INHERITED = {
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH"),
    *("PYTHONTZPATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "STACK_PLACE"),
}
INHERITED_PREFIXES = ("PREFECT_", "LC_")


@dataclass(frozen=True)
class LoadedFlow:
    """The properties of a flow that its deployment needs."""

    name: str
    version: str | None
    description: str | None
    parameters: dict[str, Any]  # a JSON schema


@dataclass(frozen=True)
class NotLoaded:
    """The reason why a flow could not be loaded, as the parts of an error message."""

    what: str
    expected: str
    found: str
    do: str | None = None


@dataclass(frozen=True)
class FlowToLoad:
    """The entrypoint of a flow, and the environment that its deployment and work pool declare."""

    entrypoint: str
    variables: Mapping[str, str] = field(default_factory=dict)


def load_all(
    root: Path, to_load: Mapping[Hashable, FlowToLoad], common: Mapping[str, str]
) -> dict[Hashable, LoadedFlow | NotLoaded]:
    """Import all flows with `root` as the working folder, as a run does.

    Args:
        root: the folder of the project.
        to_load: the flows, by any key; the result has the same keys.
        common: variables that the worker sets for every run besides the declared ones.
    """
    groups: dict[tuple[tuple[str, str], ...], dict[str, list[Hashable]]] = {}
    for key, flow in to_load.items():
        group = groups.setdefault(tuple(sorted(flow.variables.items())), {})
        group.setdefault(flow.entrypoint, []).append(key)
    results: dict[Hashable, LoadedFlow | NotLoaded] = {}
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in INHERITED or name.startswith(INHERITED_PREFIXES)
    }
    for variables, entrypoints in groups.items():
        env = {**inherited, **common, **dict(variables)}
        for entrypoint, result in zip(
            entrypoints, _load_with_environment(root, list(entrypoints), env), strict=True
        ):
            results |= dict.fromkeys(entrypoints[entrypoint], result)
    return results


def load(root: Path, entrypoint: str) -> LoadedFlow | NotLoaded:
    """Import one flow in this process, whose working folder and `sys.path` must be set already."""
    path = path_of(entrypoint)
    function = entrypoint[len(path) + 1 :]
    if not _exists(root, path):
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
    # The import of a user's file may raise anything, even SystemExit.
    except BaseException as error:  # noqa: BLE001
        cause = error.user_exc if isinstance(error, ScriptError) else error
        return not_imported(root, path, explain(cause))


def not_imported(root: Path, path: str, found: str) -> NotLoaded:
    """The parts of the message about the file `path`, whose import failed with `found`."""
    in_flows = (root / "flows/requirements.txt").is_file()  # where the clone has this file
    requirements = "flows/requirements.txt" if in_flows else "requirements.txt"
    return NotLoaded(
        f"names {path}, which fails to import",
        expected=f"a file that imports; packages of your own go into {requirements}",
        found=found,
        do=f"correct {path}, or add the package and run `scripts/stack up` again",
    )


def path_of(entrypoint: str) -> str:
    """The file or module in `entrypoint`, without the function."""
    return entrypoint.rsplit(":" if ":" in entrypoint else ".", 1)[0]


def explain(error: BaseException) -> str:
    """Describe an exception in one line, with the line number that raised it.

    Messages of Pydantic say what is wrong in their first lines and end with a link, which is left
    out.
    """
    if isinstance(error, SyntaxError):
        name = _relative(error.filename or "the file")
        return f"{type(error).__name__} in {name}, line {error.lineno}: {error.msg}"
    lines = [line.strip() for line in "".join(traceback.format_exception_only(error)).splitlines()]
    lines = [line for line in lines if line and not line.startswith("For further information")]
    line = ": ".join(lines[:3]) if len(lines) > 1 else lines[0]
    frames = traceback.extract_tb(error.__traceback__)
    return f"{line} (line {frames[-1].lineno} of {frames[-1].name})" if frames else line


def _load_with_environment(
    root: Path, entrypoints: list[str], env: Mapping[str, str]
) -> Iterable[LoadedFlow | NotLoaded]:
    def prepare() -> None:
        os.environ.clear()
        os.environ.update(env)
        time.tzset()
        os.chdir(root)
        paths = env.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = [str(root), *filter(None, paths)]
        # The project may have a module called `server`, which a run would import instead of ours.
        for name in [module for module in sys.modules if module.partition(".")[0] == "server"]:
            del sys.modules[name]
        refresh_global_settings_context()

    def work(entrypoint: str) -> dict[str, Any]:
        result = load(root, entrypoint)
        return {"loaded": isinstance(result, LoadedFlow), **asdict(result)}

    answers = isolation.run_each(entrypoints, work, seconds=TIMEOUT_SECONDS, prepare=prepare)
    for entrypoint, answer in zip(entrypoints, answers, strict=True):
        if isinstance(answer, isolation.Ended):
            yield not_imported(root, path_of(entrypoint), answer.reason)
        else:
            kind = LoadedFlow if answer.pop("loaded") else NotLoaded
            yield kind(**answer)


def _exists(root: Path, path: str) -> bool:
    if path.endswith(".py"):
        return (root / path).is_file()
    importlib.invalidate_caches()
    parts = root.joinpath(*path.split("."))
    local = parts.with_suffix(".py").is_file() or parts.is_dir()
    # A name that is not in the project is assumed to be an installed package.
    return local or not (root / path.split(".", maxsplit=1)[0]).exists()


def _flows(root: Path, path: str) -> list[str]:
    """The names of the functions in a file whose decorators contain the word "flow"."""
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
