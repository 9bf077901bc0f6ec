"""Flows that print where their code, working directory and settings came from."""

from __future__ import annotations

import importlib
import os
import signal
import time
from pathlib import Path

from prefect import flow, get_run_logger, pause_flow_run

WHERE = "of the stack"


@flow(log_prints=True)
def where() -> str:
    beside = importlib.import_module("flows.beside")  # the test writes it beside this file
    print("code", WHERE, "beside", beside.WHERE, "in", Path.cwd())
    return WHERE


@flow(log_prints=True)
def settings(marker: str = "none") -> str:
    get_run_logger().debug("debug")
    print("marker", marker)
    get_run_logger().warning("warning")
    return "a result"


@flow(log_prints=True)
def pauses() -> None:
    print("before", os.getpid())
    pause_flow_run(timeout=300, poll_interval=1)
    print("after", os.getpid())


@flow(log_prints=True)
def holds(go: str = "", then: str = "end") -> None:
    """Wait for a file `go`, then end: `then` is `end`, `exit`, or the name of a signal."""
    print("holding")
    while go and not Path(go).exists():
        time.sleep(0.1)
    if then == "exit":
        os._exit(7)
    if then != "end":
        os.kill(os.getpid(), signal.Signals[then])
