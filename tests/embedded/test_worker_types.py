"""One table of behaviours, each run by both types of worker with the same visible outcome."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.embedded.outcomes import logs, outcome
from tests.embedded.runs import gone, process, set_state
from tests.embedded.two_workers import PREFORK, STOCK, declared, log_of_worker, running
from tests.stack import Stack, finished, get, post, start_run, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

FLOWS = Path(__file__).parent / "behaviours/flows.py"
LIMIT = "\nconcurrency_limits:\n  - {name: of-behaviours, limit: 1}\n"
# The type of state that each behaviour ends in.
TABLE = {
    "success": "COMPLETED",
    "failure": "FAILED",
    "failure_of_a_task": "FAILED",
    "crash": "CRASHED",
    "system_exit": "CRASHED",
    "segmentation_fault": "CRASHED",
    "memory_kill": "CRASHED",
    "terminated": "CRASHED",
    "too_long": "FAILED",
    "retried": "COMPLETED",
    "asynchronous": "COMPLETED",
    "generator": "COMPLETED",
    "asynchronous_generator": "COMPLETED",
    "subflows": "COMPLETED",
    "threads": "COMPLETED",
    "processes": "COMPLETED",
    "another_deployment": "COMPLETED",
    "persisted": "COMPLETED",
    "order": "COMPLETED",
    "limited": "COMPLETED",
    "environment": "COMPLETED",
}
# A run that SIGTERM ends loses its log with the process type; with ours it is delivered.
LESS_LOG = ("terminated",)
AT_ONCE = ("threads", "processes")  # their log lines come in any order
OTHERS = ("sleeps", "steps", "busy_in_c", "suspends")
ALONE = ("limited",)  # runs at once would wait for each other's slot
# Prefect's own worker starts an interpreter for each run: more at once would only be slower.
AT_ONCE_OF_STOCK = 4


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with a pool of each type and our worker."""
    stack = declared(tmp_path_factory, "types", FLOWS.read_text(), (*TABLE, *OTHERS))
    pool = f"\n  - name: {STOCK}\n"
    limited = f"{pool}    concurrency_limit: {AT_ONCE_OF_STOCK}\n"
    stack.edit("stack.yaml", lambda text: text.replace(pool, limited) + LIMIT)
    with running(stack, PREFORK):
        yield stack


@pytest.fixture(scope="module")
def runs(stack: Stack, kinds: tuple[str, ...]) -> dict[tuple[str, str], str]:
    """Start a run of each behaviour with each type, all at once; return the ids of the runs."""
    together = [flow for flow in TABLE if flow not in ALONE]
    with stack.client() as client:
        return {(kind, flow): of_table(client, kind, flow) for flow in together for kind in kinds}


def of_table(client: httpx.Client, kind: str, flow: str) -> str:
    more = {"name": f"success/{kind}"} if flow == "another_deployment" else {}
    return start(client, kind, flow, **more)


def start(client: httpx.Client, kind: str, flow: str, **parameters: Any) -> str:
    return start_run(client, f"{flow.replace('_', '-')}/{kind}", parameters)


def said(client: httpx.Client, run_id: str, line: str) -> None:
    """Wait until the run's log has exactly this line."""
    wait_for(f"line {line!r}", lambda: line in logs(client, run_id))


def begun(client: httpx.Client, kind: str, flow: str, line: str, **parameters: Any) -> str:
    """Start a run and wait until its flow has logged `line`; return its id."""
    run_id = start(client, kind, flow, **parameters)
    said(client, run_id, line)
    return run_id


@pytest.mark.parametrize("flow", TABLE)
def test_a_run_ends_as_the_table_says_and_both_types_do_the_same(
    stack: Stack, kinds: tuple[str, ...], runs: dict[tuple[str, str], str], flow: str
) -> None:
    with stack.client() as client:
        outcomes = {}
        for kind in kinds:
            run = finished(client, runs.get((kind, flow)) or of_table(client, kind, flow))
            assert run["state_type"] == TABLE[flow], run["state"]
            outcomes[kind] = outcome(client, run["id"], kind)
    if flow in LESS_LOG:
        assert STOCK not in outcomes or set(outcomes[STOCK].logs) < set(outcomes[PREFORK].logs)
        outcomes = {k: replace(each, logs=()) for k, each in outcomes.items()}
    if flow in AT_ONCE:
        outcomes = {k: replace(each, logs=tuple(sorted(each.logs))) for k, each in outcomes.items()}
    assert [outcomes[kind] for kind in kinds] == [outcomes[PREFORK]] * len(kinds)


