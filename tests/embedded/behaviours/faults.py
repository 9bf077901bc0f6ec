"""Flows that print what their process had loaded when their code was read, or wait for a file."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from prefect import flow

LOADED = frozenset(sys.modules)


def tell(flow: Any, flow_run: Any, state: Any) -> None:
    print("hook for", flow_run.name)


@flow(log_prints=True)
def says(name: str = "sys", *, import_it: bool = False) -> None:
    """Print how the process was started, and whether module `name` was loaded before this file."""
    print("command line", psutil.Process().cmdline())
    print("hash", hash("a"))
    if import_it:
        importlib.import_module(name)
    print("loaded" if name in LOADED else "not loaded", name)


@flow(log_prints=True, on_crashed=[tell])
def waits(name: str, then: str = "end") -> None:
    """Wait for a file `name`, then end: `then` is `end` or the name of a signal."""
    print("waiting in", Path.cwd())
    while not Path(name).exists():
        time.sleep(0.1)
    if then != "end":
        os.kill(os.getpid(), signal.Signals[then])
