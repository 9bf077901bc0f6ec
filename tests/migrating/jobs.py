"""Jobs with the tracking beside them, and what the server knows of their runs."""

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
# What the job is without tracking.
PLAIN = "def flow(**_):\n    return lambda function: function\ntask = flow\n"


def api_of(stack: Stack) -> dict[str, str]:
    """What `scripts/stack env` exports."""
    said = stack.run("sh", "-c", 'eval "$(scripts/stack env)"; env').stdout
    lines = (line.partition("=") for line in said.splitlines() if line.startswith("PREFECT_API_"))
    return {name: value for name, _, value in lines}


@dataclass(frozen=True)
class Done:
    """A job that has ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Job:
    """A folder with a job and the tracking in it."""

    folder: Path
    api: Mapping[str, str]
    python: Path = Path(sys.executable)

    @classmethod
    def make(cls, folder: Path, api: Mapping[str, str], python: Path | None = None) -> Job:
        """A folder as docs/migrating.md has it made, with orders to work on."""
        shutil.copytree(SOURCE / "flows/tracking", folder / "tracking")
        shutil.copytree(SOURCE / "tests/migrating", folder, dirs_exist_ok=True)
        (folder / "good.csv").write_text(GOOD)
        (folder / "bad.csv").write_text(BAD)
        return cls(folder, api, python or Path(sys.executable))

    def without_tracking(self, folder: Path) -> Job:
        """The same job in another folder, its functions as they were before."""
        plain = Job.make(folder, {}, self.python)
        shutil.rmtree(folder / "tracking")
        (folder / "tracking.py").write_text(PLAIN)
        return plain

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start the job; it knows no more of the environment than what is given here."""
        return subprocess.Popen(
            [str(self.python), *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.api, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **variables: str) -> Done:
        """Run the job to its end."""
        return self.ended(self.start(*arguments, **variables))

    def ended(self, process: subprocess.Popen[str]) -> Done:
        """Wait for the end of a job that was started."""
        out, err = process.communicate(timeout=240)
        return Done(process.returncode, out, err)

    def write(self, text: str) -> str:
        """A job of a test's own; the name of its file."""
        (self.folder / "job.py").write_text(text)
        return "job.py"

    def read(self, name: str) -> str:
        """What the job wrote; nothing where it wrote nothing."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""


def flow_runs(client: httpx.Client, name: str) -> list[dict[str, Any]]:
    """The runs of the flow `name`, the newest first."""
    body = {"flows": {"name": {"any_": [name]}}, "sort": "START_TIME_DESC"}
    return list(post(client, "/flow_runs/filter", body))


def task_runs(client: httpx.Client, run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The task runs of a flow run, by what they are a run of."""
    found = post(client, "/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    return {each["task_key"]: each for each in found}


def events(client: httpx.Client, run: Mapping[str, Any]) -> list[str]:
    """The names of the events of a flow run, the newest first."""
    resource = {"id": [f"prefect.flow-run.{run['id']}"]}
    return [
        each["event"]
        for each in post(client, "/events/filter", {"filter": {"resource": resource}})["events"]
    ]
