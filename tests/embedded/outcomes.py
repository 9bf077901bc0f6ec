"""What one can see of a run that has ended, to compare it with another."""

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
    """What one can see of a run, without what differs between any two."""

    state: str
    message: str
    logs: tuple[str, ...]
    tasks: tuple[str, ...]
    subflows: tuple[str, ...]


# Who of the machinery writes to the log of a run, each type in its own words.
WORKERS = (
    "prefect.flow_runs.worker",
    "prefect.runner",
    "prefect.engine",
    "prefect.flow_runs.runner",
)


def logs(client: httpx.Client, run_id: str) -> list[str]:
    """What the run itself has said by now."""
    found = log(client, run_id)
    return [each["message"] for each in found if not each["name"].startswith(WORKERS)]


def outcome(client: httpx.Client, run_id: str, pool: str) -> Outcome:
    """What became of a run that has ended, when its last line of log has come."""
    # The process delivers its log before it ends; the states of tasks come as events, and late.
    gone(client, run_id)
    run = get(client, f"/flow_runs/{run_id}")
    state = run["state"]
    body: dict[str, Any] = {"flow_runs": {"id": {"any_": [run["id"]]}}}

    def tasks_at_their_end() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = post(client, "/task_runs/filter", body)
        return [{}, *found] if all(each["state_type"] in TERMINAL for each in found) else None

    tasks = wait_for("end of the tasks", tasks_at_their_end)[1:]
    body = {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}}
    subflows = post(client, "/flow_runs/filter", body)

    def plain(text: str) -> str:
        text = text.replace(run["name"], "RUN").replace(pool, "POOL")
        for each in subflows:
            text = text.replace(each["name"], "SUBFLOW")
        text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
        text = re.sub(r"-[0-9a-f]{3}\b", "-NNN", text)
        return re.sub(r'File "[^"]*", line \d+', "File", re.sub(r"0x[0-9a-f]+", "0xN", text))

    return Outcome(
        state=f"{state['type']} {state['name']}",
        message=plain(state["message"] or ""),
        logs=tuple(plain(each) for each in logs(client, run["id"]) if not _of_worker(each, run)),
        tasks=tuple(sorted(f"{_task(plain(each['name']))} {each['state_name']}" for each in tasks)),
        subflows=tuple(sorted(each["state_name"] for each in subflows)),
    )


def _of_worker(line: str, run: dict[str, Any]) -> bool:
    """Whether it is of a hook that the worker runs, which the process type does not log; or of the
    code's place, which that type logs from another process, so that no death of the run loses it.
    """
    return run["state_type"] == "CRASHED" and ("ook 'tell'" in line or "Downloading" in line)


def _task(name: str) -> str:
    """The name of a task run; a run of another deployment is one with a name of its own."""
    return name if name.endswith("-NNN") else "RUN OF ANOTHER DEPLOYMENT"
