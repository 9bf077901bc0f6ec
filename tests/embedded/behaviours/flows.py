"""Each flow is one behaviour, whose outcome is compared between the two types of worker."""

from __future__ import annotations

import asyncio
import ctypes
import decimal
import hashlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

from prefect import flow, get_run_logger, suspend_flow_run, task
from prefect.concurrency.sync import concurrency
from prefect.deployments import run_deployment
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

# The precision is set only for the thread that imports this file.
decimal.getcontext().prec = 50
IMPORTED_BY = threading.current_thread().name


def tell(flow: Any, flow_run: Any, state: Any) -> None:
    print("hook for", state.type.value)


HOOKS: dict[str, Any] = {
    name: [tell] for name in ("on_completion", "on_failure", "on_crashed", "on_cancellation")
}


@task
def double(number: int) -> int:
    print("doubling", number)
    return 2 * number


@flow(log_prints=True, **HOOKS)
def success(name: str = "world") -> str:
    print("hello", name)
    return f"hello {name}"


@flow(log_prints=True, **HOOKS)
def failure() -> None:
    raise ValueError("on purpose")


@flow(log_prints=True, **HOOKS)
def failure_of_a_task() -> None:
    @task
    def broken() -> None:
        raise ValueError("in a task")

    broken()


@flow(log_prints=True, **HOOKS)
def crash() -> None:
    os._exit(7)


@flow(log_prints=True, **HOOKS)
def system_exit() -> None:
    sys.exit(3)


@flow(log_prints=True, **HOOKS)
def segmentation_fault() -> None:
    ctypes.string_at(0)


@flow(log_prints=True, **HOOKS)
def memory_kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out


@flow(log_prints=True, **HOOKS)
def terminated() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


@flow(log_prints=True, timeout_seconds=1, **HOOKS)
def too_long() -> None:
    time.sleep(60)


@flow(log_prints=True, retries=2, retry_delay_seconds=1, **HOOKS)
def retried() -> str:
    from prefect.runtime import flow_run  # noqa: PLC0415

    print("attempt", flow_run.run_count)
    if flow_run.run_count < 3:
        raise ValueError(f"attempt {flow_run.run_count}")
    return "at last"


@flow(log_prints=True, **HOOKS)
async def asynchronous() -> int:
    await asyncio.sleep(0.01)
    return await asyncio.to_thread(lambda: 3)


@flow(log_prints=True, **HOOKS)
def generator() -> Iterator[int]:
    for number in range(3):
        print("yields", number)
        yield number


@flow(log_prints=True, **HOOKS)
async def asynchronous_generator() -> AsyncIterator[int]:
    for number in range(3):
        print("yields", number)
        yield number


@flow(log_prints=True)
def inner(number: int) -> int:
    print("inner", number)
    return double(number)


@flow(log_prints=True, **HOOKS)
def subflows() -> int:
    return sum(inner(number) for number in range(3))


@flow(log_prints=True, task_runner=cast("Any", ThreadPoolTaskRunner(max_workers=3)), **HOOKS)
def threads() -> list[int]:
    return double.map(range(3)).result()


@flow(log_prints=True, task_runner=cast("Any", ProcessPoolTaskRunner(max_workers=2)), **HOOKS)
def processes() -> list[int]:
    return double.map(range(3)).result()


@flow(log_prints=True, **HOOKS)
def another_deployment(name: str) -> None:
    run: Any = run_deployment(
        name, parameters={"name": "from inside"}, timeout=60, poll_interval=0.2
    )
    print("it is", run.state.type.value)


@flow(log_prints=True, persist_result=True, result_serializer="json", **HOOKS)
def persisted() -> dict[str, int]:
    return {"answer": 42}


@flow(log_prints=True, **HOOKS)
def order() -> None:
    logger = get_run_logger()
    for number in range(50):
        print("print", number)
        logger.info("log %d", number)


@flow(log_prints=True, **HOOKS)
def limited() -> None:
    with concurrency("of-behaviours", occupy=1, timeout_seconds=30):
        print("in")


@flow(log_prints=True, **HOOKS)
def environment() -> None:
    print("working directory", Path.cwd())
    print("argv", sys.argv[1:], "main", sys.modules["__main__"].__spec__)
    print("signals", signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGCHLD))
    print("variables", sorted(name for name in os.environ if not name.startswith("PREFECT__")))
    print("path", sys.path[:2], "for others", os.environ["PYTHONPATH"])
    print("imported by", IMPORTED_BY, "with", decimal.getcontext().prec, "digits")
    print("temporary", tempfile.gettempdir())


@flow(log_prints=True, **HOOKS)
def sleeps(seconds: float = 60) -> str:
    print("sleeping")
    time.sleep(seconds)
    return "woke up"


@flow(log_prints=True, **HOOKS)
def steps(number: int = 60) -> str:
    """Run many short tasks; a suspension from outside takes effect between two."""
    print("stepping")
    for step in range(number):
        double(step)
        time.sleep(0.5)
    return "done"


@flow(log_prints=True, **HOOKS)
def busy_in_c() -> None:
    print("computing")
    hashlib.pbkdf2_hmac("sha512", b"a", b"b", 2**31 - 1)


@flow(log_prints=True, persist_result=True, **HOOKS)
def suspends() -> str:
    print("before")
    suspend_flow_run(timeout=120)
    print("after")
    return "resumed"
