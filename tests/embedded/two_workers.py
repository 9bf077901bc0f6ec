"""A stack with a pool and a worker of each type, and the same deployments in both."""

from __future__ import annotations

import signal
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests import stack as stacks
from tests.stack import make

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pytest

    from tests.stack import Stack

STOCK, PREFORK = "of-stock", "of-prefork"  # names of the pools, their workers and deployments
TYPES = {STOCK: "process", PREFORK: "prefork"}
POOLS = """
  - name: {name}
    type: {type}
    base_job_template:
      variables:
        properties:
          working_dir: {{default: "{{{{ $STACK_ROOT }}}}"}}
"""


def declared(
    factory: pytest.TempPathFactory,
    name: str,
    source: str,
    flows: Iterable[str],
    types: Mapping[str, str] = TYPES,
) -> Stack:
    """Return a stack, not started, with a pool of each of `types` and every flow deployed in each.

    `source` becomes `flows/behaviours.py`, which defines `flows`.
    """
    stack = make(factory, name)
    pools = "".join(POOLS.format(name=pool, type=kind) for pool, kind in types.items())
    stack.edit("stack.yaml", lambda text: _with_pools(text, pools))
    lines = "".join(
        f"\n  - name: {pool}\n    entrypoint: flows/behaviours.py:{flow}\n"
        f"    work_pool: {{name: {pool}}}\n"
        for pool in types
        for flow in flows
    )
    stack.edit("prefect.yaml", lambda text: text.rstrip() + "\n" + lines)
    (stack.root / "flows/behaviours.py").write_text(source)
    return stack


def _with_pools(text: str, pools: str) -> str:
    before, blocks, after = text.partition("\nblocks:\n")
    return before.rstrip() + "\n" + pools + blocks + after


@contextmanager
def running(stack: Stack, *pools: str) -> Iterator[Stack]:
    """Start `stack` and a worker of each of `pools`; stop and delete them afterwards."""
    with stacks.stack(stack):
        stack.up()
        with ExitStack() as workers:
            for pool in pools:
                workers.enter_context(worker(stack, pool, pool))
            yield stack


def log_of_worker(stack: Stack, name: str) -> str:
    """Return the output of a worker so far."""
    return (stack.root / f"worker-{name}.log").read_text()


@contextmanager
def worker(
    stack: Stack, pool: str, name: str, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker of `pool` with its own folders; its output goes to `worker-NAME.log`."""
    script = (
        'eval "$(scripts/stack env)"; export TMPDIR="$PWD/tmp-$0" PREFECT_HOME="$PWD/home-$0"'
        ' PREFECT_LOCAL_STORAGE_PATH="$PWD/results" PREFECT_WORKER_QUERY_SECONDS=1'
        ' PYTHONPATH="$PWD" PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30; mkdir -p "$TMPDIR";'
        ' pool=$1; shift; exec env "$@" python -P -m prefect worker start --pool "$pool"'
        ' --name "$0"'
    )
    with (stack.root / f"worker-{name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", script, name, pool, *(f"{k}={v}" for k, v in variables.items())],
            cwd=stack.root,
            env=stack.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
