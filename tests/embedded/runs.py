"""Starts flow runs, reads their logs and finds their processes, over the API."""

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
    """Create a run of a deployment, due now or at the ISO time `at`; return its id."""
    deployment_id = deployment(client, name)["id"]
    state = {"type": "SCHEDULED", **({"state_details": {"scheduled_time": at}} if at else {})}
    body = {"parameters": parameters or {}, "state": state, "job_variables": job_variables}
    return str(post(client, f"/deployments/{deployment_id}/create_flow_run", body)["id"])


def entry(client: httpx.Client, run_id: str, start: str) -> dict[str, Any]:
    """Wait for an entry of the run's log that begins with `start`; return the first."""

    def probe() -> dict[str, Any] | None:
        entries = log(client, run_id)
        return next((entry for entry in entries if entry["message"].startswith(start)), None)

    return dict(wait_for(f"line {start!r}", probe))


def logged(client: httpx.Client, run_id: str, text: str) -> dict[str, Any]:
    """Wait for an entry of the run's log that contains `text`; return the first."""
    entries = wait_for(
        f"line with {text!r}",
        lambda: [entry for entry in log(client, run_id) if text in entry["message"]],
        30,
    )
    return dict(entries[0])


def said(client: httpx.Client, run_id: str, start: str) -> str:
    """Return the message of that `entry`."""
    return str(entry(client, run_id, start)["message"])


def process(client: httpx.Client, run_id: str) -> psutil.Process:
    """Wait until a run has a process; return it."""
    path = f"/flow_runs/{run_id}"
    return psutil.Process(int(wait_for("pid", lambda: get(client, path)["infrastructure_pid"])))


def gone(client: httpx.Client, run_id: str) -> None:
    """Wait until the process of a run has ended, which delivers its log before."""
    path = f"/flow_runs/{run_id}"
    pid = int(wait_for("pid", lambda: get(client, path)["infrastructure_pid"]))
    wait_for("end of the process", lambda: not psutil.pid_exists(pid))


def set_state(client: httpx.Client, run_id: str, kind: str, name: str | None = None) -> None:
    """Force a run into a state of type `kind`, whatever its current state is."""
    body = {"state": {"type": kind, **({"name": name} if name else {})}, "force": True}
    client.post(f"/flow_runs/{run_id}/set_state", json=body).raise_for_status()
