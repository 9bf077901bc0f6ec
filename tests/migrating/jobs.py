"""Runs jobs with the tracking copied beside them, and reads their runs from the server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.stack import SOURCE, Stack, post

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

GOOD = "Order ID,Amount\na,1.5\nb,2\n"
BAD = "Order ID,Amount\na,1.5\nb,two\n"
# Decorators that do nothing, to see what the job does without tracking.
PLAIN = "def flow(**_):\n    return lambda function: function\ntask = flow\n"


def api_of(stack: Stack) -> dict[str, str]:
    """Return the variables `PREFECT_API_…` that `scripts/stack env` exports."""
    said = stack.run("sh", "-c", 'eval "$(scripts/stack env)"; env').stdout
    lines = (line.partition("=") for line in said.splitlines() if line.startswith("PREFECT_API_"))
    return {name: value for name, _, value in lines}


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a job that has ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Job:
    """A folder with jobs and the tracking in it."""

    folder: Path
    api: Mapping[str, str]
    python: Path = Path(sys.executable)

    @classmethod
    def make(cls, folder: Path, api: Mapping[str, str], python: Path | None = None) -> Job:
        """Prepare a folder as docs/migrating.md tells users to, with orders to work on."""
        shutil.copytree(SOURCE / "flows/tracking", folder / "tracking")
        shutil.copytree(SOURCE / "tests/migrating", folder, dirs_exist_ok=True)
        (folder / "good.csv").write_text(GOOD)
        (folder / "bad.csv").write_text(BAD)
        return cls(folder, api, python or Path(sys.executable))

    def without_tracking(self, folder: Path) -> Job:
        """Return the same job in another folder, with decorators that do nothing."""
        plain = Job.make(folder, {}, self.python)
        shutil.rmtree(folder / "tracking")
        (folder / "tracking.py").write_text(PLAIN)
        return plain

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start the job with no variables but PATH, HOME, the API's and those given."""
        return subprocess.Popen(
            [str(self.python), *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.api, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **variables: str) -> Done:
        """Run the job to its end; return its result."""
        return self.ended(self.start(*arguments, **variables))

    def ended(self, process: subprocess.Popen[str]) -> Done:
        """Wait for the end of a job that was started; return its result."""
        out, err = process.communicate(timeout=240)
        return Done(process.returncode, out, err)

    def write(self, text: str) -> str:
        """Write a job of the test; return the name of its file."""
        (self.folder / "job.py").write_text(text)
        return "job.py"

    def read(self, name: str) -> str:
        """Return the text of a file that the job wrote; empty if there is none."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""


def flow_runs(client: httpx.Client, name: str) -> list[dict[str, Any]]:
    """Return the runs of the flow `name`, the newest first."""
    body = {"flows": {"name": {"any_": [name]}}, "sort": "START_TIME_DESC"}
    return list(post(client, "/flow_runs/filter", body))


def task_runs(client: httpx.Client, run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the task runs of a flow run by their task keys."""
    runs = post(client, "/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    return {task_run["task_key"]: task_run for task_run in runs}


def events(client: httpx.Client, run: Mapping[str, Any]) -> list[str]:
    """Return the names of a flow run's events, the newest first."""
    resource = {"id": [f"prefect.flow-run.{run['id']}"]}
    return [
        event["event"]
        for event in post(client, "/events/filter", {"filter": {"resource": resource}})["events"]
    ]
