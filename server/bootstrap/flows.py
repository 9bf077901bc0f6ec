"""Loads the flow that a deployment names, with every way in which it can fail told apart."""

from __future__ import annotations

import ast
import os
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prefect.exceptions import MissingFlowError, ScriptError
from prefect.flows import Flow, load_flow_from_entrypoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server.bootstrap.deployment import Deployment
    from server.bootstrap.kind import Declared


def load(root: Path, item: Declared[Deployment]) -> Flow[..., Any]:
    """The flow of a deployment, imported with `root` as the working folder, as a run does.

    Raises:
        MistakeError: no such file or function, an import that fails, or a function that is no flow.
    """
    deployment = item.value
    path, function = deployment.entrypoint.rsplit(":", 1)
    if not (root / path).is_file():
        raise item.mistake(
            f"deployment {deployment.name!r} names a file that does not exist",
            "entrypoint",
            expected="a Python file under flows/",
            found=path,
        )
    try:
        with _working_folder(root):
            return load_flow_from_entrypoint(deployment.entrypoint, use_placeholder_flow=False)
    except MissingFlowError:
        raise item.mistake(
            f"deployment {deployment.name!r} names a flow that does not exist in {path}",
            "entrypoint",
            expected=f"one of {', '.join(_flows(root / path)) or 'its flows (it has none)'}",
            found=function,
        ) from None
    except (ScriptError, SystemExit) as error:  # a file that exits when it is imported
        raise item.mistake(
            f"{path} of deployment {deployment.name!r} fails to import",
            "entrypoint",
            expected="a file that imports; packages of your own go into flows/requirements.txt",
            found=_explain(error.user_exc if isinstance(error, ScriptError) else error),
            do=f"correct {path}, or add the package and run `scripts/stack up` again",
        ) from None


def _flows(path: Path) -> list[str]:
    """The functions in `path` that have a decorator with "flow" in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=path.name)
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [f.name for f in functions if any("flow" in ast.unparse(d) for d in f.decorator_list)]


def _explain(error: BaseException) -> str:
    line = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    if isinstance(error, SyntaxError):
        return f"{line} (line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{line} (line {frames[-1].lineno} of {frames[-1].name})" if frames else line


@contextmanager
def _working_folder(root: Path) -> Iterator[None]:
    before = os.getcwd()  # noqa: PTH109 - chdir takes what getcwd gives
    os.chdir(root)
    try:
        yield
    finally:
        os.chdir(before)
