"""The visible outcome of a run, in a form that can be compared with that of another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.embedded.runs import gone
from tests.stack import TERMINAL, get, log, post, wait_for

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True)
class Outcome:
    """What a user can see of a run, without what differs between any two runs."""

    state: str
    message: str
    logs: tuple[str, ...]
    tasks: tuple[str, ...]
    subflows: tuple[str, ...]


# Loggers of the machinery, which writes to a run's log; each type of worker words it differently.
WORKERS = (
    "prefect.flow_runs.worker",
    "prefect.runner",
    "prefect.engine",
    "prefect.flow_runs.runner",
)


def logs(client: httpx.Client, run_id: str) -> list[str]:
    """Return the messages that the run itself has logged by now."""
    entries = log(client, run_id)
    return [entry["message"] for entry in entries if not entry["name"].startswith(WORKERS)]


def outcome(client: httpx.Client, run_id: str, pool: str) -> Outcome:
    """Wait until a run's process and its tasks have ended; return the outcome of the run."""
    # The process delivers its log before it ends; the states of tasks arrive later, as events.
    gone(client, run_id)
    run = get(client, f"/flow_runs/{run_id}")
    state = run["state"]
    body: dict[str, Any] = {"flow_runs": {"id": {"any_": [run["id"]]}}}

    def tasks_at_their_end() -> list[dict[str, Any]] | None:
        task_runs: list[dict[str, Any]] = post(client, "/task_runs/filter", body)
        return (
            [{}, *task_runs]
            if all(task_run["state_type"] in TERMINAL for task_run in task_runs)
            else None
        )

    tasks = wait_for("end of the tasks", tasks_at_their_end)[1:]
    body = {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}}
    subflows = post(client, "/flow_runs/filter", body)

    def plain(text: str) -> str:
        text = text.replace(run["name"], "RUN").replace(pool, "POOL")
        for subflow in subflows:
            text = text.replace(subflow["name"], "SUBFLOW")
        text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
        text = re.sub(r"-[0-9a-f]{3}\b", "-NNN", text)
        return re.sub(r'File "[^"]*", line \d+', "File", re.sub(r"0x[0-9a-f]+", "0xN", text))

    return Outcome(
        state=f"{state['type']} {state['name']}",
        message=plain(state["message"] or ""),
        logs=tuple(plain(line) for line in logs(client, run["id"]) if not _of_worker(line, run)),
        tasks=tuple(sorted(f"{_task(plain(task['name']))} {task['state_name']}" for task in tasks)),
        subflows=tuple(sorted(subflow["state_name"] for subflow in subflows)),
    )


def _of_worker(line: str, run: dict[str, Any]) -> bool:
    """Tell whether only one type of worker logs this line of a crashed run.

    The process type does not log the hooks that the worker runs. It logs where code is downloaded
    to from another process than the run's, so a crash does not lose that line.
    """
    return run["state_type"] == "CRASHED" and ("ook 'tell'" in line or "Downloading" in line)


def _task(name: str) -> str:
    """Return the name of a task run; a call of another deployment has a name that varies."""
    return name if name.endswith("-NNN") else "RUN OF ANOTHER DEPLOYMENT"
