"""What one asks of runs and learns of them, over the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psutil

from tests.stack import deployment, get, log, post, wait_for

if TYPE_CHECKING:
    import httpx


def start(
    client: httpx.Client,
    name: str,
    parameters: dict[str, Any] | None = None,
    at: str | None = None,
    **job_variables: Any,
) -> str:
    """Ask for a run of a deployment, now or `at` a time, with job variables; its id."""
    found = deployment(client, name)["id"]
    state = {"type": "SCHEDULED", **({"state_details": {"scheduled_time": at}} if at else {})}
    body = {"parameters": parameters or {}, "state": state, "job_variables": job_variables}
    return str(post(client, f"/deployments/{found}/create_flow_run", body)["id"])


def entry(client: httpx.Client, run_id: str, start: str) -> dict[str, Any]:
    """The first entry of the run's log that begins so, waited for."""

    def probe() -> dict[str, Any] | None:
        found = log(client, run_id)
        return next((each for each in found if each["message"].startswith(start)), None)

    return dict(wait_for(f"line {start!r}", probe))


def logged(client: httpx.Client, run_id: str, text: str) -> dict[str, Any]:
    """The line of a run log that has `text` in it, once it has arrived."""
    found = wait_for(
        f"line with {text!r}",
        lambda: [each for each in log(client, run_id) if text in each["message"]],
        30,
    )
    return dict(found[0])


def said(client: httpx.Client, run_id: str, start: str) -> str:
    """The message of that entry."""
    return str(entry(client, run_id, start)["message"])


def process(client: httpx.Client, run_id: str) -> psutil.Process:
    """The process of a run that goes on."""
    path = f"/flow_runs/{run_id}"
    return psutil.Process(int(wait_for("pid", lambda: get(client, path)["infrastructure_pid"])))


def gone(client: httpx.Client, run_id: str) -> None:
    """Wait until the process of a run has ended, and with it has delivered its log."""
    path = f"/flow_runs/{run_id}"
    pid = int(wait_for("pid", lambda: get(client, path)["infrastructure_pid"]))
    wait_for("end of the process", lambda: not psutil.pid_exists(pid))


def set_state(client: httpx.Client, run_id: str, kind: str, name: str | None = None) -> None:
    """Put a run into a state, whatever its own is."""
    body = {"state": {"type": kind, **({"name": name} if name else {})}, "force": True}
    client.post(f"/flow_runs/{run_id}/set_state", json=body).raise_for_status()
