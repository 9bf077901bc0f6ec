"""Runs `python -m server.bootstrap` in a fork of a process that has already imported it.

Importing Prefect takes longer than a whole bootstrap. The stacks under test, and
`scripts/bootstrap.py`, still start it in a new interpreter, as users do.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import context

from server.bootstrap.__main__ import PROGRAM, app
from server.errors import exit_with

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def run(
    arguments: Sequence[str], folder: Path, env: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run bootstrap in `folder` with nothing but `env` as its environment.

    Raises:
        subprocess.TimeoutExpired: bootstrap takes longer than `seconds`, and is killed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        out, err = Path(temporary) / "out", Path(temporary) / "err"
        process = PROCESSES.Process(target=_run, args=(arguments, folder, dict(env), out, err))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["bootstrap", *arguments], seconds)
        return subprocess.CompletedProcess(
            ["bootstrap", *arguments], process.exitcode, out.read_text(), err.read_text()
        )


def _run(arguments: Sequence[str], folder: Path, env: dict[str, str], out: Path, err: Path) -> None:
    for descriptor, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    context.root_settings_context().__enter__()  # reads the settings anew
    exit_with(lambda: app(list(arguments), prog_name=PROGRAM))
