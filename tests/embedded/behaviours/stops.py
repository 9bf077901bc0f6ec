"""Flows that do not end when they are asked to, and hooks that are slow or hang."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from prefect import flow


def waits_for_go(flow: Any, flow_run: Any, state: Any) -> None:
    Path("hook-began").touch()
    while not Path("go").exists():
        time.sleep(0.1)


def hangs(flow: Any, flow_run: Any, state: Any) -> None:
    time.sleep(600)


@flow(log_prints=True)
def short() -> None:
    """End at once."""


@flow(log_prints=True, on_cancellation=[waits_for_go])
def sleeps(seconds: float = 600) -> None:
    """Sleep, which a signal ends."""
    print("started")
    time.sleep(seconds)


@flow(log_prints=True, on_cancellation=[hangs])
def deaf() -> None:
    """Compute in C code, which no signal interrupts; its cancellation hook hangs as well."""
    print("started")
    time.sleep(1)  # time to deliver the line
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2**31 - 1)