def test_a_run_without_a_deployment_crashes_and_nothing_else(stack: Stack, kind: str) -> None:
    with stack.client() as client:
        flow_id = get(client, "/flows/name/success")["id"]
        state = {"type": "SCHEDULED"}
        body = {"flow_id": flow_id, "work_pool_name": kind, "state": state}
        run = finished(client, post(client, "/flow_runs/", body)["id"])
        assert run["state_type"] == "CRASHED", run["state"]
        # With Prefect's own type, the state says only that the process has ended.
        message = run["state"]["message"] if kind == PREFORK else log_of_worker(stack, kind)
        assert "Flow run does not have an associated deployment" in message
        assert finished(client, start(client, kind, "success"))["state_type"] == "COMPLETED"


@pytest.mark.parametrize(("flow", "line"), [("sleeps", "sleeping"), ("busy_in_c", "computing")])
def test_a_run_is_cancelled_also_while_it_is_in_c_code(
    stack: Stack, kind: str, flow: str, line: str
) -> None:
    with stack.client() as client:
        before = log_of_worker(stack, kind).count("hook for CANCELLING")
        run_id = begun(client, kind, flow, line)
        set_state(client, run_id, "CANCELLING")
        run = finished(client, run_id)
        assert (run["state_type"], run["state_name"]) == ("CANCELLED", "Cancelled")
        # A hook that runs after the run's process has ended prints to the worker's own output.
        wait_for("hook", lambda: log_of_worker(stack, kind).count("hook for CANCELLING") > before)


def test_a_run_that_suspends_itself_goes_on_when_it_is_resumed(stack: Stack, kind: str) -> None:
    with stack.client() as client:
        run_id = begun(client, kind, "suspends", "before")
        wait_for("pause", lambda: get(client, f"/flow_runs/{run_id}")["state_name"] == "Suspended")
        post(client, f"/flow_runs/{run_id}/resume", {})
        assert finished(client, run_id)["state_type"] == "COMPLETED"
        said(client, run_id, "after")


def test_a_run_that_is_suspended_from_outside_stops_between_two_tasks(
    stack: Stack, kind: str
) -> None:
    with stack.client() as client:
        run_id = begun(client, kind, "steps", "stepping")
        assert process(client, run_id).is_running()
        set_state(client, run_id, "PAUSED", "Suspended")
        gone(client, run_id)
        assert get(client, f"/flow_runs/{run_id}")["state_name"] == "Suspended"


def test_heartbeats_are_sent_while_a_run_goes_on(stack: Stack, kind: str) -> None:
    with stack.client() as client:
        run_id = begun(client, kind, "sleeps", "sleeping", seconds=4)
        body = {
            "filter": {
                "event": {"name": ["prefect.flow-run.heartbeat"]},
                "resource": {"id": [f"prefect.flow-run.{run_id}"]},
                "occurred": {"since": "2026-01-01T00:00:00Z"},
            }
        }
        wait_for("heartbeat", lambda: post(client, "/events/filter", body)["total"])
        assert finished(client, run_id)["state_type"] == "COMPLETED"


def test_a_result_is_where_the_next_reader_finds_it(stack: Stack, kind: str) -> None:
    with stack.client() as client:
        before = _files(stack.root / "results")
        assert finished(client, start(client, kind, "persisted"))["state_type"] == "COMPLETED"
        [result] = _files(stack.root / "results") - before
        assert "42" in result.read_text()


def test_a_slot_is_free_again_after_the_run_that_held_it(stack: Stack, kind: str) -> None:
    with stack.client() as client:
        for _ in range(2):
            assert finished(client, start(client, kind, "limited"))["state_type"] == "COMPLETED"


def test_nothing_is_left_in_the_temporary_folder(stack: Stack, kind: str) -> None:
    with stack.client() as client:
        folder = stack.root / f"tmp-{kind}"
        finished(client, start(client, kind, "success"))
        before = _files(folder)
        for flow in ("success", "failure", "crash", "processes"):
            finished(client, start(client, kind, flow))
        wait_for("an empty folder", lambda: _files(folder) <= before)


def _files(folder: Path) -> set[Path]:
    return {each for each in folder.rglob("*") if each.is_file()}
